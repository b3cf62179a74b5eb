"""Rows of plain text: lines, paragraphs, or the whole file in blocks. Knows nothing of how long a row may be."""

import statistics
from collections.abc import Iterator
from typing import Literal

from core.data.files.encodings import MARK
from core.data.files.file_source import Source, lines
from core.data.rows import Row

TextRows = Literal["line", "paragraph", "file"]
MAX_BLOCK = 1 << 20  # characters
LONG_LINE = 200  # characters; longer lines are paragraphs by themselves
IN_WORDS = {
    "line": "each line is taken for a row",
    "paragraph": "each paragraph, up to a blank line, is taken for a row",
}


def judge_text_rows(head: str) -> TextRows:
    """Long lines are rows; else paragraphs, where blank lines part them; else lines."""
    found = head.splitlines()
    lengths = [len(line) for line in found if line.strip()]
    if lengths and statistics.median(lengths) > LONG_LINE:
        return "line"
    inner = "\n".join(found).strip().split("\n")
    return "paragraph" if any(not line.strip() for line in inner) else "line"


def read_text(source: Source, number: int, cut: TextRows) -> Iterator[Row]:
    """Rows of one field, `text`. A paragraph or a file of more than 1 MiB characters goes on in the next row."""
    pieces = {"line": _lines, "paragraph": _paragraphs, "file": _blocks}[cut]
    with source.open_text() as stream:
        for line_number, text in pieces(lines(stream, source.name)):
            number += 1
            fault = ""
            if MARK in text:
                text, fault = text.replace(MARK, "\ufffd"), source.bad_bytes
            yield Row(number, f"line {line_number} of {source.name}", {"text": text}, fault)


def _lines(text: Iterator[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text, 1):
        if not line.isspace():
            yield number, line.removesuffix("\n")


def _paragraphs(text: Iterator[str]) -> Iterator[tuple[int, str]]:
    return ((number, block) for number, block in _gathered(text, ends_at_blank=True))


def _blocks(text: Iterator[str]) -> Iterator[tuple[int, str]]:
    return ((number, block) for number, block in _gathered(text, ends_at_blank=False) if not block.isspace())


def _gathered(text: Iterator[str], ends_at_blank: bool) -> Iterator[tuple[int, str]]:
    """Lines put together, with the number of the first; those that end at a blank line without their last line end."""
    held: list[str] = []
    size = begins = 0

    def block() -> str:
        return "".join(held).removesuffix("\n") if ends_at_blank else "".join(held)

    for number, line in enumerate(text, 1):
        is_end = ends_at_blank and line.isspace()
        if held and (is_end or size + len(line) > MAX_BLOCK):
            yield begins, block()
            held, size = [], 0
        if is_end:
            continue
        if not held:
            begins = number
        while len(line) > MAX_BLOCK:  # a line without end
            yield number, line[:MAX_BLOCK]
            line = line[MAX_BLOCK:]
        held.append(line)
        size += len(line)
    if held:
        yield begins, block()
