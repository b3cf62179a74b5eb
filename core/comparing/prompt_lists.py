"""Reads lists of prompts: lines of text, or a file.

    .txt            one prompt per line
    .json, .jsonl   texts, or objects with the prompt under one of `PROMPT_COLUMNS`, followed by their `input` if any
    .csv, …         rows with such a column

Files are read like training data: in any encoding, compressed or not.
"""

from collections.abc import Iterable
from pathlib import Path

from core.data.files.open_files import open_files
from core.data.rows import Row
from core.problems import DataError

MAX_PROMPTS = 10_000
PROMPT_COLUMNS = ("prompt", "instruction", "question", "text")  # the first of these that a row has


def prompts_from_text(text: str) -> list[str]:
    """One prompt per line, without repeats. Raises DataError when there are none or too many."""
    # A page can send half of a surrogate pair, which can be neither written nor shown.
    lines = text.encode("utf-8", "replace").decode().split("\n")
    return _prompts((line.strip() for line in lines), DataError("Write a prompt first, one per line."))


def read_prompts(path: Path | str) -> list[str]:
    """The prompts in a file, in order, without repeats. Raises DataError, naming the row, when one cannot be read."""
    name = Path(path).name
    rows = (_prompt(row) for row in open_files(str(path), text_rows="line"))
    return _prompts(rows, DataError("{file} contains no prompts; add some, one per line.", file=name))


def _prompt(row: Row) -> str:
    if row.fault:
        raise DataError(
            "The prompt in {place} cannot be read: {fault}; correct it there.", place=row.place, fault=row.fault
        )
    column = next((name for name in PROMPT_COLUMNS if row.values.get(name) is not None), None)
    if column is None:
        raise DataError(
            "There is no prompt in {place}: it has none of the fields {fields}; rename the field that has the prompt.",
            place=row.place,
            fields=", ".join(PROMPT_COLUMNS),
        )
    parts = [row.values[column], row.values.get("input") or ""]
    if not all(isinstance(part, str) for part in parts):
        raise DataError("The prompt in {place} is not text; put it in quotation marks there.", place=row.place)
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _prompts(found: Iterable[str], no_prompts: DataError) -> list[str]:
    """Without repeats: the same question would get the same answers again, and count twice."""
    prompts: dict[str, None] = {}
    for prompt in found:
        if prompt:
            prompts[prompt] = None
        if len(prompts) > MAX_PROMPTS:
            raise DataError("There are more than {limit:,} prompts; use fewer.", limit=MAX_PROMPTS)
    if not prompts:
        raise no_prompts
    return list(prompts)
