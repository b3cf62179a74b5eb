"""The layout of a CSV or TSV file, judged by its first rows: what separates the fields, and whether there is a header.

The assumptions are given as notes in words.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from core.data.display import first_names
from core.problems import DataError, mark, tr, trn

# Both are halves of a surrogate pair, which no decoded text contains.
END_OF_FILE = "\udcfe"  # added as a last line: if it ends up inside a field, a quote was never closed
NO_SEPARATOR = "\udcfd"  # splits nothing, for files of one column
MAX_COLUMNS = 10_000
MAX_FIELD = 1 << 23  # characters; the csv module needs four bytes for each
SAMPLE_ROWS = 100
MIN_EVENNESS = 0.9  # share of the rows with as many fields as the first, for a separator to count as the right one
MAX_NAMED_COLUMNS = 4  # in a note
_WORDS = {",": mark("commas"), ";": ";", "\t": mark("tabs"), "|": "|"}
_WITHOUT_VALUE = "".join(_WORDS) + '"'
_SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=([,;\t|])\"?[\r\n]*\Z", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[$€£¥₩]?\s?[-+]?(\d[\d.,' ]*|\.\d+)([eE][-+]?\d+)?\s?[%$€£¥₩원]?")
_MAX_NAME = 100  # characters; longer fields are not names of columns
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SENTENCE_END = (".", "?", "!", "。", "？", "！")


class Layout(NamedTuple):
    """`options` are those of `csv.reader`; `skipped` is the number of lines before the first row."""

    options: dict
    has_header: bool
    skipped: int
    notes: tuple[str, ...]


def read_fields(lines: Iterable[str], options: dict) -> Iterator[list[str]]:
    """A `csv.reader` over the lines and END_OF_FILE after them."""
    return csv.reader(_with_end(lines), **options)


def _with_end(lines: Iterable[str]) -> Iterator[str]:
    yield from lines
    yield END_OF_FILE


def is_blank(fields: list[str]) -> bool:
    return not fields or (len(fields) == 1 and fields[0].isspace())


def is_without_values(fields: list[str]) -> bool:
    """Whether the row consists of separators, blanks and quotes, as spreadsheets write empty rows."""
    return not "".join("".join(fields).split()).strip(_WITHOUT_VALUE)


def is_blank_line(line: str) -> bool:
    """Whether the line is blank with any separator; a line of tabs may be a row of empty fields."""
    return not line.strip(" \r\n")


def check_width(width: int, shown_name: str) -> None:
    """Raises DataError for more columns than a dataset can plausibly have."""
    if width > MAX_COLUMNS:
        raise DataError(
            "{file} has {columns:,} columns, more than the {limit:,} that can be read; "
            "check what separates its fields, or remove the columns that you do not need.",
            file=shown_name,
            columns=width,
            limit=MAX_COLUMNS,
        )


def names_of(first: list[str]) -> list[str]:
    """The names of the columns from the first row, changed where they are empty or not unique."""
    given, taken = set(first), {}  # `taken`: names in column order, each with the last number that was added to it
    for number, name in enumerate(first, 1):
        name = name if name.strip() else f"column_{number}"
        unique, count = name, taken.get(name, 1)
        while unique in taken or (unique != name and unique in given):
            count += 1
            unique = f"{name}_{count}"
        taken[unique] = 1
        taken[name] = count
    return list(taken)


def judge_layout(head: str, is_whole: bool, kind: str, header: str) -> Layout:
    """The layout of a CSV or TSV file that begins with `head`; `header` is auto, yes or no."""
    csv.field_size_limit(MAX_FIELD)
    lines = list(io.StringIO(head, newline=""))
    if not is_whole and len(lines) > 1:
        lines.pop()  # its end is missing
    skipped = sum(1 for _ in takewhile(is_blank_line, lines))  # the csv module takes seconds for a million of them
    lines = lines[skipped:]
    usual = "\t" if kind == "tsv" else ","
    if separator := _SEPARATOR_LINE.match(lines[0]) if lines else None:
        skipped, lines, options = skipped + 1, lines[1:], {"delimiter": separator.group(1)}
    else:
        options = _options(lines, usual)
    rows, _ = _sample(lines, options)
    notes = []
    if options["delimiter"] == NO_SEPARATOR:
        if any(len(row) > 1 for row in _sample(lines, {"delimiter": usual})[0]):
            separators = tr(_WORDS[usual])
            notes.append(tr("read as one column; the {separators} are part of the text", separators=separators))
    elif options["delimiter"] != usual:
        notes.append(tr("fields are separated by {separators}", separators=tr(_WORDS[options["delimiter"]])))
    if options.get("quoting") == csv.QUOTE_NONE:
        notes.append(tr("quotes are read as part of the text"))
    has_header = header == "yes" or (header == "auto" and _has_header(rows))
    if rows:
        notes += _header_notes(rows[0], has_header, header == "auto")
    return Layout(options, has_header, skipped, tuple(notes))


def _header_notes(first: list[str], has_header: bool, is_judged: bool) -> list[str]:
    if not has_header:
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
        listed = first_names(names, MAX_NAMED_COLUMNS)
        if not is_judged:
            return [trn("the column is named {names}", "the columns are named {names}", len(names), names=listed)]
        named = trn(
            "the first row is read as data, so the column is named {names}",
            "the first row is read as data, so the columns are named {names}",
            len(names),
            names=listed,
        )
        return [named]
    notes = [tr("the first row is read as the column names")] if is_judged else []
    changed = [new for old, new in zip(first, names_of(first), strict=True) if old != new]
    if changed:
        listed = first_names(changed, MAX_NAMED_COLUMNS)
        notes.append(tr("empty and repeated column names became {names}", names=listed))
    return notes


def _sample(lines: list[str], options: dict) -> tuple[list[list[str]], bool]:
    """The first rows, and whether a quote is still open after the last line."""
    rows: list[list[str]] = []
    try:
        for fields in read_fields(lines, options):
            if fields == [END_OF_FILE] or len(rows) == SAMPLE_ROWS:
                break
            if fields[-1:] and fields[-1].endswith(END_OF_FILE):
                return rows or [[*fields[:-1], fields[-1].removesuffix(END_OF_FILE)]], True
            if not (is_blank(fields) if rows else is_without_values(fields)):  # names stand below empty rows
                rows.append(fields)
    except csv.Error:  # reported with its line when the rows are read
        return rows, True
    return rows, False


def _options(lines: list[str], usual: str) -> dict:
    """The options of `csv.reader`: the usual separator, unless only another one gives all first rows as many fields."""
    order = [usual, *(each for each in _WORDS if each != usual)]
    candidates = [{"delimiter": each} for each in order]
    candidates.insert(1, {"delimiter": usual, "skipinitialspace": True})  # a, "b, c"
    if usual == "\t":
        candidates.insert(2, {"delimiter": usual, "quoting": csv.QUOTE_NONE})
    samples = [_sample(lines, options) for options in candidates]
    evenness = [_evenness(*sample) for sample in samples]
    if evenness[0] >= MIN_EVENNESS:
        return candidates[0]
    best = max(range(len(candidates)), key=lambda n: (evenness[n], -n))
    if evenness[best] >= MIN_EVENNESS:
        return candidates[best]
    if _is_split(samples[0][0]) or not samples[0][0]:
        return candidates[0]
    # No separator is even: take one that at least splits the first row, or else read one column.
    splitting = [options for options, (rows, _) in zip(candidates, samples, strict=True) if _is_split(rows)]
    return splitting[0] if splitting and max(evenness) > 0.5 else _one_column(lines, samples[0][0])


def _one_column(lines: list[str], rows: list[list[str]]) -> dict:
    """Options for one column: separators are text, and so are quotes if they enclose only a part of a line."""
    is_over_lines = any("\n" in cell or "\r" in cell for row in rows for cell in row)
    quoted = [line.strip() for line in lines[:SAMPLE_ROWS] if line.startswith('"')]
    are_text = not is_over_lines and not all(map(_QUOTED.fullmatch, quoted))
    return {"delimiter": NO_SEPARATOR} | ({"quoting": csv.QUOTE_NONE} if are_text else {})


def _is_split(rows: list[list[str]]) -> bool:
    return bool(rows) and len(rows[0]) > 1


def _evenness(rows: list[list[str]], is_open: bool) -> float:
    """Share (0 to 1) of the rows with as many fields as the first. Too low if that is one field or a quote is open."""
    if not _is_split(rows):
        return 0.0
    share = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
    return min(share, MIN_EVENNESS - 0.01) if is_open else share


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: names are short, are not numbers, and do not appear again below."""
    if not rows:
        return True
    first, below = rows[0], rows[1:]
    if any(_cannot_be_a_name(cell) for cell in first):
        return False
    if first in below:
        return True
    for number, cell in enumerate(first):
        column = [row[number] for row in below if number < len(row)]
        if cell.strip() and cell in column:
            return False
        if column and all(map(_is_number, column)):  # a name above numbers
            return True
    return not any(_is_sentence(cell) for cell in first)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _cannot_be_a_name(cell: str) -> bool:
    text = cell.strip()
    return _is_number(text) or len(text) > _MAX_NAME or ("\n" in text and len(text) > 40)


def _is_sentence(cell: str) -> bool:
    text = cell.strip()
    return len(text.split()) > 8 or (text.endswith(_SENTENCE_END) and (len(text) > 12 or " " in text))
