"""The rows inside one JSON object.

{"version": "1", "data": [{…}, {…}]}         the one list of objects
{"id0": {…}, "id1": {…}}                     objects that share most keys
{"question": {"0": …}, "answer": {"0": …}}   columns, with the values by row number
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from core.data.display import first_names, for_display
from core.data.files.file_source import Source
from core.problems import DataError, tr

MAX_NAMED_FIELDS = 5  # in a note


def rows_of(value: dict[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    """The rows in a list or under names in the object; otherwise the object is the only row.

    Raises DataError if it has several lists of rows.
    """
    lists = {key: rows for key, rows in value.items() if isinstance(rows, list) and rows and _are_objects(rows)}
    if (lists and not any(map(_are_turns, lists.values()))) or len(value) == len(lists) == 1:
        if len(lists) > 1:
            raise DataError(
                "{file} has several lists of rows ({names}); save the one you want as a separate file.",
                file=source.name,
                names=first_names(list(lists), MAX_NAMED_FIELDS),
            )
        ((key, rows),) = lists.items()
        others = [other for other in value if other not in lists]
        if not others or len(rows) > 1:  # next to other fields, a list with one object may be a field of a row
            source.note(list_note(key, others))
            return iter(rows)
    objects = list(value.values())
    if objects and _are_objects(objects):
        first = objects[0]
        if first and all(key.isdigit() for key in first) and all(each.keys() == first.keys() for each in objects):
            source.note(tr("the objects are read as columns, with the values by row number"))
            return ({name: column[number] for name, column in value.items()} for number in first)
        if len(objects) > 1 and _share_most_keys(objects):
            source.note(tr("the rows are the objects under their names"))
            return iter(objects)
    return iter([value])


def list_note(key: str, skipped: Sequence[str] = ()) -> str:
    """What is said of an object with the rows under `key` and other fields, which are skipped."""
    name = for_display(key)
    if not skipped:
        return tr('the rows are the list under "{name}"', name=name)
    names = first_names(skipped, MAX_NAMED_FIELDS)
    return tr('the rows are the list under "{name}"; skipped: {names}', name=name, names=names)


def _are_objects(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _are_turns(values: list[dict[str, Any]]) -> bool:
    """Whether the objects look like the turns of one conversation, which is a single row."""
    return all({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys() for value in values)


def _share_most_keys(objects: list[dict[str, Any]]) -> bool:
    """Whether most of the objects' fields have keys that most of the objects have."""
    counts = Counter(key for each in objects for key in each)
    shared = sum(count for count in counts.values() if count > len(objects) / 2)
    return shared > sum(counts.values()) / 2
