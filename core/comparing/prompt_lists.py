"""The prompts of a queue: lines of text, or a file of them. Knows nothing of models, threads or gradio.

    .txt            a prompt a line
    .json, .jsonl   texts, or objects whose prompt is under one of `COLUMNS`; `input`, where there is one, follows it
    .csv, …         rows with such a column

Files are read as rows for training are: whatever their encoding, packed or not.
"""

from pathlib import Path

from core.data.files.open_files import open_files
from core.data.rows import Row
from core.problems import DataError

MOST = 10_000
COLUMNS = ("prompt", "instruction", "question", "text")  # where a prompt is looked for, in this order


def prompts_from_text(text: str) -> list[str]:
    """A prompt a line, each once. Raises DataError when there is none or too many."""
    # Half of a surrogate pair, which a page can send, is no text that could be written or shown again.
    lines = text.encode("utf-8", "replace").decode().split("\n")
    return _prompts((line.strip() for line in lines), "Write a prompt first, one a line.")


def read_prompts(path: Path | str) -> list[str]:
    """The prompts in a file, each once, in order. Raises DataError for what holds none, naming the row at fault."""
    name = Path(path).name
    rows = (_prompt(row) for row in open_files(str(path), text_rows="line"))
    return _prompts(rows, f"{name} holds no prompts; write them into it, one a line.")


def _prompt(row: Row) -> str:
    if row.fault:
        raise DataError(f"The prompt in {row.place} cannot be read: {row.fault}; mend it there.")
    column = next((name for name in COLUMNS if row.values.get(name) is not None), None)
    if column is None:
        known = ", ".join(COLUMNS)
        raise DataError(f"There is no prompt in {row.place}: it has none of the fields {known}; name one of them so.")
    parts = [row.values[column], row.values.get("input") or ""]
    if not all(isinstance(part, str) for part in parts):
        raise DataError(f"The prompt in {row.place} is no text; write it between quotation marks there.")
    return "\n\n".join(part.strip() for part in parts if part.strip())


def _prompts(found, none: str) -> list[str]:
    """Each once: the same question again would have the same answers, and count twice."""
    prompts: dict[str, None] = {}
    for prompt in found:
        if prompt:
            prompts[prompt] = None
        if len(prompts) > MOST:
            raise DataError(f"These are more than {MOST:,} prompts; take fewer of them.")
    if not prompts:
        raise DataError(none)
    return list(prompts)
