"""Rows of JSON and JSON lines.

    JSON lines   one object per line; a line that is not valid JSON is a row with a fault
    JSON         a list, read element by element so that its size does not matter; or one object, which may have the
                 rows in a list or under their names

A JSON file with an error anywhere is refused, because after the error it is unclear what belongs together.
"""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from core.data.files import file_kinds
from core.data.files.encodings import BAD_BYTE
from core.data.files.file_source import Source, lines
from core.data.files.json_stream import NotJson, TooLarge, Window, parse
from core.data.files.rows_in_an_object import list_note, rows_of
from core.data.rows import TOO_DEEP, Row
from core.problems import DataError, mark, tr

NOT_A_ROW = mark("not a row with named fields")
MAX_BAD_START = 1000  # lines; a file whose first lines are all bad is still refused if it is shorter than this
MAX_OBJECT = 1 << 26  # characters of a file that is one object, which has to fit in memory
_EXAMINED_VALUES = 100
_ONE_LIST = re.compile(r'\{[ \t\n\r]*("(?:[^"\\]|\\.)*")[ \t\n\r]*:[ \t\n\r]*\[[ \t\n\r]*\{')


def read_json_lines(source: Source, number: int) -> Iterator[Row]:
    """The lines that are not blank, as rows. Raises DataError at the end if no line was a row."""
    name, bad_start, has_rows = source.name, [], False
    with source.open_text() as stream:
        for line_number, line in enumerate(lines(stream, name), 1):
            if not line or line.isspace():
                continue
            number += 1
            place = tr("line {line} of {file}", line=line_number, file=name)
            values, fault = _parse_line(line, source)
            if fault and not has_rows:
                bad_start.append(Row(number, place, values, fault))
                if len(bad_start) == MAX_BAD_START:
                    yield from bad_start
                    bad_start, has_rows = [], True
                continue
            yield from bad_start
            bad_start = []
            has_rows = True
            yield Row(number, place, values, fault)
    if bad_start:
        raise DataError(
            "{file} has no row that can be read: {place} is {fault}; fix it there.",
            file=name,
            place=bad_start[0].place,
            fault=bad_start[0].fault,
        )


def _parse_line(line: str, source: Source) -> tuple[dict[str, Any], str]:
    fault = ""
    if BAD_BYTE in line:
        line, fault = line.replace(BAD_BYTE, "\ufffd"), source.bad_bytes
    try:
        value = parse(line.removeprefix("\ufeff"))
    except NotJson as error:
        if error.what == TOO_DEEP:
            return {}, fault or tr(TOO_DEEP)
        what = tr("not valid JSON: {what}, at column {column}", what=tr(error.what), column=error.column)
        return {}, fault or what
    if not isinstance(value, dict):
        return {}, fault or tr(NOT_A_ROW)
    return value, fault


def goes_over_lines(head: str, source: Source) -> bool:
    """Whether a file called JSON lines is one object over several lines, and so JSON. `head` is its beginning.

    Raises DataError if it is several objects over several lines each.
    """
    first_lines = [line.rstrip() for line in head[:1_000_000].splitlines() if line.strip()][:_EXAMINED_VALUES]
    if len(first_lines) < 2 or not _is_open(first_lines[0].lstrip("\ufeff")):
        return False
    with source.open_text() as stream:
        try:
            window = Window(stream)
            window.peek()
            window.value(MAX_OBJECT)
            window.end()
            return True
        except NotJson:
            if all(_parse_line(line, source)[1] for line in first_lines):
                raise DataError(
                    "{file} has objects that span several lines, but in a JSONL file each line must be one object; "
                    "save it again with one object per line.",
                    file=source.name,
                ) from None
            return False


def _is_open(line: str) -> bool:
    """Whether the line begins an object that continues after it."""
    try:
        parse(line)
    except NotJson as error:
        return line.startswith("{") and error.at >= len(line)
    return False


def read_json(source: Source, number: int) -> Iterator[Row]:
    """The rows of a list or an object. Raises DataError with line and column if the text is not valid JSON."""
    try:
        with source.open_text() as stream:
            for in_file, (values, fault) in enumerate(_values(Window(stream), source), 1):
                place = tr("row {row} of {file}", row=in_file, file=source.name)
                yield Row(number + in_file, place, values, fault)
    except TooLarge as error:
        raise DataError(
            "{file} has a value of more than {limit:,} characters, at line {line}, column {column}; "
            "save its rows as a list, or one per line as JSONL.",
            file=source.name,
            limit=error.limit,
            line=error.line,
            column=error.column,
        ) from None
    except NotJson as error:
        template = mark("{file} is not valid JSON: {what}, at line {line}, column {column}; fix it there.")
        if file_kinds.kind_by_name(source.path.name) == "jsonl":
            template = mark(
                "{file} is not valid JSON: {what}, at line {line}, column {column}; "
                "in a JSONL file each line must be one object."
            )
        what = tr(error.what)
        raise DataError(template, file=source.name, what=what, line=error.line, column=error.column) from None


def _values(window: Window, source: Source) -> Iterator[tuple[dict[str, Any], str]]:
    first = window.peek()
    if first == "[":
        window.at += 1
        yield from _list(window, source)
        window.end()
        return
    if first == "{" and (key := _ONE_LIST.match(window.text, window.at)):
        # A small file is read whole; a large one can only be a list of rows under a name.
        start = window.at
        if window.is_whole or _is_small(source):
            yield from _whole(window, source)
            return
        window.at = start + key.group().rindex("[") + 1
        source.note(list_note(parse(key.group(1))))
        yield from _list(window, source)
        if window.peek() == ",":
            raise DataError(
                "{file} is one object with several fields and more than {limit:,} bytes; "
                "save its rows as a list, or one per line as JSONL.",
                file=source.name,
                limit=MAX_OBJECT,
            )
        window.take("}")
        window.end()
        return
    yield from _whole(window, source)


def _whole(window: Window, source: Source) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a text that is read as one value."""
    value = window.value(MAX_OBJECT)
    has_bad_bytes = BAD_BYTE in window.text
    window.end()
    for row in rows_of(value, source) if isinstance(value, dict) else [{"value": value}]:
        readable = _without_bad_bytes(row) if has_bad_bytes else row
        yield readable, source.bad_bytes if readable != row else ""


def _is_small(source: Source) -> bool:
    return source.is_whole or (not source.compression and source.size <= MAX_OBJECT)


def _without_bad_bytes(value: Any) -> Any:
    return json.loads(json.dumps(value).replace(r"\udcff", r"\ufffd"))


def _list(window: Window, source: Source) -> Iterator[tuple[dict[str, Any], str]]:
    """Objects are rows. If none of the first values is an object, each value is a row with one field."""
    values = _values_of_list(window)
    first = []
    for value in values:
        first.append(value)
        if isinstance(value[0], dict) or len(first) == _EXAMINED_VALUES:
            break
    has_objects = any(isinstance(value, dict) for value, _ in first)
    has_texts = all(isinstance(value, str) for value, _ in first)
    for value, has_bad_bytes in chain(first, values):
        value, fault = (_without_bad_bytes(value), source.bad_bytes) if has_bad_bytes else (value, "")
        if isinstance(value, dict):
            yield value, fault
        elif has_objects or (has_texts and not isinstance(value, str)):
            yield {}, fault or tr(NOT_A_ROW)
        else:
            yield {"text" if has_texts else "value": value}, fault


def _values_of_list(window: Window) -> Iterator[tuple[Any, bool]]:
    """The values of the list, each with whether it has bytes that could not be decoded."""
    text = window.text
    start, has_bad_bytes = window.at, BAD_BYTE in text
    for value in window.elements():
        if window.text is not text:  # the window has moved, and now begins with this value
            text, start = window.text, 0
            has_bad_bytes = BAD_BYTE in text
        yield value, has_bad_bytes and text.find(BAD_BYTE, start, window.at) >= 0
        start = window.at
