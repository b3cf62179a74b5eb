"""How a wish to stop leaves work that is under way. Knows nothing of anything else here."""

from collections.abc import Callable

ShouldStop = Callable[[], bool]


class Stopped(Exception):
    """Raised at a place where work can be left, because someone asked for it."""


class Ended(Exception):
    """Raised to leave training that has come to its end outside of a step."""


def leave_if(should_stop: ShouldStop) -> None:
    """Raises Stopped when it is asked for."""
    if should_stop():
        raise Stopped
