"""What stands in the fields of a row: found by column name, read as text, as JSON, or as one of a few kinds.

Knows nothing of shapes, templates or files. A field inside a nested object has a dotted name, as `translation.en`.
"""

import ast
import json
import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

MISSING: Any = object()
Kind = Literal["text", "value", "object", "turns", "empty"]

ROLE_KEYS = ("role", "from", "speaker", "sender")
CONTENT_KEYS = ("content", "value", "text", "message")
DEEPEST = 3  # levels of nested objects that are looked into
ENOUGH = 2_000  # characters of a text that are looked at to tell what it is

_DATE = re.compile(r"(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d.*)?|\d{1,2}:\d\d(:\d\d)?)$", re.ASCII)
_NO_WORDS = {"nan", "inf", "-inf", "infinity", "none", "null", "n/a", "na", "true", "false"}


@dataclass(frozen=True)
class Column:
    """A column of the first rows: the kind most of its values have, and how long they are in characters."""

    name: str
    kind: Kind
    length: float


def lookup(values: dict[str, Any], column: str) -> Any:
    """The field of that name, or MISSING."""
    if column in values:
        return values[column]
    head, dot, rest = column.partition(".")
    inner = values.get(head)
    return lookup(inner, rest) if dot and isinstance(inner, dict) else MISSING


def as_text(value: Any) -> str:
    """The value as it would stand in a text: nothing for None and NaN, JSON for lists and objects."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING or (isinstance(value, float) and math.isnan(value)):
        return ""
    return as_json(value) if isinstance(value, dict | list) else str(value)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def parsed(value: Any) -> Any:
    """A list or object that stands in the field as text (JSON, or as Python prints it), or the value itself."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass  # what Python prints is not JSON: single quotes, None, True
    try:
        with warnings.catch_warnings(action="ignore"):  # a backslash in a text is no fault of the person's
            return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def as_turns(value: Any) -> list[dict[str, Any]] | None:
    """The turns of a chat that the field holds, or None.

    A list of objects that say who speaks and what; also as text, and as one object of two lists of equal length.
    """
    value = parsed(value)
    if isinstance(value, dict):
        columns = {key: list_ for key, list_ in value.items() if isinstance(list_, list)}
        if speaker_key(columns) is None or len(columns) < 2 or len({len(list_) for list_ in columns.values()}) != 1:
            return None
        value = [dict(zip(columns, turn, strict=True)) for turn in zip(*columns.values(), strict=True)]
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return None
    return value if speaker_key(value[0]) is not None else None


def speaker_key(turn: dict[str, Any]) -> str | None:
    """The key under which a turn says who speaks, or None where it is no turn."""
    says = any(key in turn for key in (*CONTENT_KEYS, "tool_calls", "function_call"))
    return next((key for key in ROLE_KEYS if key in turn), None) if says else None


def special_tokens_of(tokenizer) -> tuple[str, ...]:
    """The words that the tokenizer takes for control tokens, the longest first. Ask once, not for each row."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    words = {str(token) for token in added if token.special} | set(map(str, tokenizer.all_special_tokens))
    return tuple(sorted((word for word in words if word), key=lambda word: (-len(word), word)))


def special_token_in(value: Any, special_tokens: tuple[str, ...]) -> str:
    """The first of these words that stands in one of the value's texts, however deep; empty where there is none."""
    finds = _finder(special_tokens).search
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if found := finds(value):
                return found.group()
        elif isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list | tuple):
            waiting += reversed(value)
    return ""


@lru_cache(maxsize=16)
def _finder(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


def columns_of(rows: list[dict[str, Any]]) -> list[Column]:
    """The columns of these rows in order, those of nested objects by their dotted names."""
    fields: dict[str, list[Any]] = {}
    for row in rows:
        _gather(row, "", fields, DEEPEST)
    return [_column(name, values) for name, values in fields.items()]


def _gather(values: dict[str, Any], prefix: str, fields: dict[str, list[Any]], depth: int) -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if depth and value and isinstance(value, dict) and as_turns(value) is None:
            _gather(value, f"{name}.", fields, depth - 1)
        else:
            fields.setdefault(name, []).append(value)


def _column(name: str, values: list[Any]) -> Column:
    kinds = [kind for kind in map(kind_of, values) if kind != "empty"]
    if not kinds:
        return Column(name, "empty", 0.0)
    texts = [len(value) for value in values if isinstance(value, str) and value.strip()]
    return Column(name, max(kinds, key=kinds.count), sum(texts) / max(len(texts), 1))


def kind_of(value: Any) -> Kind:
    """A `value` is a number, a date, an address or the like, as a text too; a `text` has words."""
    if isinstance(value, dict | list):
        return "empty" if not value else "turns" if as_turns(value) is not None else "object"
    text = as_text(value).strip()
    if not text:
        return "empty"
    if not isinstance(value, str):
        return "value"
    if text.startswith(("[", "{")) and as_turns(text) is not None:
        return "turns"
    return "text" if _has_words(text[:ENOUGH]) else "value"


def _has_words(text: str) -> bool:
    if text.lower() in _NO_WORDS or _DATE.match(text) or (text.startswith(("http://", "https://")) and " " not in text):
        return False
    if not any(character.isalpha() for character in text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False  # 1e5
