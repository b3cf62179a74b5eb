"""Cooperative cancellation: work asks now and then whether it should stop, and leaves by raising `Stopped`."""

from collections.abc import Callable

ShouldStop = Callable[[], bool]


class Stopped(Exception):
    """Raised where work can be left, because someone asked it to stop."""


class Ended(Exception):
    """Raised to leave training that reached its end outside of a step."""


def leave_if(should_stop: ShouldStop) -> None:
    """Raises Stopped when `should_stop()` is true."""
    if should_stop():
        raise Stopped
