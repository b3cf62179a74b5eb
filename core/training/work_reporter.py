"""Reports what a run does between its steps and after the last one."""

from collections.abc import Callable

from core.runs.events import Event, Working

REPORTS = 20  # at most, of how far one piece of work is: each is a line of the run's history


class WorkReporter:
    """Emits Working events."""

    def __init__(self, emit: Callable[[Event], None]):
        self._emit = emit
        self._last = Working()

    def show(self, words: str, done: int = 0, total: int = 0) -> None:
        """Says what the run does, and how far it is: `done` of `total`, unless that is 0."""
        before = self._last
        is_new = (words, total) != (before.words, before.total)
        if is_new or (total and done * REPORTS // total != before.done * REPORTS // total):
            self._last = Working(words=words, done=done, total=total)
            self._emit(self._last)

    def back_to_steps(self) -> None:
        if self._last.words:
            self._last = Working()
            self._emit(self._last)
