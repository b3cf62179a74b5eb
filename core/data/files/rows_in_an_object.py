"""The rows that one JSON object holds, in a list or under their names. Knows nothing of how JSON is read.

{"version": "1", "data": [{…}, {…}]}         the one list of objects
{"id0": {…}, "id1": {…}}                     objects that share most keys
{"question": {"0": …}, "answer": {"0": …}}   columns, which hold their rows by number
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from core.data.files import file_kinds
from core.data.files.file_source import Source
from core.problems import DataError


def rows_of(value: dict[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    """The rows that an object holds in a list or under their names; or it is one. Raises DataError for several lists."""
    lists = {key: rows for key, rows in value.items() if isinstance(rows, list) and rows and _are_objects(rows)}
    if lists and not any(map(_are_turns, lists.values())) or len(value) == len(lists) == 1:
        if len(lists) > 1:
            names = _few(list(lists))
            raise DataError(
                f"{source.name} holds several lists of rows ({names}); save the one you want as a file of its own."
            )
        (key, rows), others = *lists.items(), [other for other in value if other not in lists]
        if not others or len(rows) > 1:  # a list of one beside other fields may be a field of a row as well
            source.note(under(key) + (f"; left aside: {_few(others)}" if others else ""))
            return iter(rows)
    objects = list(value.values())
    if objects and _are_objects(objects):
        first = objects[0]
        if first and all(key.isdigit() for key in first) and all(each.keys() == first.keys() for each in objects):
            source.note("the objects are taken for columns, with the rows under their numbers")
            return ({name: column[number] for name, column in value.items()} for number in first)
        if len(objects) > 1 and _share_most_keys(objects):
            source.note("the rows are the objects under their names")
            return iter(objects)
    return iter([value])


def under(key: str) -> str:
    return f'the rows are the list under "{file_kinds.shown(key)}"'


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(map(file_kinds.shown, names[:5])) + more


def _are_objects(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _are_turns(values: list[dict[str, Any]]) -> bool:
    """Whether the objects have the look of turns of one conversation, which is a row by itself."""
    return all({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys() for value in values)


def _share_most_keys(objects: list[dict[str, Any]]) -> bool:
    """Whether most of what the objects hold is under keys that most of them have."""
    counts = Counter(key for each in objects for key in each)
    shared = sum(count for count in counts.values() if count > len(objects) / 2)
    return shared > sum(counts.values()) / 2
