"""The shape of a dataset: which column plays which part."""

from dataclasses import dataclass, field
from typing import Literal

ShapeName = Literal["alpaca", "question", "messages", "sharegpt", "text", "columns"]


@dataclass(frozen=True)
class Shape:
    """How rows are read.

    `reason` says why in words; `is_sure` is False for a guess that the person must confirm. `columns` are the columns
    used, by role: instruction, input, answer, system, text, messages, tools, title, prompt. `later` are roles that are
    empty in the first rows: if a later row has a column with such a name, it is used. Rows that have `known` keys only
    have no such column, which saves looking.
    """

    name: ShapeName
    reason: str
    is_sure: bool = True
    columns: dict[str, str] = field(default_factory=dict)
    later: tuple[str, ...] = ()
    known: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
