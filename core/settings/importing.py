"""Importing large libraries without the garbage collector, which takes a quarter of the time and finds nothing."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """Importing makes a million objects that all stay. While it lasts, the collector would go through all of them again
    and again; afterwards it passes over those that are there. So let no work begin that makes what is to be freed."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
