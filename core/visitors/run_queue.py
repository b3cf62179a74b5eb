"""Visitors' runs that wait for their turn, one of each visitor, in the order they came.

This queue is in memory and ends with the program: it holds the visitors' tokens, and what they made is deleted after an
hour. The queue of whoever runs the program is a file, outlives it, and may be changed by other programs
(`core.runs.queue_file`, `core.workbench.queue_job`).
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from core.problems import Busy, Problem, tr
from core.runs.events import StatusChanged
from core.runs.run_folder import Run

TRY_SECONDS = 0.2  # between two attempts to begin the first


@dataclass(frozen=True)
class Waiting:
    """A run that has a folder, and what begins it."""

    run: Run
    begin: Callable[[], object]


class RunQueue:
    """At most `most` runs. `begin` begins one, and raises Busy while it cannot."""

    def __init__(self, begin: Callable[[Waiting], None], most: int):
        self._begin, self._most = begin, most
        self._waiting: list[Waiting] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, visitor: str, make: Callable[[], Waiting]) -> Run:
        """Adds the run that `make` makes a folder for. Raises Busy when it cannot wait, and what `make` raises."""
        with self._changed:
            if self.of(visitor):
                raise Busy("One of your runs is already waiting for its turn; stop it first.")
            if len(self._waiting) >= self._most:
                raise Busy("The queue is full ({most} runs); try again in a few minutes.", most=self._most)
            waiting = make()
            self._waiting.append(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="queue of runs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return waiting.run

    def of(self, visitor: str) -> Waiting | None:
        return next((waiting for waiting in self._waiting if waiting.run.owner == visitor), None)

    def place(self, visitor: str) -> int:
        """1 for the next; 0 when no run of this visitor waits."""
        return next((place for place, each in enumerate(self._waiting, 1) if each.run.owner == visitor), 0)

    def remove(self, visitor: str) -> Run | None:
        """Takes the visitor's run out of the queue."""
        with self._changed:
            waiting = self.of(visitor)
            if waiting is not None:
                self._waiting.remove(waiting)
        if waiting is None:
            return None
        _end(waiting.run, "stopped", tr("Stopped before its turn came; nothing was trained."))
        return waiting.run

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting)
                if self._is_closed:
                    return
                first = self._waiting[0]
                try:
                    self._begin(first)
                    self._waiting.remove(first)
                except Busy:
                    self._changed.wait(TRY_SECONDS)
                except Problem as problem:
                    self._waiting.remove(first)
                    if not first.run.snapshot().is_over:  # else it is one that could not be resumed
                        _end(first.run, "failed", str(problem))


def _end(run: Run, status: str, message: str) -> None:
    with suppress(OSError):  # a full disk: the list of runs shows it as interrupted after the next start
        run.append(StatusChanged(status=status, message=message))
