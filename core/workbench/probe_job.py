"""Probes at a person's wish: load what they need, say how they go, keep what they measured. Knows nothing of gradio.

What computes here does so under the workbench's lock, which is lent as `take` and `release`. Afterwards the model is
still loaded, with an adapter on it that nothing was trained into: a run of the same settings begins on it as on a new one.
No model is loaded any more where the adapter was one to go on from or has single rows of the embeddings, as no other run
can begin on that, and after a fault that was not in the rows.
"""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from core.data.prepared.prepared_data import PreparedData
from core.fresh_thread import in_own_thread
from core.memory.model_shape import shape_of
from core.memory.probe_log import measured_here
from core.memory.probe_record import ProbeRecord
from core.model.loaded_model import LoadedModel
from core.problems import DataError, Problem, TrainingError, first_line
from core.runs.run_folder import find_adapter
from core.settings.run_config import RunConfig
from core.stopping import Stopped
from core.training.largest_batch import BatchFound, Tried, find_batch, measure_if_it_fits, words_of_trying
from core.training.out_of_memory import out_of_memory_error
from core.training.run_job import begin_adapter, memory_in_words, rows_decide
from core.training.step_probe import Measured
from core.workbench.model_slot import ModelSlot
from core.workbench.rows_of_the_form import Preparation

PROBING = "a probe is going on"
T = TypeVar("T")


@dataclass(frozen=True)
class Probing:
    """A probe, or a search for the largest batch, as the page shows it: `doing` while it goes on, then what it came to.

    `tried` are batches with their peaks in GiB, None where it did not fit. `error` and `note` are sentences.
    """

    doing: str = ""
    tried: Tried = ()
    error: str = ""
    note: str = ""
    record: ProbeRecord | None = None
    found: BatchFound | None = None


class Prober:
    """`state` is replaced, never changed. `take(doing)` has the model to oneself or raises Busy; `release()` ends that."""

    def __init__(
        self,
        runs_dir: Path,
        slot: ModelSlot,
        preparation: Preparation,
        take: Callable[[str], None],
        release: Callable[[], None],
    ):
        self.state = Probing()
        self._runs_dir, self._slot, self._preparation = runs_dir, slot, preparation
        self._take, self._release = take, release
        self._stop = threading.Event()
        self._has_begun = False  # whether the model is the probe's by now: what goes wrong then costs it

    def probe(self, config: RunConfig, token: str | None = None) -> ProbeRecord:
        """A real step of these settings, measured and undone. With an automatic batch that of the largest that fits.

        Raises Busy, ModelError, DataError, RunError, TrainingError (memory that runs out too) and Stopped.
        """
        if config.training.per_device_train_batch_size == "auto":
            found = self.find_batch(config, token)
            return self.state.record or self.probe(config.with_batch(found.batch, found.accumulation), token)
        return self._alone(lambda: self._probe(config, token))

    def find_batch(self, config: RunConfig, token: str | None = None) -> BatchFound:
        """The largest batch that leaves the settings' headroom free, with as many rows in a step as before.

        `state.record` is then the probe of that batch. Raises as `probe` does.
        """
        return self._alone(lambda: self._find(config, token))

    def stop(self) -> None:
        """Asks for a stop after the micro-batch that is going on."""
        self._stop.set()

    def _alone(self, work: Callable[[], T]) -> T:
        self._take(PROBING)
        try:
            self._stop.clear()
            self._has_begun = False
            self.state = Probing(doing="Getting ready")
            try:
                return in_own_thread(work)
            except Exception as error:
                said = error
                if not isinstance(error, Problem | Stopped):
                    said = TrainingError(f"The probe failed: {first_line(error)}.")
                    traceback.print_exc()
                # The frames hold the model and the optimizer; without them their memory can be freed.
                error.with_traceback(None)
                error.__context__ = error.__cause__ = None
            self.state = replace(self.state, doing="", error="" if isinstance(said, Stopped) else str(said))
            if self._has_begun and not isinstance(said, Stopped | DataError):  # rows at fault do the model no harm
                self._slot.let_go()
            raise said
        finally:
            self._slot.let_go_of_an_unknown()
            self._release()

    def _probe(self, config: RunConfig, token: str | None) -> ProbeRecord:
        loaded, data = self._ready(config, token)
        self.state = Probing(doing="Two steps on rows of full length")
        measured = measure_if_it_fits(loaded, config, data, self._stop.is_set)
        if measured is None:
            raise out_of_memory_error(loaded, config, data)
        record, note = self._kept(config, measured, data)
        self.state = Probing(record=record, note=note)
        return record

    def _find(self, config: RunConfig, token: str | None) -> BatchFound:
        loaded, data = self._ready(config, token)
        records: dict[int, tuple[ProbeRecord, str]] = {}

        def trying(batch: int, tried: Tried) -> None:
            self.state = Probing(doing=words_of_trying(batch), tried=tried)

        def measured(sized: RunConfig, found: Measured) -> None:
            records[sized.training.per_device_train_batch_size] = self._kept(sized, found, data)

        found = find_batch(loaded, config, data, self._stop.is_set, trying, measured)
        record, note = records[found.batch]
        self.state = Probing(tried=found.tried, record=record, note=note, found=found)
        return found

    def _ready(self, config: RunConfig, token: str | None) -> tuple[LoadedModel, PreparedData | None]:
        """The model with a new adapter on it, and its rows where they were prepared before, or decide on the adapter."""
        self.state = Probing(doing="Loading the model")
        shape_of(config.model, token)  # of what is no Llama there is no estimate to set beside a probe
        loaded = self._slot.ready_for(config)
        if loaded is None:
            checkpointing, wanted = config.training.use_gradient_checkpointing, config.adapter.continue_from
            adapter_dir = find_adapter(self._runs_dir, wanted) if wanted else None
            loaded = self._slot.load(
                config.model, token, adapter_dir, self._stop.is_set, use_gradient_checkpointing=checkpointing
            )
        self._has_begun = True
        data = self._preparation.at_hand(config, loaded)
        if not loaded.has_adapter:
            if data is None and rows_decide(config):
                self.state = Probing(doing="Reading the rows")
                data = self._preparation.prepare(config, loaded, token, self._stop.is_set)
            with memory_in_words(loaded, config, data):
                begin_adapter(loaded, config, data)
        # A new adapter is as good as another; one that a run left, or one of the rows' own tokens, is not.
        if not config.adapter.continue_from and not config.adapter.trains_rows:
            self._slot.show_untouched(config)
        return loaded, data

    def _kept(self, config: RunConfig, measured: Measured, data: PreparedData | None) -> tuple[ProbeRecord, str]:
        rows = len(data.train) if data else None
        return measured_here(self._runs_dir, config, rows=rows, **measured.model_dump())
