"""How a table of text is written, judged by its first rows: what separates the fields, and whether a header is there.

Knows nothing of files; what was assumed is said in words.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from core.problems import DataError

END = "\udcfe"  # a line after the last one; where it lands tells whether a quote was left open
NO_SEPARATOR = "\udcfd"  # no text can hold it, so it cuts nothing
MAX_COLUMNS = 10_000
MAX_FIELD = 1 << 23  # characters; the csv module holds four bytes for each
SAMPLE_ROWS = 100
EVEN = 0.9  # share of the rows that have as many fields as the first
_WORDS = {",": "commas", ";": ";", "\t": "tabs", "|": "|"}
_SEPARATOR_LINE = re.compile(r"\ufeff?\"?sep=([,;\t|])\"?[\r\n]*\Z", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[$€£¥₩]?\s?[-+]?(\d[\d.,' ]*|\.\d+)([eE][-+]?\d+)?\s?[%$€£¥₩원]?")
_LONG_NAME = 100
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SENTENCE_END = (".", "?", "!", "。", "？", "！")


class Layout(NamedTuple):
    """`skipped` lines stand before the first row; `options` are those of `csv.reader`."""

    options: dict
    has_header: bool
    skipped: int
    notes: tuple[str, ...]


def read_fields(lines: Iterable[str], options: dict) -> Iterator[list[str]]:
    return csv.reader(_with_end(lines), **options)


def _with_end(lines: Iterable[str]) -> Iterator[str]:
    yield from lines
    yield END


def is_blank(fields: list[str]) -> bool:
    return not fields or (len(fields) == 1 and fields[0].isspace())


def is_blank_line(line: str) -> bool:
    """Whether the line is blank for certain, whatever separates the fields."""
    return not line.strip(" \r\n")


def check_width(width: int, shown_name: str) -> None:
    """Raises DataError for more columns than rows of texts can have."""
    if width > MAX_COLUMNS:
        raise DataError(
            f"{shown_name} has {width:,} columns, more than the {MAX_COLUMNS:,} that can be read; "
            "check what separates its fields, or leave out the columns that are not needed."
        )


def names_of(first: list[str]) -> list[str]:
    """Names of columns from the first row, none empty and no two the same."""
    given, taken = set(first), {}  # names in the order of the columns, with the last number that each was given
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
        lines.pop()  # cut somewhere
    skipped = sum(1 for _ in takewhile(is_blank_line, lines))  # a million of them would keep the csv module busy
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
            notes.append(f"read as one column of text, with the {_WORDS[usual]} in it")
    elif options["delimiter"] != usual:
        notes.append(f"fields separated by {_WORDS[options['delimiter']]}")
    if options.get("quoting") == csv.QUOTE_NONE:
        notes.append("quotes read as part of the text")
    has_header = header == "yes" or (header == "auto" and _has_header(rows))
    if rows:
        notes += _header_notes(rows[0], has_header, header == "auto")
    return Layout(options, has_header, skipped, tuple(notes))


def _header_notes(first: list[str], has_header: bool, is_judged: bool) -> list[str]:
    if not has_header:
        names = [f"column_{number}" for number in range(1, len(first) + 1)]
        shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
        columns = f"the columns are named {shown}" if len(names) > 1 else f"the column is named {shown}"
        return [f"the first row is taken for data, so {columns}" if is_judged else columns]
    notes = ["the first row is taken for the names of the columns"] if is_judged else []
    changed = [new for old, new in zip(first, names_of(first), strict=True) if old != new]
    if changed:
        shown = ", ".join(" ".join(name.split())[:40] for name in changed[:4]) + (", …" if len(changed) > 4 else "")
        notes.append(f"empty and repeated names of columns became {shown}")
    return notes


def _sample(lines: list[str], options: dict) -> tuple[list[list[str]], bool]:
    """The first rows, and whether a quote was still open where the lines end."""
    rows: list[list[str]] = []
    try:
        for fields in read_fields(lines, options):
            if fields == [END] or len(rows) == SAMPLE_ROWS:
                break
            if fields[-1:] and fields[-1].endswith(END):
                return rows or [[*fields[:-1], fields[-1].removesuffix(END)]], True
            if not is_blank(fields):
                rows.append(fields)
    except csv.Error:  # told with its line when the rows are read
        return rows, True
    return rows, False


def _options(lines: list[str], usual: str) -> dict:
    """The usual separator, unless another one cuts the first rows evenly and it does not."""
    order = [usual, *(each for each in _WORDS if each != usual)]
    ways = [{"delimiter": each} for each in order]
    ways.insert(1, {"delimiter": usual, "skipinitialspace": True})  # a, "b, c"
    if usual == "\t":
        ways.insert(2, {"delimiter": usual, "quoting": csv.QUOTE_NONE})
    samples = [_sample(lines, way) for way in ways]
    evenness = [_evenness(*sample) for sample in samples]
    if evenness[0] >= EVEN:
        return ways[0]
    best = max(range(len(ways)), key=lambda n: (evenness[n], -n))
    if evenness[best] >= EVEN:
        return ways[best]
    if _is_cut(samples[0][0]) or not samples[0][0]:
        return ways[0]
    # Nothing cuts evenly: what cuts the first row at all, or one column.
    cutting = [way for way, (rows, _) in zip(ways, samples, strict=True) if _is_cut(rows)]
    return cutting[0] if cutting and max(evenness) > 0.5 else _one_column(lines, samples[0][0])


def _one_column(lines: list[str], rows: list[list[str]]) -> dict:
    """A separator in a text of one column is text. So are quotes, where they stand around a part of a line only."""
    is_over_lines = any("\n" in cell or "\r" in cell for row in rows for cell in row)
    quoted = [line.strip() for line in lines[:SAMPLE_ROWS] if line.startswith('"')]
    are_text = not is_over_lines and not all(map(_QUOTED.fullmatch, quoted))
    return {"delimiter": NO_SEPARATOR} | ({"quoting": csv.QUOTE_NONE} if are_text else {})


def _is_cut(rows: list[list[str]]) -> bool:
    return bool(rows) and len(rows[0]) > 1


def _evenness(rows: list[list[str]], is_open: bool) -> float:
    """Share of the rows that have as many fields as the first; less than enough where that is one or a quote is open."""
    if not _is_cut(rows):
        return 0.0
    share = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
    return min(share, EVEN - 0.01) if is_open else share


def _has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: names are short, no numbers, and do not come again below."""
    if not rows:
        return True
    first, below = rows[0], rows[1:]
    if any(_is_no_name(cell) for cell in first) or not any(cell.strip() for cell in first):
        return False
    if first in below:
        return True
    for number, cell in enumerate(first):
        column = [row[number] for row in below if number < len(row)]
        if cell.strip() and cell in column:
            return False
        if column and all(map(_is_number, column)):  # a name over numbers
            return True
    return not any(_is_sentence(cell) for cell in first)


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell.strip()) is not None


def _is_no_name(cell: str) -> bool:
    text = cell.strip()
    return _is_number(text) or len(text) > _LONG_NAME or ("\n" in text and len(text) > 40)


def _is_sentence(cell: str) -> bool:
    text = cell.strip()
    return len(text.split()) > 8 or (text.endswith(_SENTENCE_END) and (len(text) > 12 or " " in text))
