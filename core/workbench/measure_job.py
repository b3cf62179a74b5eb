"""One evaluation at a time in the background, so that a page may be closed meanwhile. Knows nothing of gradio."""

import threading
import time
import traceback
from dataclasses import dataclass, replace

from core.evaluation.record import Evaluation, Source
from core.problems import Problem, RunError, first_line
from core.runs.run_folder import Run
from core.stopping import Stopped
from core.workbench.lab import Lab
from core.workbench.measure_run import evaluate_run


@dataclass(frozen=True)
class State:
    """How the last evaluation stands. `share` (0 to 1) of the rows is done, in `words`; `since` they are measured
    (`time.monotonic`). `ended` counts the evaluations that were saved; `said` is why there is none."""

    run_id: str = ""
    is_doing: bool = False
    is_stopping: bool = False
    share: float = 0.0
    words: str = ""
    since: float = 0.0
    said: str = ""
    found: Evaluation | None = None
    ended: int = 0

    @property
    def seconds_left(self) -> float | None:
        """None while too little is done to tell."""
        return (time.monotonic() - self.since) * (1 - self.share) / self.share if self.share else None


class Work:
    """`state` is replaced, never changed."""

    def __init__(self, lab: Lab):
        self._lab = lab
        self.state = State()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, run: Run, source: Source, most_rows: int, token: str | None = None) -> None:
        """Begins; what goes wrong is told by `state`. Raises RunError when one is going on."""
        with self._lock:
            if self.state.is_doing:
                raise RunError("Another measurement is going on: wait until it has ended, or stop it.")
            self._stop.clear()
            self.state = State(run.id, True, words="Getting ready", ended=self.state.ended)
        arguments = (run, source, most_rows, token)
        self._thread = threading.Thread(target=self._measure, args=arguments, name="measuring", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Asks it to stop; nothing of it is saved."""
        with self._lock:
            if self.state.is_doing:
                self._stop.set()
                self.state = replace(self.state, is_stopping=True, words="Stopping")

    def wait(self, timeout: float | None = None) -> State:
        """Until it has ended, for `timeout` seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self.state

    def _measure(self, run: Run, source: Source, most_rows: int, token: str | None) -> None:
        found, said = None, ""
        try:
            found = evaluate_run(self._lab, run, source, self._stop.is_set, self._report, most_rows, token)
        except Stopped:
            said = "Stopped; nothing was saved."
        except Problem as error:
            said = str(error)
        except Exception as error:  # a fault of ours or of a library's: the page must not wait for ever
            traceback.print_exc()
            said = f"Measuring failed: {first_line(error)}."
            error.with_traceback(None)
        said = said.replace(token, "…") if token else said
        with self._lock:
            self.state = State(run.id, said=said, found=found, ended=self.state.ended + bool(found))

    def _report(self, share: float, words: str) -> None:
        with self._lock:
            since = self.state.since if share else time.monotonic()
            words = "Stopping" if self.state.is_stopping else words
            self.state = replace(self.state, share=share, words=words, since=since)
