"""What the person chose: columns for certain roles, and the columns that a prompt names. Knows nothing of shapes."""

import difflib
import string
from typing import Any

from core.config import DataConfig
from core.dataset.column_names import plain
from core.dataset.fields import MISSING, Column, lookup
from core.dataset.rows import DataError

ROLES = ("instruction", "input", "answer", "system", "text")  # those that a person may give to a column
SHOWN = 12  # column names in a message


def chosen_columns(config: DataConfig, columns: list[Column], rows: list[dict[str, Any]]) -> dict[str, str]:
    """The columns that the person has chosen, by role. Raises DataError for those that are not there or do not fit."""
    settings = {role: getattr(config, f"{role}_column") for role in ROLES}
    chosen = {role: column for role, column in settings.items() if column}
    for column in chosen.values():
        if all(lookup(row, column) is MISSING for row in rows):
            names = [known.name for known in columns]
            near = difflib.get_close_matches(plain(column), map(plain, names), n=1)
            meant = next((f" (did you mean {name!r}?)" for name in names if near and plain(name) == near[0]), "")
            raise DataError(f"The rows have no column {column!r}{meant}; they have {listed(columns)}.")
    if "text" in chosen and len(chosen) > 1:
        others = names_in_words(column for role, column in chosen.items() if role != "text")
        raise DataError(
            f"The column {chosen['text']!r} is chosen to be learned whole, which leaves no place for {others}; "
            "empty the one or the other."
        )
    if "answer" in chosen and chosen["answer"] in (chosen.get("instruction"), chosen.get("input")):
        raise DataError(f"The column {chosen['answer']!r} cannot both ask and answer; choose another for one of them.")
    if "answer" in chosen and not {"instruction", "input"} & set(chosen):
        raise DataError(
            f"{chosen['answer']!r} is chosen as the answer; choose the column that asks as well (Instruction)."
        )
    if "instruction" in chosen and "answer" not in chosen:
        raise DataError(f"{chosen['instruction']!r} is chosen to ask; choose the column that answers as well (Answer).")
    return chosen


def template_columns(template: str) -> list[str]:
    """The columns that a text with {column} fields names. Raises DataError for unbalanced braces."""
    try:
        parsed = [(name, spec, kind) for _, name, spec, kind in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise DataError(f"The prompt's braces do not match: {error}.") from None
    if any(not name or spec or kind or set(name) & set(".[]") for name, spec, kind in parsed):
        raise DataError("In the prompt, braces hold the name of a column and nothing else, as in {title}.")
    return list(dict.fromkeys(name for name, _, _ in parsed))


def listed(columns: list[Column]) -> str:
    names = [column.name for column in columns]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def names_in_words(names) -> str:
    return ", ".join(f"{name!r}" for name in names)
