"""The process that works on a run, as run.json names it."""

import os
from functools import cache

import psutil


@cache
def started() -> float:
    """When this process started, in seconds since 1970."""
    return psutil.Process().create_time()


def is_alive(about: dict) -> bool:
    """Whether the process is alive whose `pid` and `pid_started` these are."""
    # Its start time is compared too, because process ids are reused.
    try:
        pid, since = int(about.get("pid", 0)), float(about.get("pid_started", 0))
        # For ourselves, compare with the value that we wrote: the system's clock may have been changed since.
        return abs((started() if pid == os.getpid() else psutil.Process(pid).create_time()) - since) < 2
    except (psutil.Error, ValueError, TypeError, OverflowError):
        return False
