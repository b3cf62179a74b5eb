"""Finds the number in an answer, where answers are numbers such as prices.

The first number counts, wherever it is: "Price is $226.95", "120", "about 1,234.50 euros, or 1,300".
"""

import re

# Not after a letter: the 2 of "V2" is part of a name. Commas separate thousands, but one before one or two last digits
# is a decimal comma.
_NUMBER = re.compile(
    r"(?<![A-Za-z\d])(?<!\d[.,])"
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d])|\d+,\d{1,2}(?![\d,])|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
)
_MINUS = re.compile(r"(?:^|[\s(\[=:])(?:[-−]\s?[$€£¥₩]?|[$€£¥₩][-−])$")
OTHER_WORDS_AT_MOST = 6  # next to the number, or the answer is a sentence that happens to contain one
_WORD = re.compile(r"[^\W\d_]+")


def first_number(text: str) -> float | None:
    """The first number in a text; None when there is none, or when it is above 1e15."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    digits = found[0]
    digits = digits.replace(",", ".") if re.fullmatch(r"\d+,\d{1,2}", digits) else digits.replace(",", "")
    number = float(digits)
    if number > 1e15:
        return None
    before = text[max(found.start() - 4, 0) : found.start()]
    return -number if _MINUS.search(before) else number


def as_number(text: str) -> float | None:
    """The number in a reference, if it has exactly one and at most six words besides; None otherwise."""
    is_short = len(_WORD.findall(text)) <= OTHER_WORDS_AT_MOST
    return first_number(text) if is_short and len(_NUMBER.findall(text)) == 1 else None


def is_within(answer: float | None, reference: float, share: float) -> bool:
    """Whether the answer is within that share (0 to 1) of the reference; False when it has no number (None)."""
    return answer is not None and abs(answer - reference) <= share * abs(reference) * (1 + 1e-9)
