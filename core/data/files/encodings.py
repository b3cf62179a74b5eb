"""Detects a file's encoding from its bytes, and converts it to UTF-8.

All other modules read UTF-8. Other encodings are converted block by block, so that a file of any size needs little
memory. Bytes that cannot be decoded become BAD_BYTE, a character that no text contains: this shows which rows they
are in, and only those rows are left out.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from core.problems import mark

BAD_BYTE = "\udcff"  # half a surrogate pair, which cannot be encoded in UTF-8, so it never comes from a file
BAD_BYTE_HANDLER = "hearthtune.bad_byte"
BLOCK_BYTES = 1 << 16
SAMPLE_BYTES = 1 << 16  # of lines that are not ASCII
_LATIN_HANDLER = "hearthtune.latin"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8", mark("UTF-8 with a byte order mark")),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),  # before UTF-16, because it begins with that mark
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_CP949_UNIT = re.compile(rb"[\x81-\xfe][\x41-\xfe]|[\x80-\xff]")


class Encoding(NamedTuple):
    """`codec` is Python's name, `words` the name to display with `tr`, `bom` how many bytes to skip at the beginning.

    `is_sure` is False if the bytes examined were plain ASCII, or too few of them were not.
    """

    codec: str
    words: str
    bom: int = 0
    is_sure: bool = True


UTF8 = Encoding("utf-8", "UTF-8")


def judge(head: bytes, is_whole: bool) -> Encoding:
    """The encoding of a file from its beginning, `head`, or from all of it if `is_whole`.

    UTF-16 without a byte order mark is detected by its null bytes, which are at every other position.
    """
    for bom, codec, words in _BOMS:
        if head.startswith(bom):
            return Encoding(codec, words, len(bom))
    if codec := _utf16(head):
        return Encoding(codec, "UTF-16")
    if not is_whole:  # it may end in the middle of a character
        head = head[: max(head.rfind(b"\n"), head.rfind(b" ")) + 1]
    if head.isascii():
        return UTF8._replace(is_sure=is_whole)
    return judge_sample(_sample([head]), is_whole)


def judge_sample(sample: bytes, is_whole: bool = True) -> Encoding:
    """UTF-8, CP949 or Latin-1, for bytes that are not all ASCII.

    Bytes that are mostly valid UTF-8 count as UTF-8 with some bad bytes. CP949 must decode as such and be mostly
    common Hangul: accented Latin letters are usually surrounded by ASCII letters, so they rarely form Hangul syllables.
    """
    text = sample.decode("utf-8", BAD_BYTE_HANDLER)
    broken = text.count(BAD_BYTE)
    if not broken:
        return UTF8
    whole = len(text) - broken - len(text.encode("ascii", "ignore"))
    is_sure = is_whole or broken + whole > 1000
    if whole >= broken:
        return UTF8._replace(is_sure=is_sure)
    if _is_hangul(sample):
        return Encoding("cp949", mark("CP949 (Korean)"), is_sure=is_sure)
    return Encoding("cp1252", "Latin-1", is_sure=is_sure)


def judge_all(blocks: Iterable[bytes]) -> Encoding:
    """The encoding of a file whose beginning is ASCII, from its first lines that are not."""
    sample = _sample(blocks)
    return judge_sample(sample) if sample else UTF8


def _sample(blocks: Iterable[bytes]) -> bytes:
    sample = bytearray()
    for line in _lines_not_ascii(blocks):
        sample += line
        if len(sample) >= SAMPLE_BYTES:
            break
    return bytes(sample[: 2 * SAMPLE_BYTES])


def _lines_not_ascii(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        if not rest and block.isascii():
            continue
        *lines, rest = (rest + block).split(b"\n")
        yield from (line + b"\n" for line in lines if not line.isascii())
        if len(rest) >= SAMPLE_BYTES or rest.isascii():  # an ASCII rest says nothing about the encoding
            if rest and not rest.isascii():
                yield rest
            rest = b""
    if rest:
        yield rest


def _utf16(head: bytes) -> str | None:
    """utf-16-le or utf-16-be for UTF-16 without a byte order mark, otherwise None."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    common, rare = max(even, odd), min(even, odd)
    if not common or 3 * rare >= common:  # some letters of other scripts have a null byte at the other position
        return None
    share = common / max(len(head) // 2, 1)
    codec = "utf-16-be" if even > odd else "utf-16-le"
    if share >= 0.5 and common > 1:
        return codec
    if share < 0.02:  # in scripts other than Latin only spaces and line ends have null bytes
        return None
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start > len(head) - 4:
            return None
    else:
        return None
    try:
        head[: len(head) // 2 * 2 - 2].decode(codec)
    except UnicodeDecodeError:
        return None
    return codec


def _is_hangul(sample: bytes) -> bool:
    """Whether this is text in CP949. Symbols and half-width letters (its rows A1 to AC) are not counted."""
    hangul = other = broken = 0
    for unit in _CP949_UNIT.findall(sample):
        if len(unit) == 1:
            broken += 1
        elif unit[1] >= 0xA1 and 0xB0 <= unit[0] <= 0xC8:
            hangul += 1
        elif not (unit[1] >= 0xA1 and 0xA1 <= unit[0] <= 0xAC):
            other += 1
    if broken * 100 > hangul or hangul < 3 * other or not hangul:
        return False
    try:
        sample.decode("cp949")
    except UnicodeDecodeError:
        return hangul >= 100  # a bad byte in a long text
    return True


class Utf8Stream(io.RawIOBase):
    """Converts a stream of bytes to UTF-8 without a byte order mark.

    UTF-8 itself passes through unchanged, bad bytes included. If the encoding is not sure, ASCII passes through, which
    is the same in all possible encodings; the first other byte calls `decide` for the encoding.
    """

    def __init__(self, source: io.BufferedIOBase, encoding: Encoding, decide: Callable[[], Encoding]):
        self._source, self._encoding, self._decide = source, encoding, decide
        self._decoder, self._pending = None, memoryview(b"")
        source.read(encoding.bom)
        if encoding.is_sure:
            self._settle(encoding)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        if self._decoder is None:
            count = self._source.readinto(view)
            if self._encoding.is_sure or (block := bytes(view[:count])).isascii():
                return count
            self._settle(self._decide())
            if self._decoder is None:
                return count
            self._decode(block)
        while not self._pending:
            if self._decoder is None or not self._decode(self._source.read(BLOCK_BYTES)):
                return 0
        count = min(len(view), len(self._pending))
        view[:count], self._pending = self._pending[:count], self._pending[count:]
        return count

    def close(self) -> None:
        self._source.close()
        super().close()

    def _settle(self, encoding: Encoding) -> None:
        self._encoding = encoding._replace(is_sure=True)
        if encoding.codec != "utf-8":
            handler = _LATIN_HANDLER if encoding.codec == "cp1252" else BAD_BYTE_HANDLER
            self._decoder = codecs.getincrementaldecoder(encoding.codec)(handler)

    def _decode(self, block: bytes) -> bool:
        """Decodes the next block; returns False at the end of the file, once nothing is left."""
        text = self._decoder.decode(block, final=not block)
        self._pending = memoryview(text.encode("utf-8", "surrogatepass"))
        return bool(block or text)


def _bad_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BAD_BYTE, error.end


def _latin(error: UnicodeError) -> tuple[str, int]:
    # Files called Latin-1 are mostly Windows-1252, which leaves five bytes undefined; real Latin-1 has them all.
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(BAD_BYTE_HANDLER, _bad_byte)
codecs.register_error(_LATIN_HANDLER, _latin)
