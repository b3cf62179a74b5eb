"""The process that works on a run or a recipe, as run.json and record.json name it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil
from filelock import FileLock

LOCK_SECONDS = 20  # whoever holds the lock is done in far less
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # of a file system that has none
CLOCK_CHANGED = 0.1  # seconds; on Linux all times of processes move with the clock, and so does that of the boot


def this_process() -> dict[str, float]:
    """Its `pid`, and when it started: `pid_started` in seconds since 1970, `pid_since_boot` since the boot."""
    return _process(os.getpid())


@cache
def _process(pid: int) -> dict[str, float]:
    created = psutil.Process(pid).create_time()
    return {"pid": pid, "pid_started": created, "pid_since_boot": created - psutil.boot_time()}


def is_alive(about: dict) -> bool:
    """Whether the process that `about` names, with the keys of `this_process`, is alive."""
    try:
        pid, since = int(about.get("pid", 0)), float(about.get("pid_started", 0))
        if pid == os.getpid():
            # For ourselves, compare with the value that we wrote: the system's clock may have been changed since.
            return abs(this_process()["pid_started"] - since) < 2
        # Its start time is compared too, because process ids are reused.
        created = psutil.Process(pid).create_time()
        since_boot = float(about.get("pid_since_boot") or "nan")  # earlier versions did not write it
        return abs(created - since) < 2 or abs(created - psutil.boot_time() - since_boot) < CLOCK_CHANGED
    except (psutil.Error, ValueError, TypeError, OverflowError):
        return False


@contextmanager
def changing_owner(folder: Path) -> Iterator[None]:
    """Held while a run gets another owner, or is marked because it has lost its own. Entering it raises OSError."""
    os.stat(folder)  # or the lock would recreate a folder that has been deleted
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
