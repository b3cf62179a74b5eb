"""Reads the rows of files of any supported kind, one file after the other.

rows = open_files("rows.csv")       reads the beginning of each file to detect its kind
for row in rows: ...                reads one row at a time; each loop starts again at the first row
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from core.data.files import file_kinds, find_files
from core.data.files.csv_layout import judge_layout
from core.data.files.csv_rows import read_csv
from core.data.files.file_kinds import Kind
from core.data.files.file_source import Source
from core.data.files.json_rows import goes_over_lines, read_json, read_json_lines
from core.data.files.parquet_rows import check_parquet, read_parquet
from core.data.files.text_rows import FEW_BLANK_LINES, NOTES, judge_text_rows, read_text
from core.data.rows import Row
from core.problems import DataError, tr

Read = Callable[[Source, int], Iterator[Row]]  # the rows of a file; the number is that of the last row before it


class FileAbout(NamedTuple):
    """What was detected about a file; `notes` are the assumptions in words. `encoding` is empty for Parquet."""

    path: Path
    kind: Kind
    notes: tuple[str, ...]
    encoding: str = "UTF-8"


class FileRows:
    """The rows of some files, one file after the other; each iteration starts again.

    The assumptions may change while rows are read, for example if a file is ASCII for its first megabytes.
    """

    def __init__(self, opened: "list[_Opened]", wants_splitting: bool):
        self._opened, self.wants_splitting = opened, wants_splitting
        self._progress = _Progress(sum(each.source.size for each in opened))

    @property
    def files(self) -> tuple[FileAbout, ...]:
        return tuple(each.about for each in self._opened)

    @property
    def notes(self) -> tuple[str, ...]:
        """The assumptions about folders, then about files; if there are several files, each note names its file."""
        several = len(self._opened) > 1
        of_folders = tuple(note for each in self._opened for note in each.source.folder_notes)
        return of_folders + tuple(
            f"{each.source.name}: {note}" if several else note for each in self._opened for note in each.about.notes
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """The assumptions that may well be wrong, as sentences."""
        return tuple(each.warning for each in self._opened if each.warning)

    @property
    def encoding(self) -> str:
        """The encodings of all files, with commas between them: "UTF-8"; empty for Parquet."""
        return ", ".join(dict.fromkeys(each.about.encoding for each in self._opened if each.about.encoding))

    @property
    def share(self) -> float:
        """The progress of the newest iteration, from 0 to 1, by bytes."""
        return self._progress.share

    def __iter__(self) -> Iterator[Row]:
        self._progress = _Progress(self._progress.total)
        return self._rows(self._progress)

    def _rows(self, progress: "_Progress") -> Iterator[Row]:
        number = 0
        for each in self._opened:
            source = each.source
            progress.reading = source
            for row in each.read(source, number):
                number = row.number
                yield row
            progress.done += source.size
            progress.reading = None


class _Progress:
    """How many bytes one iteration has read, out of a total."""

    def __init__(self, total: int):
        self.total, self.done, self.reading = total, 0, None

    @property
    def share(self) -> float:
        reading = self.reading
        return min((self.done + (reading.at if reading else 0)) / max(self.total, 1), 1.0)


class _Opened(NamedTuple):
    source: Source
    kind: Kind
    read: Read
    notes: tuple[str, ...]
    warning: str = ""

    @property
    def about(self) -> FileAbout:
        encoding = "" if self.kind == "parquet" else self.source.encoding.words
        read_as = (tr("read as {encoding}", encoding=tr(encoding)),) if encoding not in ("", "UTF-8") else ()
        return FileAbout(self.source.path, self.kind, (*read_as, *self.source.notes, *self.notes), encoding)


def open_files(path: str, header: str = "auto", text_rows: str = "auto") -> FileRows:
    """The rows of `path`, which is one or more files and folders, one per line. Reads the beginning of each file.

    `header` (auto, yes, no) says whether the first row of a CSV file names the columns, `text_rows` (auto, line,
    paragraph, file) what a row of a text file is. Raises DataError for files that have no rows; the iteration does so
    too, for problems further into a file.
    """
    opened = [_open(source, header, text_rows) for source in find_files.find(path)]
    return FileRows(opened, text_rows == "file" and any(each.kind == "txt" for each in opened))


def _open(source: Source, header: str, text_rows: str) -> _Opened:
    named = file_kinds.kind_by_name(source.path.name)
    start = source.look()
    if start.startswith(b"PAR1") or named == "parquet":
        check_parquet(source)
        return _Opened(source, "parquet", read_parquet, _unlike_its_name(named, "parquet"))
    head = source.judge_encoding(start)
    file_kinds.refuse_text(head, source.is_whole, named, source.name)
    kind = file_kinds.kind_by_text(head, named, text_rows != "auto")
    if kind == "jsonl" and named == "jsonl" and goes_over_lines(head, source):
        kind = "json"
    if kind is None:
        raise DataError(
            "The name of {file} does not say which kind of file it is; "
            "add .csv, .tsv, .json, .jsonl, .parquet or .txt to it.",
            file=source.name,
        )
    read, notes, warning = _reader(source, kind, head, header, text_rows)
    return _Opened(source, kind, read, (*_unlike_its_name(named, kind), *notes), warning)


def _reader(source: Source, kind: Kind, head: str, header: str, text_rows: str) -> tuple[Read, tuple[str, ...], str]:
    """What reads the file; the assumptions about it as notes, and as a warning."""
    if kind == "json":
        return read_json, (), ""
    if kind == "jsonl":
        return read_json_lines, (), ""
    if kind == "txt" and text_rows != "auto":
        return partial(read_text, cut=text_rows), (), ""
    if kind == "txt":
        cut, blank = judge_text_rows(head)
        warning = tr(FEW_BLANK_LINES, file=source.name, blank=blank) if blank else ""
        return partial(read_text, cut=cut), (tr(NOTES[cut]),), warning
    layout = judge_layout(head, source.is_whole, kind, header)
    return partial(read_csv, layout=layout), layout.notes, ""


def _unlike_its_name(named: Kind | None, kind: Kind) -> tuple[str, ...]:
    if named == kind:
        return ()
    return (tr("read as {kind} because of its content", kind=tr(file_kinds.NAMES[kind])),)
