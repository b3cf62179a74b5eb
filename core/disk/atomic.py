"""Atomic writes: a folder or file is written under a temporary name, synced to disk, and moved into place.

So after a crash there is the old version or the new one, never half of either.
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
    """Calls `write` with a temporary folder to fill, then moves that to `folder`, replacing an older one.

    If `write` raises, its exception is raised here; the temporary folder is removed and the older one is unchanged.
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
    move_into_place(aside, folder)


def move_into_place(aside: Path, folder: Path) -> None:
    """Renames the folder `aside` to `folder`, on the same disk, replacing an older one. Raises OSError."""
    older = folder.with_name(f"{ASIDE}old-{folder.name}")
    if folder.exists():
        shutil.rmtree(older, ignore_errors=True)
        _move(folder, older)
    _move(aside, folder)
    _sync(folder.parent)
    shutil.rmtree(older, ignore_errors=True)


def remove_left_aside(parent: Path) -> None:
    """Removes what a killed program left unfinished, and puts back an older version that it had moved away."""
    for aside in parent.glob(f"{ASIDE}*"):
        place = parent / aside.name.removeprefix(ASIDE).removeprefix("old-")
        if aside.name.startswith(f"{ASIDE}old-") and not place.exists():
            aside.rename(place)
        elif aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def remove_all_but(folders: list[Path], kept: set[Path]) -> None:
    """Removes the folders that are not in `kept`. Each is renamed first, so that half of one never has its name."""
    for folder in folders:
        if folder not in kept:
            aside = folder.with_name(f"{ASIDE}{folder.name}")
            with suppress(OSError):  # perhaps open in another program: it is removed the next time
                folder.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)


def _move(place: Path, to: Path) -> None:
    """Renames, retrying for a few seconds on Windows, where a file that another program has open cannot be moved."""
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
        return  # Windows cannot open a folder, and does not need it
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk was full, according to the system or to the message of a library written in Rust."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(
        words in str(error) for words in ("No space left on device", "os error 28", "os error 112", "os error 122")
    )


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that it has the old text or the new one, never half of it. Raises OSError."""
    aside = file.with_name(f"{ASIDE}{file.name}")
    try:
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        _move(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
