"""Strict JSON from a stream, one value after the other, in little memory.

The standard library's decoder reads a value from a text; here the text is a window that moves over the stream. The
decoder also accepts NaN and Infinity, which are not JSON, and fails on numbers with thousands of digits, which are:
both are corrected here.
"""

import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from core.data.rows import TOO_DEEP
from core.problems import mark, tr

BLOCK = 1 << 20  # characters
MAX_VALUE = 1 << 24  # characters of one value in a list; longer ones would fill the memory
# An error this close to the end of the window may only mean that the rest has not been read yet.
_NEAR_THE_END = 64  # characters
# What the standard library's decoder says, and the window as well, marked for translation.
EXPECTING_COMMA, EXTRA_DATA, UNTERMINATED = (
    mark("Expecting ',' delimiter"),
    mark("Extra data"),
    mark("Unterminated string"),
)
OTHER_MESSAGES = (
    mark("Expecting value"),
    mark("Expecting property name enclosed in double quotes"),
    mark("Expecting ':' delimiter"),
    mark("Illegal trailing comma before end of object"),
    mark("Illegal trailing comma before end of array"),
    mark("Invalid control character"),
    mark("Invalid \\escape"),
    mark("Invalid \\uXXXX escape"),
)
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', re.DOTALL)


class NotJson(ValueError):
    """`what`, shown with `tr`, is wrong at this line and column, which count from 1; `at` is the position, from 0."""

    def __init__(self, what: str, line: int, column: int, at: int = 0):
        super().__init__(what)
        # Some of the library's messages end in "at", ready for a place.
        self.what = what.removesuffix(" at").removesuffix(" starting")
        self.line, self.column, self.at = line, column, at

    @classmethod
    def within(cls, what: str, text: str, at: int) -> "NotJson":
        return cls(what, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), at)


class TooLarge(NotJson):
    """The value that begins at this line and column is longer than `limit` characters."""

    def __init__(self, limit: int, line: int, column: int):
        super().__init__(f"a value of more than {limit:,} characters", line, column)
        self.limit = limit


class _Constant(ValueError):
    """The text has NaN or Infinity."""


def _refuse_constant(name: str) -> Any:
    raise _Constant(name)


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text  # 1e999 stays text


def _any_integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # thousands of digits, which Python refuses to convert: they stay text
        return text


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_SLOW_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_any_integer)


def parse_at(text: str, start: int, decoder: json.JSONDecoder = _DECODER) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends. Raises NotJson with the line and column in this text."""
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, error.lineno, error.colno, error.pos) from None
    except _Constant as error:
        where = next(found for found in _STRING_OR_CONSTANT.finditer(text, start) if found.group()[0] != '"').start()
        raise NotJson.within(tr("{value} is not a JSON value", value=str(error)), text, where) from None
    except RecursionError:
        raise NotJson.within(TOO_DEEP, text, start) from None
    except ValueError:
        return parse_at(text, start, _SLOW_DECODER)  # a number of thousands of digits


def parse(text: str) -> Any:
    """The value of a text that has exactly one. Raises NotJson."""
    value, end = parse_at(text, _SPACE.match(text).end())
    rest = _SPACE.match(text, end).end()
    if rest < len(text):
        raise NotJson.within(EXTRA_DATA, text, rest)
    return value


class Window:
    """The part of a JSON text that is in memory, `text`, processed up to `at`. More is read when needed."""

    def __init__(self, stream: io.TextIOBase):
        self._stream = stream
        self.text, self.at, self.is_whole = "", 0, False
        self._line, self._column = 1, 1  # of the window's first character
        self._more()

    def _more(self) -> None:
        """Drops the processed part and reads another block, at least as long as what remains."""
        self._line, self._column = self._place(self.at)
        rest = self.text[self.at :]
        block = self._stream.read(max(BLOCK, len(rest)))
        self.text, self.at, self.is_whole = rest + block, 0, not block

    def _place(self, at: int) -> tuple[int, int]:
        lines = self.text.count("\n", 0, at)
        return self._line + lines, at - self.text.rfind("\n", 0, at) if lines else self._column + at

    def fault(self, what: str, at: int | None = None) -> NotJson:
        return NotJson(what, *self._place(self.at if at is None else at))

    def peek(self) -> str:
        """The next character that is not white space, or "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()
            if self.at < len(self.text) or self.is_whole:
                return self.text[self.at : self.at + 1]
            self._more()

    def take(self, character: str) -> None:
        """Skips this character. Raises NotJson if the next one is different."""
        if self.peek() != character:
            raise self.fault(tr("Expecting '{character}'", character=character))
        self.at += 1

    def value(self, longest: int = MAX_VALUE) -> Any:
        """The next value. Raises NotJson, or TooLarge if it is much longer than `longest` characters."""
        while True:
            certain_until = len(self.text) - _NEAR_THE_END
            try:
                value, end = parse_at(self.text, self.at)
                if self.is_whole or end < certain_until:
                    self.at = end
                    return value
            except NotJson as error:
                may_continue = error.at >= certain_until or error.what.startswith(UNTERMINATED)
                if self.is_whole or not may_continue:
                    raise self.fault(error.what, error.at) from None
            if len(self.text) - self.at > longest:
                raise TooLarge(longest, *self._place(self.at))
            self._more()

    def elements(self) -> Iterator[Any]:
        """The values of a list whose opening bracket has been skipped; skips the closing one. Raises NotJson."""
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            yield self.value()
            comma = _COMMA.match(self.text, self.at)
            if comma and comma.end() < len(self.text):
                self.at = comma.end()
                continue
            match self.peek():
                case ",":
                    self.at += 1
                    self.peek()
                case "]":
                    self.at += 1
                    return
                case _:
                    raise self.fault(EXPECTING_COMMA)

    def end(self) -> None:
        """Raises NotJson if the text continues."""
        if self.peek():
            raise self.fault(EXTRA_DATA)
