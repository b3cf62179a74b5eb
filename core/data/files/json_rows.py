"""Rows of JSON and of JSON lines. Knows nothing of what their fields mean.

    JSON lines   one object a line; a line that is broken is a row with a fault
    JSON         a list, read element by element so that its size does not matter; or one object, which may hold the
                 rows in a list or under their names

A JSON file that is broken anywhere is refused: after the break nobody knows what belongs together.
"""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from core.data.files import file_kinds
from core.data.files.encodings import MARK
from core.data.files.file_source import Source, lines
from core.data.files.json_stream import DEEP, NotJson, TooLarge, Window, parse
from core.data.files.rows_in_an_object import rows_of, under
from core.data.rows import Row
from core.problems import DataError

OTHERWISE = "save its rows as a list, or one a line as JSONL"
EACH_LINE = "in a file of JSON lines each line must be one object"
NOT_A_ROW = "not a row with named fields"
HELD_BACK = 1000  # broken lines at the beginning before they are handed on
MAX_OBJECT = 1 << 26  # characters of a file that is one object, which has to be held whole
_FIRST_VALUES = 100
_ONE_LIST = re.compile(r'\{[ \t\n\r]*("(?:[^"\\]|\\.)*")[ \t\n\r]*:[ \t\n\r]*\[[ \t\n\r]*\{')


def read_json_lines(source: Source, number: int) -> Iterator[Row]:
    """Raises DataError at the end when no line held a row, naming the first."""
    name, held, has_rows = source.name, [], False
    with source.open_text() as stream:
        for line_number, line in enumerate(lines(stream, name), 1):
            if not line or line.isspace():
                continue
            number += 1
            place = f"line {line_number} of {name}"
            values, fault = _parse_line(line, source)
            if fault and not has_rows:
                held.append(Row(number, place, values, fault))
                if len(held) == HELD_BACK:
                    yield from held
                    held, has_rows = [], True
                continue
            if held:
                yield from held
                held = []
            has_rows = True
            yield Row(number, place, values, fault)
    if held:
        raise DataError(f"{name} holds no row that can be read: {held[0].place} is {held[0].fault}; mend it there.")


def _parse_line(line: str, source: Source) -> tuple[dict[str, Any], str]:
    fault = ""
    if MARK in line:
        line, fault = line.replace(MARK, "\ufffd"), source.bad_bytes
    try:
        value = parse(line.removeprefix("\ufeff"))
    except NotJson as error:
        return {}, fault or (DEEP if error.what == DEEP else f"not valid JSON: {error.in_words(with_line=False)}")
    if not isinstance(value, dict):
        return {}, fault or NOT_A_ROW
    return value, fault


def goes_over_lines(head: str, source: Source) -> bool:
    """Whether what is called JSON lines is one object over several lines, to be read as JSON; it begins with `head`.

    Raises DataError where several objects go over lines.
    """
    begun = [line.rstrip() for line in head[:1_000_000].splitlines() if line.strip()][:_FIRST_VALUES]
    if len(begun) < 2 or not _is_open(begun[0].lstrip("\ufeff")):
        return False
    with source.open_text() as stream:
        try:
            window = Window(stream)
            window.peek()
            window.value(MAX_OBJECT)
            window.end()
            return True
        except NotJson:
            if all(_parse_line(line, source)[1] for line in begun):
                raise DataError(
                    f"{source.name} has objects that go over several lines; {EACH_LINE}, so save it again as such."
                ) from None
            return False


def _is_open(line: str) -> bool:
    """Whether the line begins an object and ends within it."""
    try:
        parse(line)
    except NotJson as error:
        return line.startswith("{") and error.at >= len(line)
    return False


def read_json(source: Source, number: int) -> Iterator[Row]:
    """Raises DataError, naming line and column, where the text is no JSON."""
    place = f" of {source.name}"
    try:
        with source.open_text() as stream:
            for in_file, (values, fault) in enumerate(_values(Window(stream), source), 1):
                yield Row(number + in_file, f"row {in_file}{place}", values, fault)
    except TooLarge as error:
        raise DataError(
            f"{source.name} is too large in one piece: {error.in_words(with_line=True)}; {OTHERWISE}."
        ) from None
    except NotJson as error:
        is_of_lines = file_kinds.kind_by_name(source.path.name) == "jsonl"
        way_out = EACH_LINE if is_of_lines else "mend it there"
        raise DataError(f"{source.name} is not valid JSON: {error.in_words(with_line=True)}; {way_out}.") from None


def _values(window: Window, source: Source) -> Iterator[tuple[dict[str, Any], str]]:
    first = window.peek()
    if first == "[":
        window.at += 1
        yield from _list(window, source)
        window.end()
        return
    if first == "{" and (key := _ONE_LIST.match(window.text, window.at)):
        # A small file is looked at whole, a large one can only be a list of rows under a name.
        start = window.at
        if window.is_whole or _is_small(source):
            yield from _whole(window, source)
            return
        window.at = start + key.group().rindex("[") + 1
        source.note(under(parse(key.group(1))))
        yield from _list(window, source)
        if window.peek() == ",":
            raise DataError(
                f"{source.name} is one object of several fields and more than {MAX_OBJECT:,} bytes; {OTHERWISE}."
            )
        window.take("}")
        window.end()
        return
    yield from _whole(window, source)


def _whole(window: Window, source: Source) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of a text that is held whole."""
    value = window.value(MAX_OBJECT)
    has_marks = MARK in window.text
    window.end()
    for row in rows_of(value, source) if isinstance(value, dict) else [{"value": value}]:
        mended = _without_marks(row) if has_marks else row
        yield mended, source.bad_bytes if mended != row else ""


def _is_small(source: Source) -> bool:
    return source.is_whole or (not source.packing and source.size <= MAX_OBJECT)


def _without_marks(value: Any) -> Any:
    return json.loads(json.dumps(value).replace(r"\udcff", r"\ufffd"))


def _list(window: Window, source: Source) -> Iterator[tuple[dict[str, Any], str]]:
    """Objects are rows. Where there are none among the first values, each value is a row of one field."""
    values = _marked(window)
    first = []
    for value in values:
        first.append(value)
        if isinstance(value[0], dict) or len(first) == _FIRST_VALUES:
            break
    has_objects = any(isinstance(value, dict) for value, _ in first)
    has_texts = all(isinstance(value, str) for value, _ in first)
    for value, broken in chain(first, values):
        value, fault = (_without_marks(value), source.bad_bytes) if broken else (value, "")
        if isinstance(value, dict):
            yield value, fault
        elif has_objects or (has_texts and not isinstance(value, str)):
            yield {}, fault or NOT_A_ROW
        else:
            yield {"text" if has_texts else "value": value}, fault


def _marked(window: Window) -> Iterator[tuple[Any, bool]]:
    """The values of the list, and whether bytes in each could not be decoded."""
    text = window.text
    start, has_marks = window.at, MARK in text
    for value in window.elements():
        if window.text is not text:  # the window moved on, and now begins with this value
            text, start = window.text, 0
            has_marks = MARK in text
        yield value, has_marks and text.find(MARK, start, window.at) >= 0
        start = window.at
