"""Strict JSON, one value after the other from a stream, in little memory. Knows nothing of rows and files.

The standard library's decoder reads a value from a text; here the text is a window that moves over the stream. It
also takes NaN and Infinity, which are not JSON, and numbers of any length, which Python does not: both are looked
after here.
"""

import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any

BLOCK = 1 << 20
MAX_VALUE = 1 << 24  # characters of one value in a list; a longer one would fill the memory
# A fault of the text this near to the end of the window may only mean that the rest is not read yet.
_NEAR_THE_END = 64
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|-?Infinity|NaN', re.DOTALL)
DEEP = "nested too deeply"


class NotJson(ValueError):
    """`line` and `column` count from 1; `what` says what is wrong there, at this position of the text."""

    def __init__(self, what: str, line: int, column: int, at: int = 0):
        super().__init__(what)
        self.what, self.line, self.column, self.at = what, line, column, at

    @classmethod
    def within(cls, what: str, text: str, at: int) -> "NotJson":
        return cls(what, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at), at)

    def in_words(self, with_line: bool) -> str:
        place = f"line {self.line}, column {self.column}" if with_line else f"column {self.column}"
        # Some of the library's messages end in "at", ready for a place.
        return f"{self.what} {place}" if self.what.endswith(" at") else f"{self.what}, at {place}"


class TooLarge(NotJson):
    """One value is longer than it may be."""


class _Constant(ValueError):
    """NaN or Infinity was read."""


def _refuse_constant(name: str) -> Any:
    raise _Constant(name)


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text  # 1e999 stays as it is written


def _any_integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # thousands of digits, which Python does not turn into a number: kept as they are written
        return text


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_SLOW_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_any_integer)


def parse_at(text: str, start: int, decoder: json.JSONDecoder = _DECODER) -> tuple[Any, int]:
    """The value that begins at `start`, and where it ends. Raises NotJson, its line and column within the text."""
    try:
        return decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, error.lineno, error.colno, error.pos) from None
    except _Constant as error:
        where = next(found for found in _STRING_OR_CONSTANT.finditer(text, start) if found.group()[0] != '"').start()
        raise NotJson.within(f"{error} is no JSON value", text, where) from None
    except RecursionError:
        raise NotJson.within(DEEP, text, start) from None
    except ValueError:
        return parse_at(text, start, _SLOW_DECODER)  # a number of thousands of digits


def parse(text: str) -> Any:
    """The one value that is all of the text. Raises NotJson."""
    value, end = parse_at(text, _SPACE.match(text).end())
    rest = _SPACE.match(text, end).end()
    if rest < len(text):
        raise NotJson.within("Extra data", text, rest)
    return value


class Window:
    """The part of a JSON text that is in memory: `text`, read up to `at`. More is read when it is needed."""

    def __init__(self, stream: io.TextIOBase):
        self._stream = stream
        self.text, self.at, self.is_whole = "", 0, False
        self._line, self._column = 1, 1  # of the window's first character
        self._more()

    def _more(self) -> None:
        """Drops what is read and doubles what is left, or reads another block."""
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
        """The next character that is no space, or "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()
            if self.at < len(self.text) or self.is_whole:
                return self.text[self.at : self.at + 1]
            self._more()

    def take(self, character: str) -> None:
        """Moves over this character. Raises NotJson where there is another."""
        if self.peek() != character:
            raise self.fault(f"Expecting '{character}'")
        self.at += 1

    def value(self, longest: int = MAX_VALUE) -> Any:
        """Moves over the next value, of at most about `longest` characters. Raises NotJson, TooLarge among it."""
        while True:
            end_of_sight = len(self.text) - _NEAR_THE_END
            try:
                value, end = parse_at(self.text, self.at)
                if self.is_whole or end < end_of_sight:
                    self.at = end
                    return value
            except NotJson as error:
                may_go_on = error.at >= end_of_sight or error.what.startswith("Unterminated string")
                if self.is_whole or not may_go_on:
                    raise self.fault(error.what, error.at) from None
            if len(self.text) - self.at > longest:
                raise TooLarge(f"a value of more than {longest:,} characters begins at", *self._place(self.at))
            self._more()

    def elements(self) -> Iterator[Any]:
        """The values of a list, whose bracket has been taken; moves over its end. Raises NotJson."""
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
                    raise self.fault("Expecting ',' delimiter")

    def end(self) -> None:
        """Raises NotJson where something follows."""
        if self.peek():
            raise self.fault("Extra data")
