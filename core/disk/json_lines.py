"""Files of one JSON value per line that only ever grow: the history of a run, the votes of a blind test.

A crash or a power cut can leave the last line unfinished. `append_lines` then starts a new line, so that the torn one
harms no other, and readers skip the lines they cannot parse.
"""

import errno
import os
import threading
from collections.abc import Iterable
from pathlib import Path

# A line is undone by cutting the file where it began, which must not take another thread's line with it.
_one_at_a_time = threading.Lock()


def append_lines(file: Path, lines: Iterable[bytes], sync: bool) -> None:
    """Appends lines (each without its line break) to a file, which is created if missing.

    When this returns, other processes see the lines, and a crash of the program does not lose them. `sync` waits until
    they survive a power cut as well, which takes milliseconds, or tens of them on a slow disk. Raises OSError, for
    instance when the disk is full; the file is then as it was before. Safe to call from several threads of one process.
    """
    data = b"".join(line + b"\n" for line in lines)
    with _one_at_a_time, open(file, "ab+", buffering=0) as opened:
        size = opened.seek(0, os.SEEK_END)
        if size and _last_byte(opened) != b"\n":
            data = b"\n" + data
        try:
            if opened.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fsync(opened.fileno())
        except OSError:
            opened.truncate(size)
            raise


def read_lines(file: Path) -> list[bytes]:
    """The lines of a file without their line breaks and without blank ones; none if it is missing. Raises OSError."""
    if not file.is_file():  # opening a pipe would block
        return []
    # splitlines() would also split at characters such as U+2028, which JSON allows inside a string.
    return [line for line in file.read_bytes().split(b"\n") if line.strip()]


def _last_byte(opened) -> bytes:
    opened.seek(-1, os.SEEK_END)
    return opened.read(1)
