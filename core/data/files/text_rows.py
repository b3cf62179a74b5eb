"""Rows of plain text: lines, paragraphs, or the whole file in blocks."""

import re
import statistics
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from core.data.files.encodings import BAD_BYTE
from core.data.files.file_source import Source, lines
from core.data.rows import Row
from core.problems import mark, tr

TextRows = Literal["line", "paragraph", "file"]
MAX_BLOCK = 1 << 20  # characters
PARAGRAPH_LENGTH = 200  # characters; lines that are mostly longer are paragraphs by themselves
NOTES = {
    "line": mark("each line is a row"),
    "paragraph": mark("each paragraph, up to a blank line, is a row"),
}
# With more lines than this between blank lines, on average, those do not separate paragraphs; prose and verse have 2 to
# 20. If there are few blank lines, fewer lines are enough, above all if each of them ends like a sentence.
MAX_LINES = 50
FEW_PARAGRAPHS, MAX_LINES_OF_FEW, MAX_SENTENCES_OF_FEW = 20, 24, 7
MOST = 0.8  # share of the lines
WRAPPED_LENGTH = 40  # characters; lines that are mostly longer and mostly begin inside a sentence are wrapped prose
_SENTENCE = re.compile(r"[.!?…。！？｡।؟۔][\"')\]”’»」』）]*\s*\Z")
_SPEAKER = re.compile(r"\s*[^\s:：]{1,30}( [^\s:：]{1,30})?[:：]\s")  # lines of a dialogue belong together


FEW_BLANK_LINES = mark(
    "{file} has few blank lines ({blank:,}), so each line is a row; if blank lines separate the rows, choose paragraph "
    'under "Split text files by" (data.text_rows).'
)


class TextLayout(NamedTuple):
    """What a row is. `blank` is the number of blank lines between lines that are rows; 0 if there are none."""

    rows: TextRows
    blank: int = 0


def judge_text_rows(head: str) -> TextLayout:
    """Lines if most of them are long, or if blank lines are rare; otherwise paragraphs if there are blank lines."""
    found = head.strip().splitlines()
    lines = [line for line in found if line.strip()]
    blank = len(found) - len(lines)
    if lines and statistics.median(map(len, lines)) > PARAGRAPH_LENGTH:
        return TextLayout("line")
    paragraphs = 1 + sum(1 for line, after in pairwise(found) if not line.strip() and after.strip())
    if not blank:
        return TextLayout("line")
    return TextLayout("line", blank) if _are_sections(lines, paragraphs) else TextLayout("paragraph")


def _are_sections(lines: list[str], paragraphs: int) -> bool:
    """Whether what lies between blank lines is too long for paragraphs."""
    size = len(lines) / paragraphs
    if size > MAX_LINES or paragraphs > FEW_PARAGRAPHS:
        return size > MAX_LINES
    if _share(_SENTENCE.search, lines) > MOST > _share(_SPEAKER.match, lines):
        return size > MAX_SENTENCES_OF_FEW
    is_wrapped = _share(_goes_on, lines) > 0.5 and statistics.median(map(len, lines)) > WRAPPED_LENGTH
    return size > MAX_LINES_OF_FEW and not is_wrapped


def _goes_on(line: str) -> bool:
    return line.strip()[:1].islower()


def _share(finds: Callable[[str], object], lines: list[str]) -> float:
    return sum(1 for line in lines if finds(line)) / len(lines)


def read_text(source: Source, number: int, cut: TextRows) -> Iterator[Row]:
    """Rows with one field, `text`. A paragraph or file longer than MAX_BLOCK is split into several rows."""
    pieces = {"line": _lines, "paragraph": _paragraphs, "file": _blocks}[cut]
    with source.open_text() as stream:
        for line_number, text in pieces(lines(stream, source.name)):
            number += 1
            fault = ""
            if BAD_BYTE in text:
                text, fault = text.replace(BAD_BYTE, "\ufffd"), source.bad_bytes
            yield Row(number, tr("line {line} of {file}", line=line_number, file=source.name), {"text": text}, fault)


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
