"""Rows of CSV and TSV files, every field as the text it is. Knows nothing of what the columns mean."""

import csv
from collections.abc import Iterator

from core.data.files.csv_layout import END, MAX_FIELD, Layout, check_width, is_blank, names_of, read_fields
from core.data.files.encodings import MARK
from core.data.files.file_source import Source, lines
from core.data.rows import Row
from core.problems import DataError


def read_csv(source: Source, number: int, layout: Layout) -> Iterator[Row]:
    """A row with too many fields has a fault, a missing field is None. Raises DataError for a quote never closed."""
    csv.field_size_limit(MAX_FIELD)  # for the whole process, and others may have set it lower
    name, names, in_file, line_before = source.name, None, 0, 0
    broken: list[bool] = []
    with source.open_text(newline="") as stream:
        text = _noting(lines(stream, name), broken)
        for _ in range(layout.skipped):
            next(text, None)
        rows = read_fields(text, layout.options)
        while (fields := _next(rows, source, line_before + layout.skipped)) is not None:
            line, line_before = line_before + layout.skipped + 1, rows.line_num
            if is_blank(fields):
                continue
            if fields[-1].endswith(END):
                if fields == [END]:
                    return
                opened = line + sum(field.count("\n") or field.count("\r") for field in fields[:-1])
                raise DataError(f"The quote opened at line {opened} of {name} is never closed; close it there.")
            if names is None:
                check_width(len(fields), name)
                first = [field.replace(MARK, "\ufffd") for field in fields]
                names = names_of(first if layout.has_header else [""] * len(first))
                width = len(names)
                if layout.has_header:
                    broken.clear()
                    continue
            in_file += 1
            place = f"row {in_file} of {name}" + (f" (line {line})" if line != in_file else "")
            fault = ""
            if len(fields) < width:
                fields += [None] * (width - len(fields))
            elif len(fields) > width:
                fault = f"{len(fields)} fields where the {'header' if layout.has_header else 'first row'} has {width}"
            if broken:
                broken.clear()
                if any(field and MARK in field for field in fields):
                    fault = source.bad_bytes
                    fields = [field and field.replace(MARK, "\ufffd") for field in fields]
            yield Row(number + in_file, place, dict(zip(names, fields)), fault)


def _next(rows: Iterator[list[str]], source: Source, line_before: int) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as error:
        if "limit" in str(error):
            raise DataError(
                f"A field in the row that begins at line {line_before + 1} of {source.name} is longer than "
                f"{MAX_FIELD:,} characters, so a quote may not be closed; mend it there."
            ) from None
        raise DataError(f"Line {line_before + 1} of {source.name} cannot be read as CSV: {error}.") from None


def _noting(text: Iterator[str], broken: list[bool]) -> Iterator[str]:
    """The lines as they are; `broken` gets an entry for one with bytes that could not be decoded."""
    for line in text:
        if MARK in line:
            broken.append(True)
        yield line
