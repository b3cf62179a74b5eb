"""One evaluation at a time in the background, so that a page may be closed while it runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from core.evaluation.record import Evaluation, Source
from core.hub_names import Token
from core.problems import Problem, RunError, TrainingError, tr
from core.runs.run_folder import Run
from core.threads import ShouldStop
from core.workbench.background_job import BackgroundJob, Outcome

Report = Callable[[float, str], None]
# Measures a run, as `core.workbench.measure_run.evaluate_run` does; the numbers are the most rows, then a token.
Measure = Callable[[Run, Source, ShouldStop, Report, int, Token], Evaluation]


@dataclass(frozen=True)
class Measuring:
    """The last evaluation. A `share` (0 to 1) of the rows is done, in `words`, counted from `since`
    (`time.monotonic`). `ended` counts the evaluations that were saved; `said` is why this one was not."""

    run_id: str = ""
    is_doing: bool = False
    is_stopping: bool = False
    was_stopped: bool = False
    share: float = 0.0
    words: str = ""
    since: float = 0.0
    said: str = ""
    found: Evaluation | None = None
    ended: int = 0

    @property
    def seconds_left(self) -> float | None:
        """None while too little is done to say."""
        return (time.monotonic() - self.since) * (1 - self.share) / self.share if self.share else None


class MeasureJob:
    """`state` is replaced, never changed."""

    def __init__(self, measure: Measure):
        self._measure = measure
        self._job = BackgroundJob("measuring", Measuring(), _failed)

    @property
    def state(self) -> Measuring:
        return self._job.state

    def start(self, run: Run, source: Source, most_rows: int, token: Token = None) -> None:
        """Begins; `state` says what goes wrong. Raises RunError while another evaluation is running."""

        def work() -> Evaluation:
            return self._measure(run, source, self._job.should_stop, self._report, most_rows, token)

        with self._job.changed:
            if self.state.is_doing:
                raise RunError("Another measurement is running: wait until it has ended, or stop it.")
            self._job.state = Measuring(run.id, is_doing=True, words=tr("Getting ready"), ended=self.state.ended)
            self._job.start(work, self._ended, token)

    def stop(self) -> None:
        """Asks it to stop; nothing of it is saved."""
        with self._job.changed:
            if self.state.is_doing:
                self._job.state = replace(self.state, is_stopping=True, words=tr("Stopping"))
                self._job.stop()

    def wait(self, timeout: float | None = None) -> Measuring:
        """Waits until it has ended, for `timeout` seconds at most."""
        return self._job.wait(timeout)

    def _report(self, share: float, words: str) -> None:
        with self._job.changed:
            since = self.state.since if share else time.monotonic()
            words = tr("Stopping") if self.state.is_stopping else words
            self._job.state = replace(self.state, share=share, words=words, since=since)

    def _ended(self, outcome: Outcome[Evaluation]) -> None:
        outcome.print_unexpected()
        said = tr("Stopped; nothing was saved.") if outcome.was_stopped else str(outcome.problem or "")
        is_saved = outcome.result is not None
        with self._job.changed:
            self._job.state = Measuring(
                self.state.run_id,
                was_stopped=outcome.was_stopped,
                said=said,
                found=outcome.result,
                ended=self.state.ended + is_saved,
            )


def _failed(reason: str) -> Problem:
    return TrainingError("Measuring failed: {reason}.", reason=reason)
