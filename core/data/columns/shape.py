"""How the columns of a data set are read."""

from dataclasses import dataclass, field
from typing import Literal

ShapeName = Literal["alpaca", "question", "messages", "sharegpt", "text", "columns"]


@dataclass(frozen=True)
class Shape:
    """How rows are read.

    `reason` says in words why, and `is_sure` is False where that is a guess which the person must confirm. `columns`
    are the columns taken, by role: instruction, input, answer, system, text, messages, tools, title, prompt. `later`
    are roles that none of the first rows fills: a row that has a column of such a name is read with it. A row that has
    only `known` keys has none.
    """

    name: ShapeName
    reason: str
    is_sure: bool = True
    columns: dict[str, str] = field(default_factory=dict)
    later: tuple[str, ...] = ()
    known: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
