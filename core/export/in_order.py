"""Pieces of a file made by all cores at once and written one after the other."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

T = TypeVar("T")
THREADS = cpu_count() or 1


def in_order(works: Iterator[Callable[[], T]]) -> Iterator[T]:
    """What each of `works` returns, in their order, while threads do the next ones. Raises what they raise.

    torch, numpy and ggml let other threads run while they compute. Each thread computes alone: with helpers of its own,
    as torch would give it, all of them would mostly wait for each other.
    """
    import torch

    own, waiting = torch.get_num_threads(), deque[Future]()
    try:
        with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as threads:
            try:
                for work in works:
                    waiting.append(threads.submit(work))
                    if len(waiting) > 2 * THREADS:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(own)  # what threads begin with that are made later
