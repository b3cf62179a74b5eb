"""Detects the languages of texts with py3langid."""

from collections import Counter

MIN_SHARE, MIN_TEXTS = 0.1, 5  # a language with fewer texts is not reported
MIN_PROBABILITY = 0.9
MIN_BYTES = 40  # of UTF-8; the language of shorter texts is often detected wrongly


def languages(samples: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """ISO 639-1 codes with their share (0 to 1) of the texts whose language was detected, most frequent first."""
    long_enough = [text for text in samples if len(text.encode("utf-8", "replace")) >= MIN_BYTES]
    if not long_enough:
        return ()
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # Not cached: training needs these hundred megabytes more.
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    codes: Counter = Counter()
    for text in long_enough:
        code, probability = identifier.classify(text)
        codes[code] += probability >= MIN_PROBABILITY
    total = codes.total()
    return tuple(
        (code, count / total)
        for code, count in codes.most_common()
        if count >= MIN_TEXTS and count / total >= MIN_SHARE
    )
