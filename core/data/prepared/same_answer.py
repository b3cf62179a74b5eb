"""The text that most rows are trained on, to find sets in which nearly all answers are the same."""

from array import array
from dataclasses import dataclass

SHOWN_CHARACTERS = 100
KEPT_CHARACTERS = 2000  # of a text, with its marks


@dataclass(frozen=True)
class SameAnswer:
    """`rows` of `of` rows are trained on the text `answer`, which is shortened to be shown."""

    answer: str = ""
    rows: int = 0
    of: int = 0

    @property
    def share(self) -> float:
        return self.rows / max(self.of, 1)


class AnswerCounter:
    """Counts the text that more than half of the rows have, in eight bytes for each row."""

    def __init__(self):
        self._hashes = array("q")
        self._candidate, self._hash, self._lead = "", 0, 0

    def add(self, text: str) -> None:
        key = hash(text)
        self._hashes.append(key)
        # Whatever more than half of the rows have is the candidate in the end (Boyer and Moore, MJRTY, 1981).
        if self._lead == 0:
            self._candidate, self._hash = text[:KEPT_CHARACTERS], key
        self._lead += 1 if key == self._hash else -1

    def finish(self, marks: tuple[str, ...]) -> SameAnswer:
        """The text that more than half of the rows have, without `marks` around it; any text if there is none."""
        import numpy as np

        hashes = np.frombuffer(self._hashes, dtype=np.int64)
        return SameAnswer(_bare(self._candidate, marks), int((hashes == self._hash).sum()), len(hashes))


def _bare(text: str, marks: tuple[str, ...]) -> str:
    """The text without marks and space around it, on one line, shortened."""
    before = None
    while text != before:
        before = text
        text = text.strip()
        for mark in marks:
            text = text.removeprefix(mark).removesuffix(mark)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
