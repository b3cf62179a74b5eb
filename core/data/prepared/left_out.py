"""Rows that are left out: counted by reason, listed with their numbers, and written to a file to download."""

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from core.data.rows import Row
from core.problems import DataError, mark, tr

MAX_LISTED = 200  # rows in memory, for the page; the file has all of them
EXCERPT_CHARACTERS = 200
MAX_NAMED_REASONS = 4  # in a sentence
CONSENT_SHARE = 0.1  # if a larger share of the rows is left out, the person has to agree


@dataclass(frozen=True)
class LeftOutRow:
    """`place` says where to find the row; `excerpt` is its beginning."""

    number: int
    place: str
    reason: str
    excerpt: str


@dataclass(frozen=True)
class LeftOut:
    """Row `counts` by reason, the `first` rows, and the `path` of a CSV file of all. `share` is 0 to 1 of all rows."""

    counts: Counter = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)  # by reason, if it has details: those of its first row
    first: tuple[LeftOutRow, ...] = ()
    path: Path | None = None
    share: float = 0.0

    @property
    def total(self) -> int:
        return self.counts.total()

    def in_words(self) -> str:
        """no answer (3), not valid JSON (1; first: Expecting value, at column 17)"""
        reasons = []
        for reason, count in self.counts.most_common(MAX_NAMED_REASONS):
            if reason in self.details:
                first = self.details[reason]
                reasons.append(tr("{reason} ({rows:,}; first: {first})", reason=reason, rows=count, first=first))
            else:
                reasons.append(f"{reason} ({count:,})")
        more = len(self.counts) - len(reasons)
        named = ", ".join(reasons)
        return tr("{reasons}, and {more} other reasons", reasons=named, more=more) if more > 0 else named

    def find(self, number: int) -> LeftOutRow | None:
        """The left-out row with this number, from memory or from the file; None if there is none."""
        listed = next((left for left in self.first if left.number == number), None)
        if listed or self.path is None or len(self.first) == self.total:
            return listed
        with self.path.open(newline="", encoding="utf-8") as file:
            found = next((row for row in csv.DictReader(file) if row["row"] == str(number)), None)
        return found and LeftOutRow(number, found["place"], found["reason"], found["content"])


class NothingLeftError(DataError):
    """Every row is left out, or there are none; `left_out` has the reasons."""

    def __init__(self, left_out: LeftOut):
        if left_out.total:
            super().__init__(mark("No row can be used for training: {reasons}."), reasons=left_out.in_words())
        else:
            super().__init__(mark("There are no rows; choose a file that has some."))
        self.left_out = left_out


class LeftOutWriter:
    """Collects left-out rows while a source is read."""

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
        # After the colon are details, which differ from row to row: the translations of reasons keep the colon.
        kind, _, detail = reason.partition(": ")
        self._counts[kind] += 1
        if detail:
            self._details.setdefault(kind, detail)
        if len(self._first) < MAX_LISTED:
            self._first.append(left)
        self._table.writerow([left.number, left.place, left.reason, left.excerpt])

    def close(self) -> None:
        self._file.close()

    def finish(self, rows: int) -> LeftOut:
        share = self._counts.total() / max(rows, 1)
        return LeftOut(self._counts, self._details, tuple(self._first), self._path, share)


def too_many_left_out(left_out: LeftOut, rows: int) -> DataError:
    """More than CONSENT_SHARE of the rows are left out, and the person has not allowed it."""
    return DataError(
        "{left_out:,} of {rows:,} rows ({share:.0%}) would be left out: {reasons}; fix them, or allow it on the Data "
        "tab (data.allow_left_out=true).",
        left_out=left_out.total,
        rows=rows,
        share=left_out.share,
        reasons=left_out.in_words(),
    )


def _excerpt(row: Row) -> str:
    try:
        text = json.dumps(row.values, ensure_ascii=False, default=str)[:EXCERPT_CHARACTERS] if row.values else ""
    except RecursionError:  # nested too deeply to be written out
        text = ", ".join(row.values)[:EXCERPT_CHARACTERS]
    # Half a surrogate pair, which damaged files can contain, cannot be encoded.
    return text.encode("utf-8", "replace").decode()
