"""The lock on the model: one piece of work uses it at a time, and whoever must wait learns what is running.

    with desk.taken(LOADING):
        ...

Work that ends in another thread than it began in keeps the lock in an `ExitStack`, which the other thread closes
(`core.workbench.background_job`).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.problems import Busy, mark, tr

# What can use the model, as half a sentence that completes "This must wait: …"; translated where it is shown.
LOADING = mark("a model is being loaded")
READING = mark("the rows are being read")
PROBING = mark("a probe is running")
TRAINING = mark("a run is in progress")
ANSWERING = mark("an answer is being generated")
BLIND_ANSWERING = mark("the blind test is generating answers")
MEASURING = mark("answers are being measured")
PROVING = mark("the proof is running")
EXPORTING = mark("an export is being tested")


class Desk:
    """Only one `taken` block runs at a time; a second one does not wait, but raises Busy."""

    def __init__(self):
        self._changed = threading.Condition()
        self._doing = ""

    @property
    def doing(self) -> str:
        """What is running, as half a sentence; empty when nothing is."""
        return self._doing

    @contextmanager
    def taken(self, doing: str) -> Iterator[None]:
        """Keeps the model for this block. `doing` is half a sentence for others. Raises Busy."""
        with self._changed:
            if self._doing:
                raise Busy("This must wait: {doing}.", doing=tr(self._doing))
            self._doing = doing
        try:
            yield
        finally:
            with self._changed:
                self._doing = ""
                self._changed.notify_all()

    def wait_while(self, doing: str) -> None:
        """Waits until that has ended. Returns at once if it is not running."""
        with self._changed:
            self._changed.wait_for(lambda: self._doing != doing)
