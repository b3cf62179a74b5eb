"""Probes: load what they need, show how far they are, and keep what they measured.

Afterwards the model is still loaded, with an adapter on it into which nothing was trained: a run with the same settings
starts on it as on a new one. No model stays loaded where the adapter was one to continue from or trains single rows of
the embeddings, because no other run can start on that, nor after a failure that was not the rows' fault.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from core.data.prepared.prepared_data import PreparedData
from core.hub_names import Token
from core.memory.model_shape import shape_of
from core.memory.probe_log import measured_here
from core.memory.probe_record import ProbeRecord, memory_settings
from core.model.loaded_model import LoadedModel
from core.problems import DataError, Problem, TrainingError, tr
from core.runs.adapter_to_continue import find_adapter
from core.settings.run_config import RunConfig
from core.training.largest_batch import BatchFound, Tried, find_batch, measure_if_it_fits, words_of_trying
from core.training.out_of_memory import out_of_memory_error
from core.training.run_job import begin_adapter, memory_in_words, rows_decide
from core.training.step_probe import Measured
from core.workbench.background_job import BackgroundJob
from core.workbench.desk import PROBING, Desk
from core.workbench.model_slot import ModelSlot
from core.workbench.rows_of_the_form import Preparation

T = TypeVar("T")
_ANY_BATCH = {"training.per_device_train_batch_size": "any", "training.gradient_accumulation_steps > 1": "any"}


@dataclass(frozen=True)
class Probing:
    """A probe, or a search for the largest batch: `doing` while it runs, then what it found.

    `tried` are batches with their peaks in GiB, None for one that did not fit. `error` and `note` are sentences.
    `asked` are the settings that it was for.
    """

    doing: str = ""
    tried: Tried = ()
    error: str = ""
    note: str = ""
    record: ProbeRecord | None = None
    found: BatchFound | None = None
    asked: RunConfig | None = None

    def is_of(self, config: RunConfig) -> bool:
        """Whether these settings would measure the same. A search is for all batch sizes."""
        if self.asked is None:
            return True
        ours, theirs = ((one.model.base, memory_settings(one)) for one in (config, self.asked))
        if self.found is not None or self.asked.training.per_device_train_batch_size == "auto":
            ours, theirs = ((base, {**rest, **_ANY_BATCH}) for base, rest in (ours, theirs))
        return ours == theirs


class Prober:
    """`state` is replaced, never changed."""

    def __init__(self, runs_dir: Path, slot: ModelSlot, preparation: Preparation, desk: Desk):
        self._runs_dir, self._slot, self._preparation, self._desk = runs_dir, slot, preparation, desk
        self._job = BackgroundJob("probing", Probing(), _failed)
        self._has_begun = False  # whether it works on the model by now, so that a failure costs the model

    @property
    def state(self) -> Probing:
        return self._job.state

    def probe(self, config: RunConfig, token: Token = None) -> ProbeRecord:
        """Takes real steps with these settings, measures and undoes them. With an automatic batch size it returns
        the probe of the largest batch that fits.

        Raises Busy, ModelError, DataError, RunError, TrainingError (also when memory runs out) and Stopped.
        """
        if config.training.per_device_train_batch_size == "auto":
            found = self.find_batch(config, token)
            return self.state.record or self.probe(config.with_batch(found.batch, found.accumulation), token)
        return self._alone(lambda: self._probe(config, token), config, token)

    def find_batch(self, config: RunConfig, token: Token = None) -> BatchFound:
        """Finds the largest batch that leaves the settings' headroom free, with as many rows in a step as before.

        `state.record` is then the probe of that batch. Raises as `probe` does.
        """
        return self._alone(lambda: self._find(config, token), config, token)

    def stop(self) -> None:
        """Asks the probe to stop after its micro-batch."""
        self._job.stop()

    def _alone(self, work: Callable[[], T], config: RunConfig, token: Token) -> T:
        with self._desk.taken(PROBING):
            self._has_begun = False
            self._job.state = Probing(doing=tr("Getting ready"))
            outcome = self._job.run(work, token)
            outcome.print_unexpected()
            if outcome.was_stopped or outcome.problem:
                self._job.state = replace(self.state, doing="", error=str(outcome.problem or ""))
            self._job.state = replace(self.state, asked=config)
            # Rows at fault do the model no harm.
            if self._has_begun and outcome.problem and not isinstance(outcome.problem, DataError):
                self._slot.let_go()
            self._slot.let_go_of_unclaimed()
            return outcome.unwrap()

    def _probe(self, config: RunConfig, token: Token) -> ProbeRecord:
        loaded, data = self._ready(config, token)
        self._job.state = Probing(doing=tr("Taking two steps on rows of the full length"))
        measured = measure_if_it_fits(loaded, config, data, self._job.should_stop)
        if measured is None:
            raise out_of_memory_error(loaded, config, data)
        record, note = self._kept(config, measured, data)
        self._job.state = Probing(record=record, note=note)
        return record

    def _find(self, config: RunConfig, token: Token) -> BatchFound:
        loaded, data = self._ready(config, token)
        records: dict[int, tuple[ProbeRecord, str]] = {}

        def trying(batch: int, tried: Tried) -> None:
            self._job.state = Probing(doing=words_of_trying(batch), tried=tried)

        def measured(sized: RunConfig, found: Measured) -> None:
            records[sized.training.per_device_train_batch_size] = self._kept(sized, found, data)

        found = find_batch(loaded, config, data, self._job.should_stop, trying, measured)
        record, note = records[found.batch]
        self._job.state = Probing(tried=found.tried, record=record, note=note, found=found)
        return found

    def _ready(self, config: RunConfig, token: Token) -> tuple[LoadedModel, PreparedData | None]:
        """The model with a new adapter on it, and its rows if they were prepared before, or decide on the adapter."""
        self._job.state = Probing(doing=tr("Loading the model"))
        shape_of(config.model, token)  # fails for what is not a Llama, as there is no estimate to compare a probe with
        loaded = self._slot.ready_for(config)
        if loaded is None:
            checkpointing, wanted = config.training.use_gradient_checkpointing, config.adapter.continue_from
            adapter_dir = find_adapter(self._runs_dir, wanted) if wanted else None
            loaded = self._slot.load(
                config.model, token, adapter_dir, self._job.should_stop, use_gradient_checkpointing=checkpointing
            )
        self._has_begun = True
        data = self._preparation.at_hand(config, loaded)
        if not loaded.has_adapter:
            if data is None and rows_decide(config):
                self._job.state = Probing(doing=tr("Reading the rows"))
                data = self._preparation.prepare(config, loaded, token, self._job.should_stop)
            with memory_in_words(loaded, config, data):
                begin_adapter(loaded, config, data)
        # Any run of these settings can use a fresh adapter, but not one that another run left, or one whose trained
        # tokens are those of these rows.
        if config.adapter.continue_from or config.adapter.trains_rows:
            self._slot.has_unclaimed_adapter()
        else:
            self._slot.has_fresh_adapter(config)
        return loaded, data

    def _kept(self, config: RunConfig, measured: Measured, data: PreparedData | None) -> tuple[ProbeRecord, str]:
        rows = len(data.train) if data else None
        return measured_here(self._runs_dir, config, rows=rows, **measured.model_dump())


def _failed(reason: str) -> Problem:
    return TrainingError("The probe failed: {reason}.", reason=reason)
