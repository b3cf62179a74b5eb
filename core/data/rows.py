"""A row as it was read, before anyone knows what it means."""

from typing import Any, NamedTuple


class Row(NamedTuple):
    """`number` counts from 1 through all files; `place` says where a person finds it ("line 3 of a.jsonl").

    `values` are the row's fields by column. A row that cannot be read has a `fault`, a few words that complete
    "left out:", and then `values` holds what could be made out, often nothing.
    """

    number: int
    place: str
    values: dict[str, Any]
    fault: str = ""
