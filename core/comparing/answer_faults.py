"""Says of an answer that it is blank, or that it repeats itself to its end."""

from functools import lru_cache

from core.problems import tr

MIN_COPIES = 3  # fewer are a figure of speech
MIN_CHARACTERS = 30  # that are copies; "very, very, very" is none


@lru_cache(maxsize=128)  # a page draws the same answers many times
def fault_of(text: str) -> str:
    """A sentence about a finished answer; empty for one that is neither blank nor repeats itself."""
    if not any(letter.isprintable() and not letter.isspace() for letter in text):
        return tr("This answer is blank.")
    return tr("This answer repeats itself.") if repeats_itself(text) else ""


def repeats_itself(text: str) -> bool:
    """Whether the same characters are repeated to the end, the last copy possibly cut off: at least three whole copies
    that have at least 30 characters together. All white space counts as one space."""
    backwards = " ".join(text.split())[::-1]
    for period, length in enumerate(_lengths_in_common(backwards)):
        copies = period + length + 1  # the text ends before the space that would separate the next copy
        if period and copies >= max(MIN_COPIES * period, MIN_CHARACTERS):
            return True
    return False


def _lengths_in_common(text: str) -> list[int]:
    """For each place, how many characters from there on are those that the text begins with, in linear time.

    The Z algorithm (Gusfield, Algorithms on Strings, Trees and Sequences, 1997, section 1.4).
    """
    lengths = [0] * len(text)
    left = right = 0  # the stretch that ends last of those found to be a beginning
    for place in range(1, len(text)):
        length = min(right - place, lengths[place - left]) if place < right else 0
        while place + length < len(text) and text[length] == text[place + length]:
            length += 1
        lengths[place] = length
        if place + length > right:
            left, right = place, place + length
    return lengths
