"""A file as a stream of UTF-8 text, whatever its encoding and compression.

Every error while reading becomes a DataError here.
"""

import bz2
import gzip
import io
import stat
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from core.data.files import file_kinds
from core.data.files.encodings import BAD_BYTE_HANDLER, UTF8, Encoding, Utf8Stream, judge, judge_all
from core.problems import DataError, tr

HEAD_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18
MAX_LINE = 1 << 24  # characters; longer lines would fill the memory


class Source:
    """A file to read from. Call `look` and, unless it is Parquet, `judge_encoding` before you open it.

    `notes` are the assumptions about the file in words; `folder_notes` are those about its folder, if it is the first
    file of one. `at` is how many bytes the newest stream has read, out of `size`. `is_whole` says whether `look` has
    seen all of the file.
    """

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        self.notes: list[str] = []
        self.folder_notes: list[str] = []
        self.encoding = UTF8
        self.compression = ""
        self.at = 0
        self.is_whole = False
        self.size = self._check()

    def look(self) -> bytes:
        """The decompressed beginning of the file. Raises DataError if it shows that the file has no rows."""
        with self.open_bytes() as stream:
            start = stream.read(512)
        file_kinds.refuse_by_start(start, self.name, self.path)
        self.compression = file_kinds.compression(start)
        with self.open_bytes() as stream:
            head = stream.read(HEAD_BYTES)
            self.is_whole = not stream.read(1)
        if self.compression:
            file_kinds.refuse_by_start(head, self.name, None)
            if not file_kinds.is_compressed_by_name(self.path.name):
                note = tr("compressed as {kind}, although its name does not say so", kind=self.compression)
                self.notes.append(note)
        elif file_kinds.is_compressed_by_name(self.path.name):
            self.notes.append(tr("not compressed, although its name says so"))
        return head

    def note(self, note: str) -> None:
        """Adds a note, unless an earlier reading has added it."""
        if note not in self.notes:
            self.notes.append(note)

    def _check(self) -> int:
        try:
            about = self.path.stat()
        except OSError as error:
            raise self.refusal(error) from None
        if not stat.S_ISREG(about.st_mode):
            raise DataError(
                "{file} is a device or a pipe, not a file; save the rows to a file and choose that.", file=self.name
            )
        if not about.st_size:
            raise file_kinds.empty(self.name)
        return about.st_size

    def judge_encoding(self, head: bytes) -> str:
        """Detects the encoding from the beginning of the file; returns this beginning as text."""
        self.encoding = judge(head, self.is_whole)
        with io.TextIOWrapper(self._utf8(io.BytesIO(head)), "utf-8", BAD_BYTE_HANDLER, "") as text:
            return text.read()

    def open_bytes(self) -> io.BufferedIOBase:
        """The file's bytes, decompressed."""
        try:
            raw = _CountedFile(self)
        except OSError as error:
            raise self.refusal(error) from None
        stream = io.BufferedReader(raw, BUFFER_BYTES)
        if self.compression:
            compressed = gzip.GzipFile(fileobj=stream) if self.compression == "gz" else bz2.BZ2File(stream)
            stream = io.BufferedReader(_Decompressed(compressed, raw, self), BUFFER_BYTES)
        return stream

    def open_text(self, newline: str | None = None) -> io.TextIOWrapper:
        """The file's text, with BAD_BYTE for bytes that cannot be decoded. `newline` is that of `open`."""
        return io.TextIOWrapper(self._utf8(self.open_bytes()), "utf-8", BAD_BYTE_HANDLER, newline)

    def _utf8(self, stream: io.BufferedIOBase) -> io.BufferedReader:
        return io.BufferedReader(Utf8Stream(stream, self.encoding, self._decide), BUFFER_BYTES)

    def _decide(self) -> Encoding:
        if not self.encoding.is_sure:
            at = self.at
            with self.open_bytes() as stream:
                self.encoding = judge_all(iter(partial(stream.read, HEAD_BYTES), b""))
            self.at = at
        return self.encoding

    @property
    def bad_bytes(self) -> str:
        """The fault of a row with bytes that cannot be decoded."""
        return tr("bytes that are not {encoding}", encoding=tr(self.encoding.words))

    def refusal(self, error: Exception) -> DataError:
        """The DataError for an error while opening or reading the file."""
        from_system = error.strerror if isinstance(error, OSError) and error.errno else None
        is_damaged = isinstance(error, EOFError | zlib.error | gzip.BadGzipFile)
        if is_damaged or (self.compression and not from_system):
            return DataError(
                "{file} is damaged or incomplete, so it cannot be decompressed; download or compress it again.",
                file=self.name,
            )
        if isinstance(error, PermissionError):
            return DataError(
                "This app has no permission to read {file}; change the file's permissions.", file=self.name
            )
        return DataError(
            "{file} cannot be read ({reason}); check that it is still there and its disk works.",
            file=self.name,
            reason=from_system or str(error),
        )


class _CountedFile(io.FileIO):
    """A file that keeps its source's `at` up to date."""

    def __init__(self, source: Source):
        super().__init__(source.path)
        self._source, source.at = source, 0

    def readinto(self, buffer) -> int:
        try:
            count = super().readinto(buffer)
        except OSError as error:
            raise self._source.refusal(error) from None
        self._source.at += count
        return count


class _Decompressed(io.RawIOBase):
    """A decompressed stream that raises DataError when the file is damaged."""

    def __init__(self, compressed: io.BufferedIOBase, raw: io.RawIOBase, source: Source):
        self._compressed, self._raw, self._source = compressed, raw, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            return self._compressed.readinto(buffer)
        except (EOFError, OSError, zlib.error, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise self._source.refusal(error) from None

    def close(self) -> None:
        self._compressed.close()
        self._raw.close()
        super().close()


def lines(stream: io.TextIOWrapper, name: str) -> Iterator[str]:
    """The lines of a text with their ends. Raises DataError for a line too long to keep in memory."""
    for number, line in enumerate(iter(partial(stream.readline, MAX_LINE), ""), 1):
        if len(line) == MAX_LINE:
            raise DataError(
                "Line {line} of {file} is longer than {limit:,} characters; put line breaks between the rows.",
                line=number,
                file=name,
                limit=MAX_LINE,
            )
        yield line
