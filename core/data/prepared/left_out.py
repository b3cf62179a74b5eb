"""Rows that cannot be learned from: counted by reason, listed with their numbers, written to a file to download."""

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from core.data.rows import Row
from core.problems import DataError

LISTED = 200  # kept in memory to show; the file has them all
EXCERPT = 200  # characters
NAMED = 4  # reasons, in a sentence
CONSENT_SHARE = 0.1  # above this a person is asked


@dataclass(frozen=True)
class LeftOutRow:
    """`place` is where a person finds it; `excerpt` is how it begins."""

    number: int
    place: str
    reason: str
    excerpt: str


@dataclass(frozen=True)
class LeftOut:
    """`counts` by reason, the `first` of them, and a CSV file of all; `share` is of all rows read (0 to 1)."""

    counts: Counter = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)  # of each reason that has some, those of its first row
    first: tuple[LeftOutRow, ...] = ()
    path: Path | None = None
    share: float = 0.0

    @property
    def total(self) -> int:
        return self.counts.total()

    def in_words(self) -> str:
        """no answer (3), not valid JSON (1; first: Expecting value, at column 17)"""
        told = [
            f"{reason} ({count:,}{f'; first: {self.details[reason]}' if reason in self.details else ''})"
            for reason, count in self.counts.most_common(NAMED)
        ]
        more = len(self.counts) - len(told)
        return ", ".join([*told, *([f"and {more} other reasons"] if more > 0 else [])])

    def find(self, number: int) -> LeftOutRow | None:
        """The row of that number, when it is left out and the file is still there."""
        listed = next((left for left in self.first if left.number == number), None)
        if listed or self.path is None or len(self.first) == self.total:
            return listed
        with self.path.open(newline="", encoding="utf-8") as file:
            found = next((row for row in csv.DictReader(file) if row["row"] == str(number)), None)
        return found and LeftOutRow(number, found["place"], found["reason"], found["content"])


class NothingLeftError(DataError):
    """Every row is left out; `left_out` tells why."""

    def __init__(self, left_out: LeftOut):
        reasons = left_out.in_words()
        super().__init__(
            f"No row can be learned from: {reasons}." if reasons else "There are no rows; choose a file that has some."
        )
        self.left_out = left_out


class LeftOutWriter:
    """Collects them while rows are read."""

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("w", newline="", encoding="utf-8")
        self._table = csv.writer(self._file)
        self._table.writerow(["row", "place", "reason", "content"])
        self._counts: Counter = Counter()
        self._details: dict[str, str] = {}
        self._first: list[LeftOutRow] = []

    def add(self, row: Row, reason: str) -> None:
        left = LeftOutRow(row.number, row.place, reason, _excerpt(row))
        kind, _, detail = reason.partition(": ")  # behind the colon stand details, different from row to row
        self._counts[kind] += 1
        if detail:
            self._details.setdefault(kind, detail)
        if len(self._first) < LISTED:
            self._first.append(left)
        self._table.writerow([left.number, left.place, left.reason, left.excerpt])

    def close(self) -> None:
        self._file.close()

    def finish(self, rows: int) -> LeftOut:
        share = self._counts.total() / max(rows, 1)
        return LeftOut(self._counts, self._details, tuple(self._first), self._path, share)


def ask_consent(left_out: LeftOut, rows: int, is_allowed: bool) -> None:
    """Raises DataError when more than a tenth of the rows is left out and nobody has agreed to that."""
    if left_out.share > CONSENT_SHARE and not is_allowed:
        raise DataError(
            f"{left_out.total:,} of {rows:,} rows ({left_out.share:.0%}) would be left out: {left_out.in_words()}; mend "
            "them, or allow it on the Data tab (data.allow_left_out=true)."
        )


def _excerpt(row: Row) -> str:
    try:
        text = json.dumps(row.values, ensure_ascii=False, default=str)[:EXCERPT] if row.values else ""
    except RecursionError:  # nested too deeply to be written out
        text = ", ".join(row.values)[:EXCERPT]
    # Half a character, as broken files hold them, cannot be written.
    return text.encode("utf-8", "replace").decode()
