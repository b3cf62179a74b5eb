"""What the person chose: columns for certain roles, and the columns that a prompt names. Knows nothing of shapes."""

import difflib
import string
from functools import lru_cache
from typing import Any

from core.data.columns.column_names import plain
from core.data.columns.field_values import MISSING, Column, lookup
from core.problems import DataError
from core.settings.sections import DataConfig

ROLES = ("instruction", "input", "answer", "system", "text")  # those that a person may give to a column
SHOWN = 12  # column names in a message
NAME_ONLY = (
    "In the prompt, braces hold the name of a column and nothing else, as in {title}; write {{ and }} for braces that "
    "are to stand in the text."
)


def chosen_columns(config: DataConfig, columns: list[Column], rows: list[dict[str, Any]]) -> dict[str, str]:
    """The columns that the person has chosen, by role. Raises DataError for those that are not there or do not fit."""
    settings = {role: getattr(config, f"{role}_column") for role in ROLES}
    chosen = {role: column for role, column in settings.items() if column}
    for column in chosen.values():
        if all(lookup(row, column) is MISSING for row in rows):
            near = nearest(column, columns)
            meant = "" if near is None else f" (did you mean {near!r}?)"
            raise DataError(
                f"You chose the column {column!r}, which these rows do not have{meant}; they have {listed(columns)}."
            )
    if "text" in chosen and len(chosen) > 1:
        others = names_in_words(column for role, column in chosen.items() if role != "text")
        raise DataError(
            f"The column {chosen['text']!r} is chosen to be learned whole, which leaves no place for {others}; "
            "empty the one or the other."
        )
    if "answer" in chosen and not {"instruction", "input"} & set(chosen):
        raise DataError(
            f"{chosen['answer']!r} is chosen as the answer; choose the column that asks as well (Instruction)."
        )
    if "instruction" in chosen and "answer" not in chosen:
        raise DataError(f"{chosen['instruction']!r} is chosen to ask; choose the column that answers as well (Answer).")
    return chosen


def check_roles(columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """That no column has two roles that do not go together, given the columns by role. Raises DataError.

    What answers must not stand in the question as well, or the model would learn to read it off there.
    """
    for answering in ("answer", "messages"):
        for role, column in columns.items():
            if answering not in columns or role == answering or not _share(column, columns[answering], rows):
                continue
            other = "be the system prompt" if role == "system" else "ask" if role in ("instruction", "input") else ""
            if other:
                raise DataError(
                    f"The column {column!r} cannot both {other} and answer; choose another for one of them."
                )
    if "instruction" in columns and "input" in columns and _share(columns["instruction"], columns["input"], rows):
        raise DataError(
            f"The column {columns['input']!r} would be asked twice, as Instruction and as Input; choose another for one "
            "of them."
        )


def _share(one: str, other: str, rows: list[dict[str, Any]]) -> bool:
    """Whether both names are the same column, or the one is an object that holds the other."""
    outer, inner = sorted((one, other), key=len)
    if outer == inner or not inner.startswith(f"{outer}."):
        return outer == inner
    return any(isinstance(lookup(row, outer), dict) and inner not in row for row in rows)


@lru_cache(maxsize=64)  # asked for each row
def template_parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """A text with {column} fields in parts: words, and the column that follows them, or None.

    What stands in braces is the column's name as it is, whatever signs it has. Raises DataError for unbalanced braces.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DataError(f"The prompt's braces do not match: {error}.") from None
    parts = []
    for words, name, spec, kind in parsed:
        if name is not None:
            name = f"{name}{f'!{kind}' if kind else ''}{f':{spec}' if spec else ''}"
            if not name.strip():
                raise DataError(NAME_ONLY)
        parts.append((words, name))
    return tuple(parts)


def template_columns(template: str) -> list[str]:
    """The columns that a text with {column} fields names, each once. Raises DataError for unbalanced braces."""
    return list(dict.fromkeys(name for _, name in template_parts(template) if name is not None))


def check_template(template: str, columns: list[Column], rows: list[dict[str, Any]]) -> list[str]:
    """The columns that the prompt names, all of which are in the rows. Raises DataError."""
    wanted = template_columns(template)
    for name in wanted:
        if any(lookup(row, name) is not MISSING for row in rows):
            continue
        near = nearest(name, columns)
        if near is None and set(name) & set("[]:!\"'\n"):
            raise DataError(NAME_ONLY)
        meant = "" if near is None else f" (did you mean {{{near}}}?)"
        raise DataError(f"The prompt names {{{name}}}{meant}, and the rows have {listed(columns)}.")
    if not wanted:
        raise DataError("The prompt names no column, so all rows would be the same; name one, as in {title}.")
    return wanted


def nearest(name: str, columns: list[Column]) -> str | None:
    """The column that is called almost so, or None."""
    names = {plain(column.name): column.name for column in reversed(columns)}
    near = difflib.get_close_matches(plain(name), names, n=1)
    return names[near[0]] if near else None


def listed(columns: list[Column]) -> str:
    names = [column.name for column in columns]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def names_in_words(names) -> str:
    return ", ".join(f"{name!r}" for name in names)
