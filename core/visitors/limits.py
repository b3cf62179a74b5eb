"""How often visitors may do something."""

import threading
import time
from collections import deque
from collections.abc import Callable

from core.problems import Busy

SECONDS = 60


class RateLimit:
    """At most `one` actions a minute of one visitor, and `of_all` of all together; 0 for no limit."""

    def __init__(self, one: int, of_all: int, clock: Callable[[], float] = time.monotonic):
        self._one, self._of_all, self._clock = one, of_all, clock
        self._done: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    def count(self, visitor: str) -> None:
        """Counts an action. Raises Busy when it is one too many."""
        if not self._one:
            return
        with self._lock:
            now = self._clock()
            while self._done and self._done[0][0] <= now - SECONDS:
                self._done.popleft()
            if sum(who == visitor for _, who in self._done) >= self._one:
                raise Busy(
                    "You have made {most} requests within a minute; wait a moment, then try again.", most=self._one
                )
            if len(self._done) >= self._of_all:
                raise Busy("Too many visitors are busy here; wait a minute, then try again.")
            self._done.append((now, visitor))
