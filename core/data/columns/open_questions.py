"""What a detected shape leaves open: unused columns, the same names in several objects, roles that come later."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from core.data.columns import column_names
from core.data.columns.column_names import is_choices, is_metadata, plain
from core.data.columns.field_values import Column

MAX_NAMED_COLUMNS = 4  # in a reason; more would hide the reason itself
OPTIONAL = {
    "input": column_names.INPUTS,
    "system": column_names.SYSTEMS,
    "tools": column_names.TOOLS,
    "title": column_names.TITLES,
}
_LATER = {
    "alpaca": ("input", "system"),
    "question": ("input", "system"),
    "messages": ("system", "tools"),
    "sharegpt": ("system", "tools"),
    "text": ("title",),
}


def unused_columns(columns: list[Column], taken: Iterable[str]) -> list[Column]:
    """Columns with words, lists or turns that have no role, apart from those that only describe the row."""
    taken = set(taken)
    rest = [column for column in columns if column.kind in ("text", "object", "turns") and column.name not in taken]
    return [column for column in rest if not any(map(is_metadata, column.name.split(".")))]


def choices_among(columns: list[Column]) -> list[str]:
    """Columns with the possible answers to a multiple-choice question: lists, or columns with such a name."""
    return [column.name for column in columns if column.kind == "object" or is_choices(column.name)]


def are_scattered(columns: list[Column], taken: Iterable[str]) -> bool:
    """Whether these columns are in different objects, or another object has a column of the same name."""
    taken = {name for name in taken if "." in name}
    ends = {name.rpartition(".")[2] for name in taken}
    others = [column.name for column in columns if "." in column.name and column.name.rpartition(".")[2] in ends]
    return bool(taken) and len({name.rpartition(".")[0] for name in (*taken, *others)}) > 1


def later_roles(shape_name: str, columns: list[Column], taken: dict[str, str]) -> tuple[str, ...]:
    """Roles that no column has in the first rows, but that a column may have in later rows."""
    full = {plain(column.name.rpartition(".")[2]) for column in columns if column.kind != "empty"}
    full -= {plain(name) for name in taken.values()}
    open_roles = (role for role in _LATER.get(shape_name, ()) if role not in taken)
    return tuple(role for role in open_roles if full.isdisjoint(OPTIONAL[role].split()))


def keys_without(roles: tuple[str, ...], rows: list[dict[str, Any]], taken: dict[str, str]) -> frozenset[str]:
    """The keys of these rows, except those whose names give them one of these roles."""
    keys = tuple(dict.fromkeys(key for row in rows for key in row))
    names = {name for role in roles for name in OPTIONAL[role].split()}
    return frozenset(key for key in keys if key in taken.values() or plain(str(key)) not in names)


@lru_cache(maxsize=4096)  # rows with additional keys mostly have the same ones
def columns_by_later_roles(keys: tuple[str, ...], roles: tuple[str, ...], taken: tuple[str, ...]) -> dict[str, str]:
    """The keys whose names give them one of these roles, by role; `taken` columns are skipped."""
    names = {plain(str(key)): key for key in reversed(keys) if key not in taken}
    found = {role: [names[name] for name in OPTIONAL[role].split() if name in names] for role in roles}
    return {role: columns[0] for role, columns in found.items() if columns}
