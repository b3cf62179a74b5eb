"""Work in a thread that ends with it. Knows nothing of what the work is."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_own_thread(work: Callable[[], T]) -> T:
    """Does the work in a new thread, and returns or raises what it does.

    OpenMP keeps helpers for each thread that computes, for as long as that thread lives; a server's threads live on.
    Once there are more helpers than cores they sleep between any two steps, and training takes twice as long.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="model") as executor:
        return executor.submit(work).result()
