"""Finds where one text differs from another, word by word.

In scripts without spaces between words, such as Chinese, Japanese and Thai, each character counts as a word.
"""

import re
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from functools import lru_cache
from itertools import accumulate
from typing import Literal

MAX_STEPS = 3_000_000  # of difflib's innermost loop, half a second; difflib takes cubic time at worst

# Thai to Lao, Burmese, Khmer, kana, and Chinese characters; then the signs that combine with the letter before them.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003fffd"
)
_SIGNS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u17b4-\u17d3\u17dd"
    "\u3099\u309a\ufe00-\ufe0f"
)
_MARKS = r""".,;:!?"()\[\]{}<>/\\|*`~=+…“”„«»、。，！？；：（）「」『』《》·—–"""
_WORD = re.compile(rf"\d+(?:[.,]\d+)+|[{_UNSPACED}][{_SIGNS}]*|[{_MARKS}]|[^\s{_MARKS}{_UNSPACED}]+")


@dataclass(frozen=True)
class Piece:
    """A part of the second text that is the `same` or `new`, or a part of the first text that is `gone` from here.

    Where text replaces other text, what is `gone` comes first and what is `new` follows it.
    """

    kind: Literal["same", "new", "gone"]
    text: str


@lru_cache(maxsize=128)  # a page draws the same answers many times
def differences(first: str, second: str) -> tuple[Piece, ...] | None:
    """The second text in pieces, with what is gone between them. Without what is gone, they add up to the second text.

    Spaces are not compared. Returns None when it would take too long: from a few thousand different words.
    """
    a, b = list(_WORD.finditer(first)), list(_WORD.finditer(second))
    old, new = [found[0] for found in a], [found[0] for found in b]
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    old, new = old[start : len(old) - end], new[start : len(new) - end]
    try:
        changes = _Matcher(old, new).get_opcodes()
    except _TooLong:
        return None
    pieces: list[Piece] = []
    shown = 0  # how much of the second text is in the pieces
    for kind, i, i_end, j, j_end in changes:
        if kind == "equal":
            continue
        place = b[start + j].start() if start + j < len(b) else len(second)
        pieces.append(Piece("same", second[shown:place]))
        shown = place
        if i < i_end:
            pieces.append(Piece("gone", first[a[start + i].start() : a[start + i_end - 1].end()]))
        if j < j_end:
            shown = b[start + j_end - 1].end()
            pieces.append(Piece("new", second[place:shown]))
    pieces.append(Piece("same", second[shown:]))
    return tuple(piece for piece in pieces if piece.text)


def _common(a: list[str], b: list[str]) -> int:
    """The number of words that both begin with."""
    length = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        length += 1
    return length


class _TooLong(Exception):
    """No steps are left."""


class _Matcher(SequenceMatcher):
    """difflib's matcher, which raises _TooLong when no steps are left."""

    def __init__(self, a: list[str], b: list[str]):
        super().__init__(None, a, b, autojunk=False)
        self._steps = [0, *accumulate(1 + len(self.b2j.get(word, ())) for word in a)]
        self._left = MAX_STEPS

    def find_longest_match(self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None) -> Match:
        ahi = len(self.a) if ahi is None else ahi
        self._left -= self._steps[ahi] - self._steps[alo]
        if self._left < 0:
            raise _TooLong
        return super().find_longest_match(alo, ahi, blo, bhi)
