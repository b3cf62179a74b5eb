"""Everything the application does with a model, and all state that its pages share.

    bench = Workbench(Path("runs"))
    bench.start(config, "my run")
    snapshot = bench.wait()

What it shows is immutable, so any number of pages may read it at any time. Only one piece of work uses the model at a
time (`core.workbench.desk`); what comes second raises Busy.
"""

import threading
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from core.data.prepared.row_view import RowView
from core.hub_names import Token
from core.memory.hardware import Machine, MemoryStats, detect_machine, sample_memory, unused_card
from core.memory.model_shape import ModelShape, shape_of
from core.memory.probe_record import ProbeRecord
from core.model.loaded_model import ModelReport, Reader
from core.model.unsloth_start import start_unsloth
from core.problems import ModelError, Problem
from core.runs.run_folder import Run
from core.runs.run_list import RunList
from core.runs.snapshot import Snapshot
from core.runs.trash import Trash
from core.settings.presets import Preset, find_preset, list_presets
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.threads import in_own_thread
from core.training.largest_batch import BatchFound
from core.workbench.background_job import BackgroundJob, Outcome
from core.workbench.blind_test import BlindTest
from core.workbench.desk import LOADING, READING, Desk
from core.workbench.export_job import ExportJob
from core.workbench.lab import Lab
from core.workbench.measure_job import MeasureJob
from core.workbench.measure_run import evaluate_run
from core.workbench.model_slot import ModelSlot, ModelState
from core.workbench.probe_job import Prober, Probing
from core.workbench.queue_job import QueueJob
from core.workbench.rows_of_the_form import Look, Preparation, Preparing
from core.workbench.tokenizer_job import TokenizerJob
from core.workbench.training_job import TrainingJob


@dataclass(frozen=True)
class _Warmth:
    """How far the import of the libraries is."""

    is_warm: bool = False
    error: str = ""
    unused_card: str = ""


class Workbench:
    """Loads models, reads rows, probes and trains, also what waits in the `queue`; `lab`, `measuring`, `blind_test` and
    `exporting` use what was trained. `runs_dir` is where runs are kept."""

    def __init__(self, runs_dir: Path):
        self.runs_dir = runs_dir
        self.runs = RunList(runs_dir)
        self.trash = Trash(runs_dir)
        self.machine: Machine = detect_machine()
        self.desk = Desk()
        self._slot = ModelSlot()
        self._preparation = Preparation(runs_dir / "prepared")
        self._stop_reading = threading.Event()
        self._looking = threading.Lock()
        self._warming = BackgroundJob("warm-up", _Warmth(), _could_not_start)
        self._tokenizers = TokenizerJob(self._warming.wait)
        self._prober = Prober(runs_dir, self._slot, self._preparation, self.desk)
        self._training = TrainingJob(self.runs, self._slot, self._preparation, self.desk)
        self.queue = QueueJob(self.runs, self._training, self._preparation)
        self.lab = Lab(self._slot, self.runs, self.desk)
        self.measuring = MeasureJob(partial(evaluate_run, self.lab))
        self.exporting = ExportJob(self.lab)
        self.blind_test = BlindTest(self.lab, self.runs)

    # The machine and the model

    rules = ""  # what visitors may do here, in words (`core.visitors`); whoever runs the program may do all

    @property
    def model_state(self) -> ModelState:
        return self._slot.state

    @property
    def busy_with(self) -> str:
        """What is using the model, as half a sentence of `core.workbench.desk`; empty when the model is free."""
        return self.desk.doing

    @property
    def compare_ready(self) -> bool:
        return self._slot.loaded is not None and not self.desk.doing

    def memory(self) -> MemoryStats:
        return sample_memory()

    @property
    def is_warm(self) -> bool:
        return self._warming.state.is_warm

    @property
    def warm_error(self) -> str:
        return self._warming.state.error

    @property
    def unused_card(self) -> str:
        """Why an NVIDIA card of this machine is not used, as a sentence; empty if there is none, or it is used."""
        return self._warming.state.unused_card

    def warm_up(self) -> None:
        """Imports the libraries in the background, so that the page opens at once."""

        def ended(outcome: Outcome[tuple[Machine, str]]) -> None:
            outcome.print_unexpected()
            if outcome.problem is not None:
                self._warming.state = _Warmth(error=str(outcome.problem))
                return
            self.machine, unused = outcome.result
            self._warming.state = _Warmth(is_warm=True, unused_card=unused)

        self._warming.start(_start_libraries, ended)

    def load_model(self, config: ModelConfig, token: Token = None) -> ModelReport:
        """Loads the base model and replaces the one that is loaded. Raises Busy and ModelError."""
        with self.desk.taken(LOADING):
            return in_own_thread(lambda: self._slot.load(config, token)).report

    def shape_of(self, config: ModelConfig, token: Token = None, fetch: bool = True) -> ModelShape:
        """The shape of a model that need not be loaded (`core.memory.model_shape`). Raises ModelError."""
        return shape_of(config, token, fetch)

    def presets(self) -> list[Preset]:
        """All presets, those that a person saved last."""
        return list_presets(self.runs_dir)

    def find_preset(self, name: str) -> Preset:
        """The preset with that name, or the one in that YAML file. Raises ConfigError."""
        return find_preset(name, self.runs_dir)

    def forget(self) -> None:
        """Frees the model and removes the prepared rows. Raises Busy."""
        with self.desk.taken(LOADING):
            self._slot.let_go()
            self._tokenizers.forget()
            self._preparation.forget()

    # Data

    @property
    def preparing(self) -> Preparing:
        """How far reading all rows is, or what it found."""
        return self._preparation.state

    @property
    def tokenizing(self) -> int:
        """Grows whenever a tokenizer was loaded, or could not be: what `row` says may be different from then on."""
        return self._tokenizers.state.number

    def look(self, config: RunConfig, token: Token = None, with_model: bool = True) -> Look:
        """The first rows; `with_model`, also as the model sees them, once its tokenizer is there: if need be, that is
        loaded in the background.

        Raises DataError.
        """
        # Looking does not change the model, so it may run during training; one look at a time.
        with self._looking:
            reader = self._reader(config) if with_model else None
            look = self._preparation.look(config, reader, token)
            if with_model and reader is None:  # only now: it imports what reading rows may have to import as well
                self._tokenizers.begin(config.model, token)
            return replace(look, waits=with_model and reader is None and self._tokenizers.state.is_loading)

    def _reader(self, config: RunConfig) -> Reader | None:
        """The loaded model, if it is that of the settings, or else its tokenizer, if that is there."""
        return self._slot.loaded if self._slot.is_loaded(config.model) else self._tokenizers.at_hand(config.model)

    def check_rows(self, config: RunConfig, token: Token = None) -> None:
        """Prepares all rows and keeps them for the next run; `preparing` says how far it is and how it ended.

        Raises Busy, ModelError, DataError and Stopped.
        """
        with self.desk.taken(READING):
            self._stop_reading.clear()
            reader = self._reader(config) or self._tokenizers.wait_for(config.model, token)
            self._preparation.prepare(config, reader, token, self._stop_reading.is_set)

    def badly_wrong(self, config: RunConfig, token: Token = None) -> tuple[str, ...]:
        """Prepares all rows as `check_rows` does; returns a sentence for each thing about them that is so badly wrong
        that a person should be asked before training. Raises what that does."""
        self.check_rows(config, token)
        return self._preparation.badly_wrong(config)

    def stop_reading(self) -> None:
        self._stop_reading.set()
        self._tokenizers.stop()

    def row(self, config: RunConfig, number: int, token: Token = None) -> RowView:
        """One row as the trainer gets it. Raises ModelError while there is no tokenizer, and DataError."""
        with self._looking:
            reader = self._reader(config) or self._tokenizers.now(config.model)
            return self._preparation.row(config, reader, number, token)

    def has_checked(self, config: RunConfig) -> bool:
        """Whether all rows were read with exactly these settings."""
        return self._preparation.is_current(config, self._reader(config))

    def shows_rows_of(self, config: RunConfig) -> bool:
        """Whether `preparing` tells of the rows that these settings name, or of no rows at all."""
        return self._preparation.shows(config)

    # Probing

    @property
    def probing(self) -> Probing:
        """How far a probe, or the search for the largest batch, is; or what the last one found."""
        return self._prober.state

    def probe(self, config: RunConfig, token: Token = None) -> ProbeRecord:
        """Takes real steps with these settings, measures and undoes them; `probing` says how far it is.

        Raises Busy, ModelError, DataError, RunError, TrainingError (also when memory runs out) and Stopped.
        """
        return self._prober.probe(config, token)

    def find_batch(self, config: RunConfig, token: Token = None) -> BatchFound:
        """Finds the largest batch that leaves the settings' headroom free, and the accumulation to go with it.

        Raises as `probe` does.
        """
        return self._prober.find_batch(config, token)

    def stop_probe(self) -> None:
        """Asks a probe or a search to stop after its micro-batch."""
        self._prober.stop()

    # Training

    @property
    def snapshot(self) -> Snapshot | None:
        """The run in progress, or the last one; None when there never was one."""
        return self._training.snapshot

    @property
    def is_training(self) -> bool:
        """Whether a run of this program is in progress."""
        return self._training.is_training

    @property
    def trouble(self) -> str:
        """Why the run's history cannot be written; empty when it can."""
        return self._training.trouble

    @property
    def failure(self) -> Problem | None:
        """What ended the last run, if it failed."""
        return self._training.failure

    def start(
        self, config: RunConfig, name: str = "", token: Token = None, made: Run | None = None, preset: str = ""
    ) -> Run:
        """Starts a run in the background, in the folder that was `made` for it if there is one.

        Without a `name` it gets one that is made from its settings. `preset` is what they were taken from. Raises Busy
        and RunError; later faults end the run as failed.
        """
        return self._training.start(config, name, token, made, preset)

    def resume(self, run_id: str, token: Token = None) -> Run:
        """Continues a run that ended early, from its newest checkpoint, or from its beginning if it has none.

        Raises Busy and RunError; later faults end the run as failed.
        """
        return self._training.resume(run_id, token)

    @property
    def start_waits_for(self) -> str:
        """Why no run can be started now, as `busy_with`; empty when one can."""
        return self.desk.doing

    def stop(self) -> bool:
        """Asks the run to stop after its micro-batch; False when no run is in progress."""
        return self._training.stop()

    def wait(self, timeout: float | None = None) -> Snapshot | None:
        """Waits until the run is over, for `timeout` seconds at most. Returns the snapshot."""
        return self._training.wait(timeout)


def _start_libraries() -> tuple[Machine, str]:
    start_unsloth()
    return detect_machine(), unused_card()  # once torch is imported, of all cards the one that it uses


def _could_not_start(reason: str) -> Problem:
    return ModelError("Unsloth could not be started: {reason}.", reason=reason)
