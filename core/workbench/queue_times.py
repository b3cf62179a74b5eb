"""How long the runs of a queue will take here, where that is known.

By the pace of an earlier run in the same folder whose steps are the same work, or else by a probe of these settings.
Nothing is guessed from other settings. Times are of training alone, in seconds, without loading the model and measuring
at the end.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

from core.memory.hardware import Machine
from core.memory.probe_log import exact_probe
from core.problems import RunError
from core.runs.overview import Overview
from core.runs.queue_file import Entry, Queue
from core.runs.run_list import RunList
from core.runs.snapshot import Snapshot
from core.settings.run_config import RunConfig, flatten
from core.settings.steps import steps_of

# A step takes as long whatever these are. All other settings may matter.
NO_MATTER = (
    "training.learning_rate",
    "training.embedding_learning_rate",
    "training.weight_decay",
    "training.warmup_steps",
    "training.lr_scheduler_type",
    "training.seed",
    "training.max_steps",
    "training.num_train_epochs",
    "training.early_stopping_patience",
    "training.stop_at_loss",
    "training.save_total_limit",
    "training.auto_batch_headroom",
    "adapter.lora_alpha",
    "adapter.use_rslora",
    "adapter.continue_from",
    "data.allow_left_out",
)
LEAST_STEPS = 2  # of a run that says something about the pace


class QueueTimes:
    """Estimates for the runs of a folder. Keeps the settings of runs, which do not change, and reads none twice."""

    def __init__(self, runs: RunList):
        self._runs = runs
        self._configs: dict[str, RunConfig | None] = {}

    def left(self, queue: Queue, machine: Machine, snapshot: Snapshot | None) -> dict[str, float | None]:
        """How long each entry will still take, by its id; None where that is not known. `snapshot` is that of the run
        in progress, if there is one."""
        rows = {row.id: row for row in self._runs.rows()}
        return {entry.id: self._left(entry, rows, machine, snapshot) for entry in queue.entries}

    def _left(
        self, entry: Entry, rows: Mapping[str, Overview], machine: Machine, snapshot: Snapshot | None
    ) -> float | None:
        if entry.config is None:
            return None
        if entry.run_id and snapshot is not None and snapshot.run_id == entry.run_id:
            if snapshot.has_all_steps:
                return 0.0
            if snapshot.seconds_left is not None:
                return snapshot.seconds_left
        whole = self.seconds(entry.config, machine, rows)
        row = rows.get(entry.run_id)
        if whole is None or row is None or not row.steps:
            return whole
        return whole * (1 - min(row.step / row.steps, 1))

    def seconds(self, config: RunConfig, machine: Machine, rows: Mapping[str, Overview]) -> float | None:
        """A whole run with these settings; None if that is not known."""
        work = work_of_a_step(config)
        for row in rows.values():  # the newest first
            is_alike = (row.model, row.data) == (config.model.model_name, config.data.path)
            if not is_alike or row.step < LEAST_STEPS or not row.seconds:
                continue
            like = self._config(row.id)
            if like is None or work_of_a_step(like) != work:
                continue
            if steps := _steps(config, like, row.steps):
                return row.seconds / row.step * steps
        probe, steps = exact_probe(self._runs.runs_dir, machine, config), steps_of(config, None)
        return probe.seconds_per_step * steps if probe and steps else None

    def _config(self, run_id: str) -> RunConfig | None:
        if run_id not in self._configs:
            try:
                self._configs[run_id] = self._runs.open(run_id).config()
            except RunError:  # the Runs tab says what is wrong with it
                self._configs[run_id] = None
        return self._configs[run_id]


def work_of_a_step(config: RunConfig) -> dict[str, Any]:
    """The settings on which it depends how long a step takes."""
    return {name: value for name, value in flatten(config).items() if name not in NO_MATTER}


def _steps(config: RunConfig, like: RunConfig, steps: int) -> int:
    """How many steps the run has; 0 if that is not known. `like` is a run on the same rows that has `steps`."""
    if config.training.max_steps > 0 or like.training.max_steps > 0:
        return steps_of(config, None)
    return ceil(steps / like.training.num_train_epochs * config.training.num_train_epochs)


def total(left: Mapping[str, float | None]) -> tuple[float, int]:
    """The seconds of all entries of which they are known, and of how many they are not."""
    known = [seconds for seconds in left.values() if seconds is not None]
    return sum(known), len(left) - len(known)
