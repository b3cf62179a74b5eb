"""Which number an answer names, where answers are numbers such as prices. Knows nothing of models or rows.

The first number of an answer counts, wherever it stands: "Price is $226.95", "120", "about 1,234.50 euros, or 1,300".
"""

import re

# Not behind a letter: the 2 of "V2" is a name. Commas part thousands; one before one or two last digits is a decimal's.
_NUMBER = re.compile(
    r"(?<![A-Za-z\d])(?<!\d[.,])"
    r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d])|\d+,\d{1,2}(?![\d,])|\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
)
_MINUS = re.compile(r"(?:^|[\s(\[=:])(?:[-−]\s?[$€£¥₩]?|[$€£¥₩][-−])$")
OTHER_WORDS = 6  # that may stand beside the number of an answer that is one
WORD = re.compile(r"[^\W\d_]+")


def first_number(text: str) -> float | None:
    """The first number in a text; None when there is none, or one too large to reckon with."""
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
    """The number that a reference is: it holds just one, and at most six words beside it. None when it is no number."""
    is_short = len(WORD.findall(text)) <= OTHER_WORDS
    return first_number(text) if is_short and len(_NUMBER.findall(text)) == 1 else None


def is_within(answer: float | None, reference: float, share: float) -> bool:
    """Whether the answer is at most that share (0 to 1) of the reference away from it. No number is far away."""
    return answer is not None and abs(answer - reference) <= share * abs(reference) * (1 + 1e-9)
