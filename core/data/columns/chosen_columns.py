"""The person's own choices: a column for each role, and the columns that a prompt names in braces."""

import difflib
import string
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from core.data.columns.column_names import plain
from core.data.columns.field_values import MISSING, Column, lookup
from core.data.display import first_names
from core.problems import DataError, mark, quoted
from core.settings.sections import DataConfig

ROLES = ("instruction", "input", "answer", "system", "text")  # those that a person can assign to a column
MAX_LISTED_COLUMNS = 12  # in a message
ONLY_NAMES_IN_BRACES = mark(
    "In the prompt, braces contain the name of a column and nothing else, as in {title}; write {{ and }} for braces "
    "that are part of the text."
)


def chosen_columns(config: DataConfig, columns: list[Column], rows: list[dict[str, Any]]) -> dict[str, str]:
    """The columns that the person chose, by role. Raises DataError if one is missing or the choices do not fit."""
    settings = {role: getattr(config, f"{role}_column") for role in ROLES}
    chosen = {role: column for role, column in settings.items() if column}
    for column in chosen.values():
        if all(lookup(row, column) is MISSING for row in rows):
            raise _missing_column(column, columns)
    if "text" in chosen and len(chosen) > 1:
        raise DataError(
            "You chose {text!r} as the text, so {others} cannot be used as well; clear one or the other.",
            text=chosen["text"],
            others=quoted_names(column for role, column in chosen.items() if role != "text"),
        )
    if "answer" in chosen and not {"instruction", "input"} & set(chosen):
        raise DataError(
            "You chose {answer!r} as the answer; choose the column with the question too (Instruction).",
            answer=chosen["answer"],
        )
    if "instruction" in chosen and "answer" not in chosen:
        raise DataError(
            "You chose {instruction!r} as the question; choose the column with the answer too (Answer).",
            instruction=chosen["instruction"],
        )
    return chosen


def _missing_column(column: str, columns: list[Column]) -> DataError:
    near = nearest(column, columns)
    if near is None:
        return DataError(
            "You chose the column {column!r}, which these rows do not have; they have {columns}.",
            column=column,
            columns=listed(columns),
        )
    return DataError(
        "You chose the column {column!r}, which these rows do not have (did you mean {near!r}?); they have {columns}.",
        column=column,
        near=near,
        columns=listed(columns),
    )


def check_roles(columns: dict[str, str], rows: list[dict[str, Any]]) -> None:
    """Raises DataError if one column has two roles that conflict. `columns` are by role.

    An answer that is also part of the question would teach the model to copy it from there.
    """
    for answering in ("answer", "messages"):
        for role, column in columns.items():
            if answering not in columns or role == answering or not _overlap(column, columns[answering], rows):
                continue
            if role == "system":
                raise DataError(
                    "The column {column!r} cannot be both the system prompt and the answer; "
                    "choose another column for one of them.",
                    column=column,
                )
            if role in ("instruction", "input"):
                raise DataError(
                    "The column {column!r} cannot be both the question and the answer; "
                    "choose another column for one of them.",
                    column=column,
                )
    if "instruction" in columns and "input" in columns and _overlap(columns["instruction"], columns["input"], rows):
        raise DataError(
            "The column {column!r} would be in the question twice, as Instruction and as Input; "
            "choose another column for one of them.",
            column=columns["input"],
        )


def _overlap(one: str, other: str, rows: list[dict[str, Any]]) -> bool:
    """Whether both names mean the same column, or one is an object that contains the other."""
    outer, inner = sorted((one, other), key=len)
    if outer == inner or not inner.startswith(f"{outer}."):
        return outer == inner
    return any(isinstance(lookup(row, outer), dict) and inner not in row for row in rows)


@lru_cache(maxsize=64)  # called for every row
def template_parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """A text with {column} fields in parts: text, and the column that follows it, or None.

    A name in braces is taken literally, whatever characters it contains. Raises DataError for unbalanced braces.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise DataError("The prompt's braces do not match: {reason}.", reason=str(error)) from None
    parts = []
    for text, name, spec, conversion in parsed:
        if name is not None:
            name = f"{name}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}"
            if not name.strip():
                raise DataError(ONLY_NAMES_IN_BRACES)
        parts.append((text, name))
    return tuple(parts)


def template_columns(template: str) -> list[str]:
    """The columns that a text with {column} fields names, each once. Raises DataError for unbalanced braces."""
    return list(dict.fromkeys(name for _, name in template_parts(template) if name is not None))


def check_template(template: str, columns: list[Column], rows: list[dict[str, Any]]) -> list[str]:
    """The columns that the prompt names. Raises DataError if one of them is not in the rows."""
    wanted = template_columns(template)
    for name in wanted:
        if any(lookup(row, name) is not MISSING for row in rows):
            continue
        near = nearest(name, columns)
        if near is not None:
            raise DataError(
                "The prompt names {{{column}}} (did you mean {{{near}}}?), but the rows' columns are {columns}.",
                column=name,
                near=near,
                columns=listed(columns),
            )
        if set(name) & set("[]:!\"'\n"):
            raise DataError(ONLY_NAMES_IN_BRACES)
        raise DataError(
            "The prompt names {{{column}}}, but the rows' columns are {columns}.", column=name, columns=listed(columns)
        )
    if not wanted:
        raise DataError("The prompt names no column, so all rows would be the same; name one, as in {title}.")
    return wanted


def nearest(name: str, columns: list[Column]) -> str | None:
    """The column with the most similar name, or None if no name is similar."""
    names = {plain(column.name): column.name for column in reversed(columns)}
    near = difflib.get_close_matches(plain(name), names, n=1)
    return names[near[0]] if near else None


def listed(columns: list[Column]) -> str:
    """The names of the first columns, and how many more there are."""
    return first_names([column.name for column in columns], MAX_LISTED_COLUMNS)


def quoted_names(names: Iterable[str]) -> str:
    return ", ".join(map(quoted, names))
