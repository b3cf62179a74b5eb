"""Rows of CSV and TSV files. Every field stays text."""

import csv
from collections.abc import Iterator

from core.data.files.csv_layout import (
    END_OF_FILE,
    MAX_FIELD,
    Layout,
    check_width,
    is_blank,
    is_without_values,
    names_of,
    read_fields,
)
from core.data.files.encodings import BAD_BYTE
from core.data.files.file_source import Source, lines
from core.data.rows import Row
from core.problems import DataError, tr


def read_csv(source: Source, number: int, layout: Layout) -> Iterator[Row]:
    """A row with too many fields has a fault; a missing field is None.

    Raises DataError for a quote that is never closed.
    """
    csv.field_size_limit(MAX_FIELD)  # it is global, and a library may have lowered it
    name, names, in_file, line_before = source.name, None, 0, 0
    broken: list[bool] = []
    with source.open_text(newline="") as stream:
        text = _noting_bad_bytes(lines(stream, name), broken)
        for _ in range(layout.skipped):
            next(text, None)
        rows = read_fields(text, layout.options)
        while (fields := _next(rows, source, line_before + layout.skipped)) is not None:
            line, line_before = line_before + layout.skipped + 1, rows.line_num
            if is_blank(fields):
                continue
            if fields[-1].endswith(END_OF_FILE):
                if fields == [END_OF_FILE]:
                    return
                opened = line + sum(field.count("\n") or field.count("\r") for field in fields[:-1])
                raise DataError(
                    "The quote opened at line {line} of {file} is never closed; close it there.", line=opened, file=name
                )
            if names is None:
                check_width(len(fields), name)
                if is_without_values(fields):
                    continue
                first = [field.replace(BAD_BYTE, "\ufffd") for field in fields]
                names = names_of(first if layout.has_header else [""] * len(first))
                width = len(names)
                if layout.has_header:
                    broken.clear()
                    continue
            in_file += 1
            if line == in_file:
                place = tr("row {row} of {file}", row=in_file, file=name)
            else:
                place = tr("row {row} of {file} (line {line})", row=in_file, file=name, line=line)
            fault = ""
            if len(fields) < width:
                fields += [None] * (width - len(fields))
            elif len(fields) > width:
                fault = _too_many(len(fields), width, layout.has_header)
            if broken:
                broken.clear()
                if any(field and BAD_BYTE in field for field in fields):
                    fault = source.bad_bytes
                    fields = [field and field.replace(BAD_BYTE, "\ufffd") for field in fields]
            yield Row(number + in_file, place, dict(zip(names, fields, strict=False)), fault)


def _too_many(fields: int, width: int, has_header: bool) -> str:
    if has_header:
        return tr("{fields} fields where the header has {width}", fields=fields, width=width)
    return tr("{fields} fields where the first row has {width}", fields=fields, width=width)


def _next(rows: Iterator[list[str]], source: Source, line_before: int) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as error:
        if "limit" in str(error):
            raise DataError(
                "A field in the row that begins at line {line} of {file} is longer than {limit:,} characters, probably "
                "because a quote is never closed; fix it there.",
                line=line_before + 1,
                file=source.name,
                limit=MAX_FIELD,
            ) from None
        raise DataError(
            "Line {line} of {file} cannot be read as CSV ({reason}); fix it there.",
            line=line_before + 1,
            file=source.name,
            reason=str(error),
        ) from None


def _noting_bad_bytes(text: Iterator[str], broken: list[bool]) -> Iterator[str]:
    """Passes the lines on; adds an entry to `broken` for each line with bytes that could not be decoded."""
    for line in text:
        if BAD_BYTE in line:
            broken.append(True)
        yield line
