"""Work in a thread that ends with it, and how such work is asked to stop: cooperatively.

Work asks now and then whether it should stop, and leaves by raising `Stopped`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

ShouldStop = Callable[[], bool]
T = TypeVar("T")
SECONDS_BETWEEN_LOOKS = 0.2


class Stopped(Exception):
    """Raised where work can be left, because someone asked it to stop."""


class Ended(Exception):
    """Raised to leave training that reached its end outside of a step."""


def leave_if(should_stop: ShouldStop) -> None:
    """Raises Stopped when `should_stop()` is true."""
    if should_stop():
        raise Stopped


def in_own_thread(work: Callable[[], T]) -> T:
    """Runs `work` in a new thread; returns what it returns or raises what it raises.

    OpenMP keeps helpers for each thread that computes, for as long as that thread lives, and a server's threads live
    on. Once there are more helpers than cores they sleep between any two steps, and training takes twice as long.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="model") as executor:
        future = executor.submit(work)
        # In short turns: only the main thread handles Ctrl-C, and not every system wakes it from a long wait.
        while not wait([future], SECONDS_BETWEEN_LOOKS).done:
            pass
        return future.result()


def forget_frames(error: BaseException) -> None:
    """Removes the stack frames that an error refers to, those of the errors it came from included.

    The frames hold the model, the optimizer and the tensors for which there was no room. Their memory can be freed
    only without them. Format the traceback first where it is wanted.
    """
    error.with_traceback(None)
    error.__context__ = error.__cause__ = None
