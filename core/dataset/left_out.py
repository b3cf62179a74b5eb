"""Rows that cannot be learned from: counted by reason, listed with their numbers, written to a file to download."""

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from core.dataset.rows import DataError, Row

LISTED = 200  # kept in memory to show; the file has them all
EXCERPT = 200  # characters
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
    first: tuple[LeftOutRow, ...] = ()
    path: Path | None = None
    share: float = 0.0

    @property
    def total(self) -> int:
        return self.counts.total()

    def in_words(self) -> str:
        """no answer (3), no instruction (1)"""
        return ", ".join(f"{reason} ({count:,})" for reason, count in self.counts.most_common(4))


class LeftOutWriter:
    """Collects them while rows are read."""

    def __init__(self, path: Path):
        self._path = path
        self._file = path.open("w", newline="", encoding="utf-8")
        self._table = csv.writer(self._file)
        self._table.writerow(["row", "place", "reason", "content"])
        self._counts: Counter = Counter()
        self._first: list[LeftOutRow] = []

    def add(self, row: Row, reason: str) -> None:
        left = LeftOutRow(row.number, row.place, reason, _excerpt(row))
        self._counts[reason.partition(": ")[0]] += 1  # behind the colon stand details, different from row to row
        if len(self._first) < LISTED:
            self._first.append(left)
        self._table.writerow([left.number, left.place, left.reason, left.excerpt])

    def close(self) -> None:
        self._file.close()

    def finish(self, rows: int) -> LeftOut:
        return LeftOut(self._counts, tuple(self._first), self._path, self._counts.total() / max(rows, 1))


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
