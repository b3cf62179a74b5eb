"""Folders that are whole when they are there: written aside, brought to the disk, moved into place.

Knows nothing of what is in them.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

ASIDE = ".part-"


def put_in_place(folder: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a folder beside `folder`, brings it to the disk and moves it there, in place of an older one.

    What raises in `write` goes on to the caller, with nothing left aside and the older one as it was.
    """
    aside = folder.with_name(f"{ASIDE}{folder.name}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        write(aside)
        for file in (*aside.rglob("*"), aside):
            _sync(file)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    older = folder.with_name(f"{ASIDE}old-{folder.name}")
    if folder.exists():
        shutil.rmtree(older, ignore_errors=True)
        _move(folder, older)
    _move(aside, folder)
    _sync(folder.parent)
    shutil.rmtree(older, ignore_errors=True)


def remove_left_aside(parent: Path) -> None:
    """Clears what a killed program left unfinished; an older one that it had moved away comes back."""
    for aside in parent.glob(f"{ASIDE}*"):
        place = parent / aside.name.removeprefix(ASIDE).removeprefix("old-")
        if aside.name.startswith(f"{ASIDE}old-") and not place.exists():
            aside.rename(place)
        elif aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def remove_all_but(folders: list[Path], kept: set[Path]) -> None:
    """Removes checkpoints; each is moved away first, so that half of one never stands in its place."""
    for folder in folders:
        if folder not in kept:
            aside = folder.with_name(f"{ASIDE}{folder.name}")
            with suppress(OSError):  # open in another program, say: it goes the next time
                folder.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)


def _move(place: Path, to: Path) -> None:
    """On Windows, where what another program has open for a moment cannot be moved, it tries for a few seconds."""
    for _ in range(50):
        try:
            place.replace(to)
            return
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.1)
    place.replace(to)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder, and needs no such thing
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_disk_full(error: BaseException) -> bool:
    """Whether it was for want of room: said by the system, or in the words of a library that writes in Rust."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(
        words in str(error) for words in ("No space left on device", "os error 28", "os error 112", "os error 122")
    )


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that the old text or the new one stands there, never half of it. Raises OSError."""
    aside = file.with_name(f"{ASIDE}{file.name}")
    try:
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        _move(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
