"""One export at a time in the background, so that a page may be closed while it is being made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from core.export.hub import Pushed, Repository, token_for_pushing
from core.export.ollama import create, model_name
from core.export.record import Exported
from core.export.wanted import WORDS, Wanted
from core.hub_names import Token
from core.problems import ExportError, Problem, mark, tr
from core.runs.run_folder import Run
from core.training.script_export import write_script
from core.workbench.background_job import BackgroundJob, Outcome
from core.workbench.export_run import Exporter
from core.workbench.model_access import ModelAccess

SCRIPT = mark("the script")
NOT_PUSHED = mark(
    "Nothing was pushed to {name}, because {files} did not pass its self-test: the figures are below, and another "
    "precision may pass."
)
IN_OLLAMA = mark("a model in Ollama")
NOTHING_EXPORTED = mark("Stopped; nothing was exported.")
NOTHING_PUSHED = mark("Stopped; nothing was pushed.")
NOTHING_CREATED = mark("Stopped; no model was created.")
AND = mark(" and ")


@dataclass(frozen=True)
class Created:
    """A model in Ollama, by its name there."""

    name: str


Found = Exported | Pushed | Created | Path  # what work of each kind ends with


@dataclass(frozen=True)
class Exporting:
    """The last export: `what` of a run, or of its checkpoint of `step`. `share` (0 to 1) of it is done where that is
    known, in `words`. `ended` counts the exports that were made; `said` is why this one was not."""

    run_id: str = ""
    step: int | None = None
    what: str = ""
    is_doing: bool = False
    is_stopping: bool = False
    was_stopped: bool = False
    share: float | None = None
    words: str = ""
    said: str = ""
    found: Found | None = None
    ended: int = 0


class ExportJob:
    """`state` is replaced, never changed."""

    def __init__(self, lab: ModelAccess):
        self._lab, self._stopped = lab, ""
        self._job = BackgroundJob("exporting", Exporting(), _failed)

    @property
    def state(self) -> Exporting:
        return self._job.state

    def export(
        self,
        run: Run,
        wanted: Wanted,
        step: int | None = None,
        is_tested: bool = True,
        token: Token = None,
        may_install: bool = False,
    ) -> None:
        """Begins as `core.workbench.export_run.Exporter.export` does; `state` says what goes wrong.

        Raises ExportError while another export is being made.
        """
        exporter = Exporter(self._lab, run, step, token, self._report, self._job.should_stop, may_install)
        self._start(run, step, tr(WORDS[wanted.to]), lambda: exporter.export(wanted, is_tested), token)

    def push(
        self,
        run: Run,
        wanted: Wanted,
        to: Repository,
        step: int | None = None,
        is_tested: bool = True,
        token: Token = None,
        may_install: bool = False,
    ) -> None:
        """Begins as `core.workbench.export_run.Exporter.push` does.

        Raises ConfigError about the repository's name, ExportError without a token or while another export is being
        made, and ModelError about the token.
        """
        to.check()
        token = token_for_pushing(token)
        exporter = Exporter(self._lab, run, step, token, self._report, self._job.should_stop, may_install)
        what = tr("{what} for {name}", what=tr(WORDS[wanted.to]), name=to.name)
        self._start(run, step, what, lambda: _pushed(exporter, wanted, to, is_tested), token, NOTHING_PUSHED)

    def script(self, run: Run, out: Path, token: Token = None) -> None:
        """Begins to write the run's script into the folder `out`. Raises ExportError while another export is made."""
        self._start(run, None, tr(SCRIPT), lambda: write_script(run, out, token)[0], token)

    def create_in_ollama(self, run: Run, modelfile: Path) -> None:
        """Begins to make a model of the run in Ollama. Raises ExportError while another export is being made."""
        name = model_name(run.short_name)

        def work() -> Created:
            create(name, modelfile, self._job.should_stop)
            return Created(name)

        self._start(run, None, tr(IN_OLLAMA), work, None, NOTHING_CREATED)

    def stop(self) -> None:
        """Asks it to stop; nothing of it is kept."""
        with self._job.changed:
            if self.state.is_doing:
                self._job.state = replace(self.state, is_stopping=True, words=tr("Stopping"), share=None)
                self._job.stop()

    def wait(self, timeout: float | None = None) -> Exporting:
        """Waits until it has ended, for `timeout` seconds at most."""
        return self._job.wait(timeout)

    def _start(
        self,
        run: Run,
        step: int | None,
        what: str,
        work: Callable[[], Found],
        token: Token,
        stopped: str = NOTHING_EXPORTED,
    ) -> None:
        with self._job.changed:
            if self.state.is_doing:
                raise ExportError("Another export is being made: wait until it is done, or stop it.")
            self._stopped = stopped  # what to say if it is
            self._job.state = Exporting(run.id, step, what, True, words=tr("Getting ready"), ended=self.state.ended)
            self._job.start(work, self._ended, token)

    def _report(self, words: str, share: float | None) -> None:
        with self._job.changed:
            if not self.state.is_stopping:
                self._job.state = replace(self.state, share=share, words=words)

    def _ended(self, outcome: Outcome[Found]) -> None:
        outcome.print_unexpected()
        said = tr(self._stopped) if outcome.was_stopped else str(outcome.problem or "")
        with self._job.changed:
            state = self.state
            self._job.state = Exporting(
                state.run_id,
                state.step,
                state.what,
                was_stopped=outcome.was_stopped,
                said=said,
                found=outcome.result,
                ended=state.ended + (outcome.result is not None),
            )


def _pushed(exporter: Exporter, wanted: Wanted, to: Repository, is_tested: bool) -> Pushed:
    exported, pushed = exporter.push(wanted, to, is_tested)
    if pushed is None:
        files = tr(AND).join(check.file for check in exported.failed)
        raise ExportError(NOT_PUSHED, files=files, name=to.name)
    return pushed


def _failed(reason: str) -> Problem:
    return ExportError("The export failed: {reason}.", reason=reason)
