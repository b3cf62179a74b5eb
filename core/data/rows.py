"""One row of a dataset, as it was read."""

from typing import Any, NamedTuple

from core.problems import mark

TOO_DEEP = mark("nested too deeply")  # why a row is left out


class Row(NamedTuple):
    """`number` counts from 1 across all files; `place` says where to find the row ("line 3 of a.jsonl").

    `values` are the fields by column name. A row that cannot be read has a `fault`, a few words that complete
    "left out:"; its `values` are then what could be read of it, often nothing.
    """

    number: int
    place: str
    values: dict[str, Any]
    fault: str = ""
