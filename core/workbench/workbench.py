"""The one place that owns the loaded model: load, train, ask and save never overlap. Knows nothing of gradio.

A `Workbench` holds the lock, the training thread and the newest snapshot. What it tells is immutable, so any number
of pages may look on.
"""

import threading
import traceback
from pathlib import Path

from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.row_view import RowView
from core.fresh_thread import in_own_thread
from core.memory.hardware import Machine, MemoryStats, detect_machine, sample_memory
from core.memory.probe_record import ProbeRecord
from core.model.loaded_model import LoadedModel, ModelReport
from core.model.unsloth_start import start_unsloth
from core.problems import Busy, DataError, Problem, RunError, first_line
from core.runs.checkpoint_list import Checkpoint
from core.runs.events import Event, Resumed, StatusChanged
from core.runs.run_folder import Run, create_run, find_adapter, find_run, list_runs, mark_interrupted
from core.runs.run_list import RunList
from core.runs.snapshot import Snapshot, fold
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.stopping import Stopped
from core.training.largest_batch import BatchFound
from core.training.run_job import Emit, perform
from core.training.trackers import check_tracker
from core.workbench.lab import LOADING, Lab
from core.workbench.model_slot import ModelSlot, ModelState
from core.workbench.probe_job import Prober, Probing
from core.workbench.rows_of_the_form import Look, Preparation, Preparing

TRAINING, READING = "a run is going on", "the rows are being read"


class Workbench:
    """Load, start, stop; `lab` compares. `runs_dir` is where runs are kept."""

    def __init__(self, runs_dir: Path):
        self.runs_dir = runs_dir
        self.runs = RunList(runs_dir)
        self.machine: Machine = detect_machine()
        self.is_warm = False
        self.warm_error = ""
        self.trouble = ""  # what is wrong with the run's folder, while the run goes on
        self.failure: Exception | None = None  # what ended the last run, when it failed
        self._lock = threading.RLock()  # guards what is told; never held while the model works
        self._doing = ""  # who has the model, in words; one at a time
        self._stop = threading.Event()
        self._slot = ModelSlot()
        self.lab = Lab(self._slot, self.runs, self._take, self._release)
        self._stop_reading = threading.Event()
        self._looking = threading.Lock()
        self._preparation = Preparation(runs_dir / "prepared")
        self._prober = Prober(runs_dir, self._slot, self._preparation, self._take, self._release)
        self._thread: threading.Thread | None = None
        self._run: Run | None = None
        self._snapshot = self._last_run()

    # What is going on

    @property
    def snapshot(self) -> Snapshot | None:
        """The run that is going on, or the last one; None when there never was one."""
        if self._run is None and self._snapshot is not None and not self._snapshot.is_over:
            # Another program's run: only its folder tells how it goes.
            followed = self.runs.following(self._snapshot.run_id)
            self._snapshot = followed or self._last_run()
        return self._snapshot

    def _last_run(self) -> Snapshot | None:
        mark_interrupted(self.runs_dir)
        newest = next(iter(list_runs(self.runs_dir)), None)
        return newest.snapshot() if newest else None

    @property
    def is_training(self) -> bool:
        """Whether a run of this program is going on."""
        return self._run is not None and not self._snapshot.is_over

    @property
    def model_state(self) -> ModelState:
        return self._slot.state

    @property
    def busy_with(self) -> str:
        """What has the model, as half a sentence (`TRAINING`, `LOADING`, …); empty when it is free."""
        return self._doing

    @property
    def compare_ready(self) -> bool:
        return self._slot.loaded is not None and not self._doing

    def memory(self) -> MemoryStats:
        return sample_memory()

    def warm_up(self) -> None:
        """Imports the libraries in the background, so that the page is there at once."""
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()

    def _warm_up(self) -> None:
        try:
            start_unsloth()
            self.machine = detect_machine()
            self.is_warm = True
        except Exception as error:
            self.warm_error = f"Unsloth could not be started: {first_line(error)}."
            traceback.print_exc()

    def _take(self, doing: str) -> None:
        with self._lock:
            if self._doing:
                raise Busy(f"This must wait: {self._doing}.")
            self._doing = doing

    def _release(self) -> None:
        with self._lock:
            self._doing = ""

    # Loading

    def load_model(self, config: ModelConfig, token: str | None = None) -> ModelReport:
        """Loads the base model in place of the one that is there. Raises Busy or ModelError."""
        self._take(LOADING)
        try:
            return in_own_thread(lambda: self._slot.load(config, token)).report
        finally:
            self._release()

    # Data

    @property
    def preparing(self) -> Preparing:
        """How far the reading of all rows is, or what it came to."""
        return self._preparation.state

    def look(self, config: RunConfig, token: str | None = None) -> Look:
        """The first rows, and as the loaded model sees them when it is the one that the settings name.

        Raises DataError.
        """
        # Looking changes nothing of the model: it may go on beside a run, one look after the other.
        with self._looking:
            loaded = self._slot.loaded if self._slot.is_loaded(config.model) else None
            return self._preparation.look(config, loaded, token)

    def check_rows(self, config: RunConfig, token: str | None = None) -> None:
        """Prepares all rows and keeps them for the run to come; `preparing` tells how it goes and how it ended.

        Raises Busy, ModelError, DataError or Stopped.
        """
        self._take(READING)
        try:
            self._stop_reading.clear()
            self._preparation.prepare(config, self._slot.loaded_for(config), token, self._stop_reading.is_set)
        finally:
            self._release()

    def stop_reading(self) -> None:
        self._stop_reading.set()

    def row(self, config: RunConfig, number: int, token: str | None = None) -> RowView:
        """One row as the trainer gets it. Raises ModelError or DataError."""
        with self._looking:
            return self._preparation.row(config, self._slot.loaded_for(config), number, token)

    def has_checked(self, config: RunConfig) -> bool:
        """Whether all rows were read with just these settings."""
        return self._preparation.is_current(config, self._slot.loaded)

    # Probing

    @property
    def probing(self) -> Probing:
        """How far a probe, or the search for the largest batch, is; or what the last one came to."""
        return self._prober.state

    def probe(self, config: RunConfig, token: str | None = None) -> ProbeRecord:
        """A real step of these settings, measured and undone; `probing` tells how it goes.

        Raises Busy, ModelError, DataError, RunError, TrainingError (memory that runs out too) and Stopped.
        """
        return self._prober.probe(config, token)

    def find_batch(self, config: RunConfig, token: str | None = None) -> BatchFound:
        """The largest batch that leaves the settings' headroom free, and the accumulation that goes with it.

        Raises as `probe` does.
        """
        return self._prober.find_batch(config, token)

    def stop_probe(self) -> None:
        """Asks a probe or a search to stop after its micro-batch."""
        self._prober.stop()

    # Training

    def start(self, config: RunConfig, name: str, token: str | None = None) -> Run:
        """Starts a run in the background. Raises Busy or RunError; later faults end the run as failed."""
        self._take(TRAINING)
        try:
            run = create_run(self.runs_dir, name, config)
            self._begin(run, Snapshot(run_id=run.id, name=name), "Getting ready")
        except BaseException:
            self._release()
            raise
        self._go(run, config, token, None)
        return run

    def resume(self, run_id: str, token: str | None = None) -> Run:
        """Goes on with a run that ended before its time, from its newest checkpoint, or from its beginning.

        Raises Busy or RunError; later faults end the run as failed.
        """
        self._take(TRAINING)
        try:
            mark_interrupted(self.runs_dir)
            run = find_run(self.runs_dir, run_id)
            snapshot = run.snapshot()
            if self._run is not None and self._run.id == run.id:
                run, snapshot = self._run, self._snapshot  # it may know what a full disk kept from being written
            if not snapshot.is_over:
                raise RunError(f"Run {run.id} is going on in another program: stop it there first.")
            if snapshot.status == "completed":
                raise RunError(f"Run {run.id} is complete; to train it further, start a run that continues from it.")
            config = run.config()
            run.clear_up()
            newest = next(reversed(run.checkpoints()), None)
            try:
                run.claim()
            except OSError as error:
                raise RunError(f"Run {run.id} cannot go on: {error.strerror or error}.") from None
            step = newest.step if newest else 0
            # That it goes on after a checkpoint it tells itself, once that is read and the rows are the same.
            from_the_beginning = [] if newest else [Resumed(step=0)]
            self._begin(
                run, snapshot, f"Going on after step {step:,}" if step else "Starting again", *from_the_beginning
            )
        except BaseException:
            self._release()
            raise
        self._go(run, config, token, newest)
        return run

    def _begin(self, run: Run, snapshot: Snapshot, message: str, *events: Event) -> None:
        self._stop.clear()
        self.trouble = ""
        self._run, self._snapshot = run, snapshot
        for event in (*events, StatusChanged(status="preparing", message=message)):
            self._emit(run, event)

    def _go(self, run: Run, config: RunConfig, token: str | None, newest: Checkpoint | None) -> None:
        arguments = (run, config, token, newest)
        self._thread = threading.Thread(target=self._work, args=arguments, name="training", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Asks the run to stop after its micro-batch; False when none is going on."""
        with self._lock:
            if not self.is_training or self._doing != TRAINING:
                return False
            self._stop.set()
            self._emit(self._run, StatusChanged(status="stopping", message="Stopping after this micro-batch"))
            return True

    def wait(self, timeout: float | None = None) -> Snapshot | None:
        """Until the run is over, for `timeout` seconds at most. Returns the snapshot."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._snapshot

    def _emit(self, run: Run, event: Event) -> None:
        with self._lock:
            self._snapshot = fold(self._snapshot, event)
            try:
                run.append(event)
                self.trouble = ""
            except OSError as error:  # a full disk must not end a run that is going well
                self.trouble = f"The run's history cannot be written ({error.strerror}): make room on the disk, and it is written then."

    def _work(self, run: Run, config: RunConfig, token: str | None, newest: Checkpoint | None) -> None:
        def emit(event: Event) -> None:
            self._emit(run, event)

        self.failure = None
        made_before = _made(run.adapter_dir)
        status, message = "failed", "Training failed for a reason that is not known."
        try:
            status, message = self._train(run, config, token, newest, emit)
        except Stopped:
            status, message = "stopped", "Stopped before the first step; nothing was trained."
            if self._slot.state.adapter == run.id and _made(run.adapter_dir) == made_before:
                self._slot.let_go()  # what is on the model under this run's name is not what it trained
        except Exception as error:
            told = isinstance(error, Problem)
            message = str(error) if told else f"Training failed: {first_line(error)}; the run's log.txt says more."
            message = message.replace(token, "…") if token else message
            if _made(run.adapter_dir) != made_before:
                message += " What was trained until then is kept as an adapter."
            try:
                trace = traceback.format_exc()
                # What a library says of a refused token may hold it.
                (run.folder / "log.txt").write_text(trace.replace(token, "…") if token else trace, encoding="utf-8")
            except OSError:
                traceback.print_exc()
            # The frames of the trace hold the model and the optimizer; without them their memory can be freed.
            self.failure = error.with_traceback(None)
            error.__context__ = error.__cause__ = None  # a library's own error, whose frames hold the same
        finally:
            if status == "failed" and not isinstance(self.failure, DataError):  # rows at fault do the model no harm
                self._slot.let_go()
            self._slot.let_go_of_an_unknown()
            emit(StatusChanged(status=status, message=message))
            self._release()

    def _train(
        self, run: Run, config: RunConfig, token: str | None, newest: Checkpoint | None, emit: Emit
    ) -> tuple[str, str]:
        """Returns the status that the run ends with, and a sentence."""
        check_tracker(config.training.report_to)
        # Before gigabytes are fetched for rows that nobody can read.
        if trouble := self._preparation.look(config, None, token).trouble:
            raise DataError(trouble)
        loaded = self._ready_model(run, config, token, newest)
        data = self._rows_for(run, config, loaded, token)
        self._slot.show_trained(run.id, run.adapter_dir, config.data.prompt_template)
        return perform(run, config, loaded, data, emit, self._stop.is_set, newest, self._snapshot.batch_chosen)

    def _rows_for(self, run: Run, config: RunConfig, loaded: LoadedModel, token: str | None) -> PreparedData:
        """The rows, read now or when they were checked. Raises DataError when a person must be asked first."""
        self._emit(run, StatusChanged(status="preparing", message="Reading the rows"))
        told = 0

        def report(share: float | None, rows: int) -> None:
            nonlocal told
            if share is not None and int(share * 20) > told:
                told = int(share * 20)
                message = f"Reading the rows, {rows:,} so far ({share:.0%})"
                self._emit(run, StatusChanged(status="preparing", message=message))

        data = self._preparation.prepare(config, loaded, token, self._stop.is_set, report)
        data.ask_consent(config.data)
        return data

    def _ready_model(self, run: Run, config: RunConfig, token: str | None, newest: Checkpoint | None) -> LoadedModel:
        """The loaded model if it is the right one and untouched, else loaded anew: no run stands on another's rest."""
        adapter_dir = None
        if config.adapter.continue_from:  # once there is a checkpoint, what the run went on from may be gone
            adapter_dir = newest.folder if newest else find_adapter(self.runs_dir, config.adapter.continue_from)
        if adapter_dir is None and (loaded := self._slot.ready_for(config)) is not None:
            return loaded
        self._emit(run, StatusChanged(status="preparing", message="Loading the model"))
        checkpointing = config.training.use_gradient_checkpointing
        return self._slot.load(
            config.model, token, adapter_dir, self._stop.is_set, use_gradient_checkpointing=checkpointing
        )


def _made(adapter_dir: Path) -> int | None:
    """Tells one adapter from the one before it in the same place."""
    return adapter_dir.stat().st_ino if adapter_dir.exists() else None
