"""Rows of plain text: lines, paragraphs, or the whole file in blocks."""

import statistics
from collections.abc import Iterator
from typing import Literal

from core.data.files.encodings import BAD_BYTE
from core.data.files.file_source import Source, lines
from core.data.rows import Row

TextRows = Literal["line", "paragraph", "file"]
MAX_BLOCK = 1 << 20  # characters
PARAGRAPH_LENGTH = 200  # characters; lines that are mostly longer are paragraphs by themselves
NOTES = {
    "line": "each line is a row",
    "paragraph": "each paragraph, up to a blank line, is a row",
}


def judge_text_rows(head: str) -> TextRows:
    """Lines if most of them are long; otherwise paragraphs if there are blank lines between them, or else lines."""
    found = head.splitlines()
    lengths = [len(line) for line in found if line.strip()]
    if lengths and statistics.median(lengths) > PARAGRAPH_LENGTH:
        return "line"
    inner = "\n".join(found).strip().split("\n")
    return "paragraph" if any(not line.strip() for line in inner) else "line"


def read_text(source: Source, number: int, cut: TextRows) -> Iterator[Row]:
    """Rows with one field, `text`. A paragraph or file longer than MAX_BLOCK is split into several rows."""
    pieces = {"line": _lines, "paragraph": _paragraphs, "file": _blocks}[cut]
    with source.open_text() as stream:
        for line_number, text in pieces(lines(stream, source.name)):
            number += 1
            fault = ""
            if BAD_BYTE in text:
                text, fault = text.replace(BAD_BYTE, "\ufffd"), source.bad_bytes
            yield Row(number, f"line {line_number} of {source.name}", {"text": text}, fault)


def _lines(text: Iterator[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text, 1):
        if not line.isspace():
            yield number, line.removesuffix("\n")


def _paragraphs(text: Iterator[str]) -> Iterator[tuple[int, str]]:
    return ((number, block) for number, block in _blocks_of_lines(text, ends_at_blank=True))


def _blocks(text: Iterator[str]) -> Iterator[tuple[int, str]]:
    return ((number, block) for number, block in _blocks_of_lines(text, ends_at_blank=False) if not block.isspace())


def _blocks_of_lines(text: Iterator[str], ends_at_blank: bool) -> Iterator[tuple[int, str]]:
    """Blocks of lines, each with its first line's number. Paragraphs (`ends_at_blank`) lose their last line end."""
    block_lines: list[str] = []
    size = begins = 0

    def block() -> str:
        text = "".join(block_lines)
        return text.removesuffix("\n") if ends_at_blank else text

    for number, line in enumerate(text, 1):
        is_end = ends_at_blank and line.isspace()
        if block_lines and (is_end or size + len(line) > MAX_BLOCK):
            yield begins, block()
            block_lines, size = [], 0
        if is_end:
            continue
        if not block_lines:
            begins = number
        while len(line) > MAX_BLOCK:  # a line longer than a block
            yield number, line[:MAX_BLOCK]
            line = line[MAX_BLOCK:]
        block_lines.append(line)
        size += len(line)
    if block_lines:
        yield begins, block()
