"""Which languages texts are in, by py3langid. Knows nothing of rows, models or gradio."""

from collections import Counter

SHARE, TEXTS = 0.1, 5  # a language counts from this share and number of texts on
SURE, LONG_ENOUGH = 0.9, 40  # probability, and bytes of UTF-8: shorter texts are told apart badly


def languages(samples: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Codes of ISO 639-1 with their share of the texts that could be told, those first that most are in."""
    long_enough = [text for text in samples if len(text.encode("utf-8", "replace")) >= LONG_ENOUGH]
    if not long_enough:
        return ()
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    # Not kept: a hundred megabytes that training needs more.
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    codes: Counter = Counter()
    for text in long_enough:
        code, probability = identifier.classify(text)
        codes[code] += probability >= SURE
    total = codes.total()
    return tuple(
        (code, count / total) for code, count in codes.most_common() if count >= TEXTS and count / total >= SHARE
    )
