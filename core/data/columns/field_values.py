"""The fields of a row: found by column name, read as text or as JSON, and sorted into a few kinds.

A field inside a nested object has a dotted name, such as `translation.en`.
"""

import ast
import json
import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from core.data.columns.column_names import CHOSEN, REJECTED, plain

MISSING: Any = object()
Kind = Literal["text", "value", "object", "turns", "empty"]

ROLE_KEYS = ("role", "from", "speaker", "sender")
CONTENT_KEYS = ("content", "value", "text", "message")
MAX_NESTING = 3  # levels of nested objects that get columns of their own
EXAMINED_CHARACTERS = 2_000  # of a text, to find out what kind it is

_DATE = re.compile(r"(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d.*)?|\d{1,2}:\d\d(:\d\d)?)$", re.ASCII)
_NO_WORDS = {"nan", "inf", "-inf", "infinity", "none", "null", "n/a", "na", "true", "false"}


@dataclass(frozen=True)
class Column:
    """A column of the first rows: the kind of most of its values, and their mean length in characters."""

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
    """The value as text: empty for None and NaN, JSON for lists and objects."""
    if isinstance(value, str):
        return value
    if value is None or value is MISSING or (isinstance(value, float) and math.isnan(value)):
        return ""
    return as_json(value) if isinstance(value, dict | list) else str(value)


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def parsed(value: Any) -> Any:
    """The list or object that a text contains (as JSON, or as Python prints it); any other value is returned as is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass  # what Python prints is not JSON: single quotes, None, True
    try:
        with warnings.catch_warnings(action="ignore"):  # about backslashes in the text, which are harmless
            return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def as_turns(value: Any) -> list[dict[str, Any]] | None:
    """The turns of the chat in this field, or None if it is not a chat.

    A chat is a list of objects with a speaker and a content. It may also be written as text, or as one object whose
    fields are lists of equal length.
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


def as_answer(value: Any) -> list[dict[str, Any]] | None:
    """The turns of an answer, which is a chat, a single turn with or without its speaker, or a text; None if empty."""
    turns, turn = as_turns(value), as_turn(value)
    if turns is None and turn is None and isinstance(value, str) and value.strip():
        turn = {"role": "assistant", "content": value}
    return turns if turns is not None else [turn] if turn else None


def as_turn(value: Any) -> dict[str, Any] | None:
    """The answer in this field if it is an object, whose speaker may be missing; else None."""
    turn = parsed(value)
    if isinstance(turn, dict) and speaker_key(turn) is not None:
        return turn
    has_content = isinstance(value, dict) and any(key in value for key in CONTENT_KEYS)
    return {"role": "assistant", **value} if has_content else None


def speaker_key(turn: dict[str, Any]) -> str | None:
    """The key of the speaker in a turn, or None if this is not a turn."""
    says = any(key in turn for key in (*CONTENT_KEYS, "tool_calls", "function_call"))
    return next((key for key in ROLE_KEYS if key in turn), None) if says else None


def special_tokens_of(tokenizer) -> tuple[str, ...]:
    """The tokenizer's control tokens as text, longest first. This is slow: call it once, not for each row."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    words = {str(token) for token in added if token.special} | set(map(str, tokenizer.all_special_tokens))
    return tuple(sorted((word for word in words if word), key=lambda word: (-len(word), word)))


def special_token_in(value: Any, special_tokens: tuple[str, ...]) -> str:
    """The first of these tokens that occurs in a text of the value, at any depth; empty if none does."""
    search = _pattern_of_any(special_tokens).search
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if found := search(value):
                return found.group()
        elif isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list | tuple):
            waiting += reversed(value)
    return ""


@lru_cache(maxsize=16)
def _pattern_of_any(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


def columns_of(rows: list[dict[str, Any]]) -> list[Column]:
    """The columns of these rows in order; fields of nested objects have dotted names."""
    fields: dict[str, list[Any]] = {}
    for row in rows:
        _gather(row, "", fields, MAX_NESTING)
    return [_column(name, values) for name, values in fields.items()]


def _gather(values: dict[str, Any], prefix: str, fields: dict[str, list[Any]], depth: int) -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"
        is_answer = plain(str(key)) in (CHOSEN, REJECTED) and as_answer(value) is not None
        if depth and value and isinstance(value, dict) and as_turns(value) is None and not is_answer:
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
    """A `text` has words; a `value` is a number, a date, a web address or the like, also when written as text."""
    if isinstance(value, dict | list):
        return "empty" if not value else "turns" if as_turns(value) is not None else "object"
    text = as_text(value).strip()
    if not text:
        return "empty"
    if not isinstance(value, str):
        return "value"
    if text.startswith(("[", "{")) and as_turns(text) is not None:
        return "turns"
    return "text" if _has_words(text[:EXAMINED_CHARACTERS]) else "value"


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
