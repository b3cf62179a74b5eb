"""The run of this program: started or resumed in the background, its events written and shown.

Each event is on disk before any page sees it. When it cannot be written the run continues all the same: the event is
shown, `trouble` says why, and the run's folder gets it together with the next event.
"""

import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from core.data.prepared.prepared_data import PreparedData
from core.hub_names import Token
from core.model.loaded_model import LoadedModel
from core.problems import DataError, Problem, RunError, TrainingError, mark, tr
from core.runs.adapter_to_continue import find_adapter
from core.runs.checkpoint_list import Checkpoint
from core.runs.events import Event, Resumed, StatusChanged
from core.runs.run_folder import (
    IN_PROGRESS,
    Run,
    create_run,
    find_run,
    list_runs,
    mark_interrupted,
    owner_lives,
    run_key,
)
from core.runs.run_list import RunList
from core.runs.snapshot import Snapshot, fold
from core.settings.run_config import RunConfig
from core.training.run_job import Emit, perform
from core.training.trackers import check_tracker
from core.workbench.background_job import BackgroundJob, Outcome
from core.workbench.desk import TRAINING, Desk
from core.workbench.model_slot import ModelSlot
from core.workbench.push_checkpoints import check_pushing, perform_and_push
from core.workbench.rows_of_the_form import Preparation

HISTORY = mark("The run's history cannot be written ({reason}): free some space on the disk, and it will be written.")
CHECKS_PER_READING = 20  # how often reading all rows reports how far it is


@dataclass(frozen=True)
class _Order:
    """What a run works with. `key` names it (`run_key`); `newest` is the checkpoint that it continues after."""

    run: Run
    key: str
    config: RunConfig
    token: Token
    newest: Checkpoint | None = None


class TrainingJob:
    """One run at a time. `snapshot` is replaced, never changed."""

    def __init__(self, runs: RunList, slot: ModelSlot, preparation: Preparation, desk: Desk):
        self._runs, self._runs_dir = runs, runs.runs_dir
        self._slot, self._preparation, self._desk = slot, preparation, desk
        self._run: Run | None = None
        self.trouble = ""  # why the run's history cannot be written, while the run continues
        self._tried = 0.0  # when that was last tried again, by time.monotonic()
        self.failure: Problem | None = None  # what ended the last run, if it failed
        self._job = BackgroundJob("training", self._last_run(), _failed)

    @property
    def snapshot(self) -> Snapshot | None:
        """The run in progress, or the last one, under its present name; None when there never was one."""
        shown = self._followed()
        name = shown and self._runs.name_of(shown.run_id)
        if not name or name == shown.name:
            return shown
        with self._job.changed:
            if self._job.state.run_id == shown.run_id:
                self._job.state = self._job.state.model_copy(update={"name": name})
            return self._job.state

    def _followed(self) -> Snapshot | None:
        shown = self._job.state
        self.write_the_end()
        if self._run is not None or shown is None or shown.is_over:
            return shown  # without the lock, so that no page waits for a slow disk
        followed = self._runs.following(shown.run_id) or self._last_run()
        with self._job.changed:
            if self._run is None:  # no run has started meanwhile
                # Another program's run: only its folder says how it is doing.
                self._job.state = followed
            return self._job.state

    def write_the_end(self) -> None:
        """Tries again to write how the run ended, if the disk was full: until then it counts as in progress."""
        if not self.trouble:
            return
        with self._job.changed:
            now = time.monotonic()
            if self.trouble and self._job.state.is_over and now - self._tried >= 1:
                self._tried = now
                with suppress(OSError):
                    self._run.append()
                    self.trouble = ""

    def _last_run(self) -> Snapshot | None:
        mark_interrupted(self._runs_dir)
        newest = next(iter(list_runs(self._runs_dir)), None)
        return newest.snapshot() if newest else None

    @property
    def is_training(self) -> bool:
        """Whether a run of this program is in progress."""
        return self._run is not None and not self._job.state.is_over

    def start(self, config: RunConfig, name: str, token: Token, made: Run | None, preset: str) -> Run:
        """As `core.workbench.workbench.Workbench.start`."""
        with ExitStack() as held:
            held.enter_context(self._desk.taken(TRAINING))
            run = made or create_run(self._runs_dir, name, config, preset=preset)
            snapshot = Snapshot(run_id=run.id, name=run.name)
            self._begin(_Order(run, run.id, config, token), snapshot, [_preparing(tr("Getting ready"))], held)
        return run

    def resume(self, run_id: str, token: Token = None) -> Run:
        """Continues a run that ended early, from its newest checkpoint, or from its beginning if it has none.

        Raises Busy and RunError; later faults end the run as failed.
        """
        with ExitStack() as held:
            held.enter_context(self._desk.taken(TRAINING))
            run, snapshot = self._to_resume(run_id)
            config = run.config()
            try:
                run.take_over()
            except OSError as error:
                reason = error.strerror or error
                raise RunError("Run {run} cannot be resumed: {reason}.", run=run.id, reason=reason) from None
            newest = next(reversed(run.checkpoints()), None)
            if newest is None:
                events = [Resumed(step=0), _preparing(tr("Resuming from the beginning"))]
            else:  # training itself reports that it resumed, once the checkpoint is read and the rows are the same
                events = [_preparing(tr("Resuming after step {step:,}", step=newest.step))]
            self._begin(_Order(run, run_key(self._runs_dir, run), config, token, newest), snapshot, events, held)
        return run

    def _to_resume(self, run_id: str) -> tuple[Run, Snapshot]:
        """Raises RunError."""
        run = find_run(self._runs_dir, run_id)
        snapshot = run.snapshot()
        if self._run is not None and self._run.folder.resolve() == run.folder:
            run, snapshot = self._run, self._job.state  # may have events that a full disk kept from being written
        if not snapshot.is_over and owner_lives(run.folder):
            raise RunError(IN_PROGRESS, run=run.id)
        if snapshot.status == "completed":
            raise RunError(
                "Run {run} is complete; to train it further, start a run that continues from it.", run=run.id
            )
        return run, snapshot

    def _begin(self, order: _Order, snapshot: Snapshot, events: list[Event], held: ExitStack) -> None:
        made_before = _made(order.run.adapter_dir)
        with self._job.changed:  # a stop must come before all of this or after
            self.trouble, self.failure = "", None
            self._run, self._job.state = order.run, snapshot
            for event in events:
                self.emit(event)
            self._job.start(
                lambda: self._train(order),
                lambda outcome: self._ended(order, outcome, made_before),
                order.token,
                held,
            )

    def stop(self) -> bool:
        """Asks the run to stop after its micro-batch; False when no run is in progress."""
        with self._job.changed:
            if not self.is_training or self._desk.doing != TRAINING:
                return False
            self._job.stop()
            steps_are_taken = not self._job.state.doing
            message = tr("Stopping after this micro-batch") if steps_are_taken else tr("Stopping")
            self.emit(StatusChanged(status="stopping", message=message))
            return True

    def wait(self, timeout: float | None = None) -> Snapshot | None:
        """Waits until the run is over, for `timeout` seconds at most. Returns the snapshot."""
        return self._job.wait(timeout)

    def emit(self, event: Event) -> None:
        """Writes an event of the run, then shows it."""
        with self._job.changed:
            try:
                self._run.append(event)
                self.trouble = ""
            except OSError as error:  # a full disk must not end a run that is doing well
                self.trouble = tr(HISTORY, reason=error.strerror)
            self._job.state = fold(self._job.state, event)

    def _train(self, order: _Order) -> tuple[str, str]:
        """Returns the status that the run ends with, and a sentence."""
        run, config = order.run, order.config
        check_tracker(config.training.report_to)
        check_pushing(config, order.token)
        # First, so that no gigabytes are downloaded for rows that nobody can read.
        if trouble := self._preparation.look(config, None, order.token).trouble:
            raise DataError(trouble)
        loaded = self._ready_model(order)
        data = self._rows_for(order, loaded)
        self._slot.begin_training(order.key, run.adapter_dir, config.data.prompt_template, run.prompt_date)
        chosen = self._job.state.batch_chosen
        stop = self._job.should_stop

        def train(emit: Emit) -> tuple[str, str]:
            return perform(run, config, loaded, data, emit, stop, order.newest, chosen)

        return perform_and_push(run, config, order.token, self.emit, stop, train)

    def _ready_model(self, order: _Order) -> LoadedModel:
        """The loaded model if it is the right one and untouched, else the base loaded anew: no run starts on what
        another one left."""
        config, adapter_dir = order.config, None
        if wanted := config.adapter.continue_from:
            # Once there is a checkpoint, the adapter that the run continued from may be gone.
            adapter_dir = order.newest.folder if order.newest else find_adapter(order.run.folder.parent, wanted)
        if adapter_dir is None and (loaded := self._slot.ready_for(config)) is not None:
            return loaded
        self.emit(_preparing(tr("Loading the model")))
        checkpointing = config.training.use_gradient_checkpointing
        return self._slot.load(
            config.model, order.token, adapter_dir, self._job.should_stop, use_gradient_checkpointing=checkpointing
        )

    def _rows_for(self, order: _Order, loaded: LoadedModel) -> PreparedData:
        """The rows, read now or when they were checked. Raises DataError when a person must agree first."""
        self.emit(_preparing(tr("Reading the rows")))
        reported = 0

        def report(share: float | None, rows: int) -> None:
            nonlocal reported
            if share is not None and int(share * CHECKS_PER_READING) > reported:
                reported = int(share * CHECKS_PER_READING)
                self.emit(_preparing(tr("Reading the rows, {rows:,} so far ({share:.0%})", rows=rows, share=share)))

        data = self._preparation.prepare(
            order.config, loaded, order.token, self._job.should_stop, report, order.run.prompt_date
        )
        data.ask_consent(order.config.data)
        return data

    def _ended(self, order: _Order, outcome: Outcome[tuple[str, str]], made_before: int | None) -> None:
        run, self.failure = order.run, outcome.problem
        is_saved = _made(run.adapter_dir) != made_before
        if outcome.was_stopped:
            status, message = "stopped", tr("Stopped before the first step; nothing was trained.")
        elif outcome.problem is not None:
            status, message = "failed", str(outcome.problem)
            if is_saved:
                message = f"{message} {tr('What was trained until then is kept as an adapter.')}"
            _write_log(run, outcome.trace)
        else:
            status, message = outcome.result
        if outcome.problem is not None and not isinstance(outcome.problem, DataError):
            self._slot.let_go()  # rows at fault do the model no harm; what else fails may
        self._slot.end_training(order.key, is_saved)
        self.emit(StatusChanged(status=status, message=message))


def _preparing(message: str) -> StatusChanged:
    return StatusChanged(status="preparing", message=message)


def _failed(reason: str) -> Problem:
    return TrainingError("Training failed: {reason}; see the run's log.txt.", reason=reason)


def _write_log(run: Run, trace: str) -> None:
    try:
        (run.folder / "log.txt").write_text(trace, encoding="utf-8")
    except OSError:
        print(trace, file=sys.stderr)


def _made(adapter_dir: Path) -> int | None:
    """Distinguishes an adapter from the one before it in the same place."""
    return adapter_dir.stat().st_ino if adapter_dir.exists() else None
