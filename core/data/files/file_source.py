"""A file as a stream of UTF-8, unpacked, whatever it is in.

Every error of reading becomes a DataError here. Knows nothing of rows and of what a file's text means.
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
from core.data.files.encodings import MARK_HANDLER, UTF8, Encoding, Utf8Stream, judge, judge_all
from core.problems import DataError

HEAD_BYTES = 1 << 20
BUFFER_BYTES = 1 << 18
MAX_LINE = 1 << 24  # characters; a longer line would fill the memory


class Source:
    """A file to read from, once it was looked at.

    `notes` are what was assumed, in words; `folder_notes` what was of the folder that it is the first file of. `at` counts the bytes of the file taken by the last stream that was opened,
    of `size` in all. `is_whole` says whether its beginning, as looked at, was all of it.
    """

    def __init__(self, path: Path, name: str):
        self.path, self.name = path, name
        self.notes: list[str] = []
        self.folder_notes: list[str] = []
        self.encoding = UTF8
        self.packing = ""
        self.at = 0
        self.is_whole = False
        self.size = self._check()

    def look(self) -> bytes:
        """How the file begins, unpacked. Raises DataError for what is known by it to hold no rows."""
        with self.open_bytes() as stream:
            start = stream.read(512)
        file_kinds.refuse_by_start(start, self.name, self.path)
        self.packing = file_kinds.packing(start)
        with self.open_bytes() as stream:
            head = stream.read(HEAD_BYTES)
            self.is_whole = not stream.read(1)
        if self.packing:
            file_kinds.refuse_by_start(head, self.name, None)
            if not file_kinds.is_packed_by_name(self.path.name):
                self.notes.append(f"packed as {self.packing}, though its name does not say so")
        elif file_kinds.is_packed_by_name(self.path.name):
            self.notes.append("not packed, whatever its name says")
        return head

    def note(self, note: str) -> None:
        """Keeps a note once, as each reading finds the same."""
        if note not in self.notes:
            self.notes.append(note)

    def _check(self) -> int:
        try:
            about = self.path.stat()
        except OSError as error:
            raise self.refusal(error) from None
        if not stat.S_ISREG(about.st_mode):
            raise DataError(f"{self.name} is a device or a pipe, not a file; save the rows in a file and choose that.")
        if not about.st_size:
            raise file_kinds.empty(self.name)
        return about.st_size

    def judge_encoding(self, head: bytes) -> str:
        """Settles the encoding as far as the head tells; returns the head as text."""
        self.encoding = judge(head, self.is_whole)
        with io.TextIOWrapper(self._utf8(io.BytesIO(head)), "utf-8", MARK_HANDLER, "") as text:
            return text.read()

    def open_bytes(self) -> io.BufferedIOBase:
        """The file's bytes, unpacked."""
        try:
            raw = _Counted(self)
        except OSError as error:
            raise self.refusal(error) from None
        stream = io.BufferedReader(raw, BUFFER_BYTES)
        if self.packing:
            packed = gzip.GzipFile(fileobj=stream) if self.packing == "gz" else bz2.BZ2File(stream)
            stream = io.BufferedReader(_Unpacked(packed, raw, self), BUFFER_BYTES)
        return stream

    def open_text(self, newline: str | None = None) -> io.TextIOWrapper:
        """The file's text; bytes that are none stand in it as MARK. `newline` as for `open`."""
        return io.TextIOWrapper(self._utf8(self.open_bytes()), "utf-8", MARK_HANDLER, newline)

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
        """The fault of a row with bytes that could not be decoded."""
        return f"bytes that are not {self.encoding.words}"

    def refusal(self, error: Exception) -> DataError:
        if isinstance(error, (EOFError, zlib.error, gzip.BadGzipFile)) or (self.packing and not _errno(error)):
            return DataError(f"{self.name} is damaged or cut off, so it cannot be unpacked; download or pack it again.")
        if isinstance(error, PermissionError):
            return DataError(f"{self.name} may not be read by this program; allow it in the file's permissions.")
        return DataError(f"{self.name} cannot be read: {getattr(error, 'strerror', None) or error}.")


def _errno(error: Exception) -> int | None:
    return getattr(error, "errno", None)


class _Counted(io.FileIO):
    """A file that tells its source how far it is read."""

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


class _Unpacked(io.RawIOBase):
    """A packed stream whose damage is told in a sentence."""

    def __init__(self, packed: io.BufferedIOBase, raw: io.RawIOBase, source: Source):
        self._packed, self._raw, self._source = packed, raw, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            return self._packed.readinto(buffer)
        except (EOFError, OSError, zlib.error, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise self._source.refusal(error) from None

    def close(self) -> None:
        self._packed.close()
        self._raw.close()
        super().close()


def lines(stream: io.TextIOWrapper, name: str) -> Iterator[str]:
    """The lines of a text with their ends. Raises DataError for one that is too long to hold."""
    for number, line in enumerate(iter(partial(stream.readline, MAX_LINE), ""), 1):
        if len(line) == MAX_LINE:
            raise DataError(
                f"Line {number} of {name} is longer than {MAX_LINE:,} characters; put line ends between the rows."
            )
        yield line
