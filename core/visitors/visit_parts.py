"""The parts of the workbench that deal with runs, as one visitor sees them: only their own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from core.answering.sampling import Answer, Sampling
from core.comparing.votes import Choice
from core.evaluation.record import Source
from core.export.estimate import bytes_of
from core.export.hub import Repository
from core.export.wanted import Wanted, default_folder
from core.hub_names import Token
from core.model.loaded_model import LoadedModel, ModelReport
from core.problems import ModelError, NotAllowed, RunError, mark
from core.runs.adapter_ref import BASE, Pane
from core.runs.overview import Overview
from core.runs.run_folder import Run, open_run
from core.runs.trash import Deleted
from core.workbench.blind_test import EXACT
from core.workbench.desk import ANSWERING, EXPORTING, LOADING, MEASURING, PROVING

BEGINNING = mark("a blind test begins")
ABANDONED_SECONDS = 1800  # after which another visitor may begin a blind test in place of one that was left behind


class VisitRuns:
    """As `core.runs.run_list.RunList`."""

    def __init__(self, visit):
        self._visit, self._runs = visit, visit.bench.runs
        self.runs_dir = self._runs.runs_dir

    def rows(self, fresh: bool = False) -> tuple[Overview, ...]:
        return tuple(row for row in self._runs.rows(fresh) if row.owner == self._visit.visitor)

    def find(self, run_id: str) -> Overview:
        for row in self.rows(fresh=True):
            if row.id == run_id:
                return row
        raise RunError("You have no run {run!r:.80}; it was moved or deleted.", run=run_id)

    def open(self, run_id: str) -> Run:
        return open_run(self.find(run_id).folder)

    def name_of(self, run_id: str) -> str | None:
        return next((row.name for row in self.rows() if row.id == run_id), None)

    def preset_of(self, run_id: str) -> str:
        return next((row.preset for row in self.rows() if row.id == run_id), "")

    def describe(self, run_id: str, name: str, note: str) -> None:
        self._runs.describe(self.find(run_id).id, name[:200], note[:5000])


class VisitTrash:
    """As `core.runs.trash.Trash`."""

    def __init__(self, visit):
        self._visit, self._trash = visit, visit.bench.trash

    def runs(self) -> list[Deleted]:
        return [run for run in self._trash.runs() if run.owner == self._visit.visitor]

    @property
    def changed(self) -> int:
        return self._trash.changed

    def take(self, folder) -> Deleted:
        return self._trash.take(self._visit.runs.find(folder.name).folder)

    def put_back(self, deleted_id: str) -> str:
        if deleted_id not in {run.id for run in self.runs()}:
            raise RunError("This run is no longer in the trash; it was put back or deleted for good.")
        return self._trash.put_back(deleted_id)

    def empty(self) -> int:
        return self._trash.empty({run.id for run in self.runs()})


class VisitLab:
    """As `core.workbench.lab.Lab`."""

    def __init__(self, visit):
        self._visit, self._lab = visit, visit.bench.lab

    def stop(self) -> None:
        if self._visit.is_doing:
            self._lab.stop()

    @property
    def loaded_pane(self) -> Pane:
        return self._lab.loaded_pane if self._visit.owns_model else BASE

    def choices(self) -> list[Pane]:
        if not self._visit.owns_model:
            return [BASE]
        own = {row.id for row in self._visit.runs.rows()}
        return [pane for pane in self._lab.choices() if pane.is_base or pane.run_id in own]

    def load_run(self, run_id: str, token: Token = None, step: int | None = None) -> ModelReport:
        run = self._visit.runs.open(run_id)
        token = self._visit.token(token)
        self._visit.check_model(run.config().model, token)
        with self._visit.turn(LOADING):
            return self._lab.load_run(run.id, token, step)

    def wait_for_loading(self) -> None:
        if self._visit.is_doing:
            self._visit.wait_while(LOADING)

    @contextmanager
    def using(self, panes: Sequence[Pane], doing: str) -> Iterator[tuple[LoadedModel, list[str | None]]]:
        self.check_panes(panes)
        with self._visit.turn(doing, counts=doing == PROVING), self._lab.using(panes, doing) as found:
            yield found

    def answer(
        self, panes: Sequence[Pane], conversations: Sequence[list[dict]], sampling: Sampling, doing: str = ANSWERING
    ) -> Iterator[tuple[Answer, ...]]:
        self.check_panes(panes)
        self._visit.check_asked(sampling, [message["content"] for said in conversations for message in said])
        with self._visit.turn(doing):
            yield from self._lab.answer(panes, conversations, sampling, doing)

    def compare(
        self, prompt: str, system: str, sampling: Sampling
    ) -> Iterator[tuple[Answer, Answer | None, float | None]]:
        self.check_panes([])
        self._visit.check_asked(sampling, [prompt, system])
        with self._visit.turn(ANSWERING):
            yield from self._lab.compare(prompt, system, sampling)

    def differences(self, panes: Sequence[Pane], messages: list[dict]) -> list[float]:
        self.check_panes(panes)
        with self._visit.turn(ANSWERING, counts=False):
            return self._lab.differences(panes, messages)

    def check_panes(self, panes: Sequence[Pane]) -> None:
        """Raises RunError and ModelError unless model and runs are the visitor's."""
        for pane in panes:
            if not pane.is_base:
                self._visit.runs.find(pane.run_id)
        if not self._visit.owns_model:
            raise ModelError(
                "You have no model loaded, or another visitor has loaded one since: load one on the Compare "
                "tab, or finish a run."
            )


class VisitMeasuring:
    """As `core.workbench.measure_job.MeasureJob`."""

    def __init__(self, visit):
        self._visit, self._job = visit, visit.bench.measuring

    @property
    def state(self):
        state = self._job.state
        return state if self._visit.owns_run(state.run_id) else self._visit.blank("measuring")

    def start(self, run: Run, source: Source, most_rows: int, token: Token = None) -> None:
        visit, run = self._visit, self._visit.runs.open(run.id)
        if source.kind != "validation":
            visit.check_upload(source.path)
        if most_rows > visit.policy.measured_rows:
            raise NotAllowed("At most {most:,} rows can be measured on this page.", most=visit.policy.measured_rows)
        token = visit.token(token)
        visit.check_model(run.config().model, token)
        with visit.turn(MEASURING):
            self._job.start(run, source, most_rows, token)

    def stop(self) -> None:
        if self._visit.owns_run(self._job.state.run_id):
            self._job.stop()


class VisitExporting:
    """As `core.workbench.export_job.ExportJob`; exports lie in the visitor's own runs, and nothing is installed."""

    def __init__(self, visit):
        self._visit, self._job = visit, visit.bench.exporting

    @property
    def state(self):
        state = self._job.state
        return state if self._visit.owns_run(state.run_id) else self._visit.blank("exporting")

    def export(
        self,
        run: Run,
        wanted: Wanted,
        step: int | None = None,
        is_tested: bool = True,
        token: Token = None,
        may_install: bool = False,
    ) -> None:
        run, wanted, token = self._allowed(run, wanted, step, token)
        with self._visit.turn(EXPORTING):
            self._job.export(run, wanted, step, is_tested, token)

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
        run, wanted, token = self._allowed(run, wanted, step, token)
        with self._visit.turn(EXPORTING):
            self._job.push(run, wanted, to, step, is_tested, token)

    def _allowed(self, run: Run, wanted: Wanted, step: int | None, token: Token) -> tuple[Run, Wanted, Token]:
        """The visitor's own run, the export into its own folder, and their token. Raises NotAllowed and RunError."""
        visit, run = self._visit, self._visit.runs.open(run.id)
        model, token = run.config().model, visit.token(token)
        visit.check_model(model, token)
        most = visit.policy.exported_bytes
        if bytes_of(visit.bench.shape_of(model, token).parameters, wanted.kinds) > most:
            raise NotAllowed(
                "An export can have at most {most:.1f} GB on this page; export the adapter.", most=most / 10**9
            )
        return run, replace(wanted, out=default_folder(run, wanted.to, step).resolve()), token

    def script(self, run: Run, out: Path, token: Token = None) -> None:
        visit, run = self._visit, self._visit.runs.open(run.id)
        token = visit.token(token)
        visit.check_model(run.config().model, token)
        with visit.turn(EXPORTING):
            self._job.script(run, default_folder(run, "script").resolve(), token)

    def wait(self, timeout: float | None = None):
        return self._job.wait(timeout) if self.state.is_doing else self.state

    def create_in_ollama(self, run: Run, modelfile: Path) -> None:
        raise NotAllowed(
            "Models are not created in Ollama on this page; download the file, and create it on your machine."
        )

    def stop(self) -> None:
        if self._visit.owns_run(self._job.state.run_id):
            self._job.stop()


class VisitBlind:
    """As `core.workbench.blind_test.BlindTest`."""

    def __init__(self, visit):
        self._visit, self._blind = visit, visit.bench.blind_test

    @property
    def _is_ours(self) -> bool:
        return self._visit.owns("blind test")

    @property
    def is_running(self) -> bool:
        return self._is_ours and self._blind.is_running

    def start(self, panes: Sequence[Pane], prompts: Sequence[str], sampling: Sampling = EXACT) -> None:
        visit = self._visit
        visit.lab.check_panes(panes)
        visit.check_asked(sampling, prompts)
        if len(prompts) > visit.policy.blind_prompts:
            raise NotAllowed("A blind test can have {most} prompts on this page.", most=visit.policy.blind_prompts)
        with visit.turn(BEGINNING):
            if visit.age("blind test") > ABANDONED_SECONDS:
                self._blind.end()
            with visit.taking("blind test"):
                self._blind.start(panes, prompts, sampling)

    def read_prompts(self, path: str) -> list[str]:
        self._visit.check_upload(path)
        return self._blind.read_prompts(path)

    def vote(self, pair: str, choice: Choice) -> None:
        if self._is_ours:
            self._blind.vote(pair, choice)

    def end(self) -> None:
        if self._is_ours:
            self._blind.end()

    def shown(self):
        return self._blind.shown() if self._is_ours else self._visit.blank("blind test")

    def last_result(self):
        return self._blind.last_result() if self._is_ours else None

    def result(self, panes: Sequence[Pane]):
        for pane in panes:
            if not pane.is_base:
                self._visit.runs.find(pane.run_id)
        return self._blind.result(panes)
