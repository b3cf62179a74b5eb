"""A probe: measures real training steps at their largest, then undoes them.

`measure` runs two optimizer steps of Unsloth's trainer, built the way a run builds it, on made-up rows as long as the
longest of the run. Then it restores everything it changed: a run after a probe is bit-equal to one without it.
"""

import random
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from core.data.prepared.prepared_data import PreparedData
from core.disk.sizes import GIB
from core.memory.hardware import MemoryMonitor
from core.model.device_memory import free_memory
from core.model.library_patches.model_parts import reset_offloading_buffers
from core.model.library_patches.trainer_parts import modules_restored
from core.model.loaded_model import LoadedModel
from core.settings.run_config import RunConfig
from core.threads import ShouldStop, leave_if
from core.training.checkpoint_files import RandomState
from core.training.trainer import build_trainer, take_apart

STEPS = 2  # the first compiles kernels, fills caches and creates the optimizer's states; the second is timed
SECONDS_BETWEEN_SAMPLES_CPU = 0.02  # nothing records the peak of the process, so its memory is sampled often
SECONDS_BETWEEN_SAMPLES_GPU = 1.0  # torch records the peak itself
MAX_MICRO_BATCHES = 2  # per step; further ones need no more memory and take as long as the first


class Measured(BaseModel, frozen=True):
    """`peak_gib` counts like `Estimate.comparable_gib`: memory reserved by torch on a GPU, resident memory on a CPU.

    `seconds_per_step` is the time of a whole optimizer step on rows of `length` tokens; with shorter rows a run is
    faster.
    """

    peak_gib: float
    seconds_per_step: float
    length: int


@dataclass(frozen=True)
class MadeUpRows:
    """`count` rows of `length` random tokens, all trained on. It has the part of PreparedData that the trainer uses."""

    count: int
    length: int
    vocabulary: int
    validation: tuple = ()

    @property
    def train(self) -> "MadeUpRows":
        return self

    def as_dataset(self):
        import datasets

        draw = random.Random(self.length)
        rows = [[draw.randrange(self.vocabulary) for _ in range(self.length)] for _ in range(self.count)]
        return datasets.Dataset.from_dict({"input_ids": rows, "labels": rows})


def measure(
    loaded: LoadedModel, config: RunConfig, data: PreparedData | None = None, should_stop: ShouldStop = lambda: False
) -> Measured:
    """What a step needs with the adapter that is on the model. The batch size must be a number by now.

    It runs two optimizer steps of at most two micro-batches each, with everything a run has: its adapter, its
    optimizer, its checkpointing, full rows (`full_length`). The peak is that of both steps; in the second, the
    optimizer's states exist. Only the second step is timed, from its first micro-batch to the end of the optimizer's
    part. If a step has more than two micro-batches, each further one is assumed to take as long as the first.

    Whatever happens, afterwards the adapter's weights, the random generators and the model's hooks are as before, and
    nothing of the trainer is left in memory. Raises Stopped after a micro-batch, and the errors of the libraries.
    """
    import torch

    on_gpu = loaded.device.type == "cuda"
    probed = _settings_of_probe(config)
    length = full_length(loaded, config, data)
    count = STEPS * probed.training.gradient_accumulation_steps * probed.training.per_device_train_batch_size
    rows = MadeUpRows(count, length, loaded.model.config.vocab_size)
    stopwatch = _stopwatch(should_stop, torch.cuda.synchronize if on_gpu else lambda: None)
    seconds_between_samples = SECONDS_BETWEEN_SAMPLES_GPU if on_gpu else SECONDS_BETWEEN_SAMPLES_CPU
    free_memory()
    with undone(loaded) as copies_gib:
        with MemoryMonitor(lambda stats: None, seconds_between_samples) as monitor:
            _train_two_steps(loaded, probed, rows, stopwatch)
        peak = torch.cuda.max_memory_reserved() / GIB if on_gpu else monitor.peak_gib - copies_gib
    free_memory()
    further = config.training.gradient_accumulation_steps - probed.training.gradient_accumulation_steps
    return Measured(peak_gib=peak, seconds_per_step=stopwatch.step + further * stopwatch.micro_batch, length=length)


def _settings_of_probe(config: RunConfig) -> RunConfig:
    """The settings of the run, with two steps of at most two micro-batches and without checks and checkpoints."""
    micro_batches = min(config.training.gradient_accumulation_steps, MAX_MICRO_BATCHES)
    sized = config.with_batch(config.training.per_device_train_batch_size, micro_batches)
    short = {"max_steps": STEPS, "eval_steps": 0, "save_steps": 0, "report_to": "none", "num_train_epochs": 1.0}
    return sized.model_copy(update={"training": sized.training.model_copy(update=short)})


def _train_two_steps(loaded: LoadedModel, config: RunConfig, rows: MadeUpRows, stopwatch) -> None:
    with TemporaryDirectory(prefix="hearthtune-") as folder:
        trainer, _ = build_trainer(loaded, config, rows, Path(folder), None)
        trainer.add_callback(stopwatch)
        is_complete = False
        try:
            trainer.train()
            is_complete = True
        finally:
            take_apart(trainer, loaded)
            if loaded.device.type == "cuda" and not is_complete:
                reset_offloading_buffers()


def full_length(loaded: LoadedModel, config: RunConfig, data: PreparedData | None) -> int:
    """Tokens of the longest sequence of a run: the longest prepared row, or the maximum length without `data`."""
    longest = loaded.report.max_seq_length
    packs = config.training.packing and loaded.device.type == "cuda"
    return longest if data is None or packs else min(longest, int(data.train.figures["kept"].max()))


@contextmanager
def undone(loaded: LoadedModel):
    """Restores what training changes: trained weights, random generators, the modules' attributes and hooks.

    Yields the size of the copies in GiB. They are in the computer's memory, in the precision that the weights had.
    """
    import torch

    generators = RandomState()
    copies = {name: w.detach().to("cpu", copy=True) for name, w in loaded.model.named_parameters() if w.requires_grad}
    try:
        with modules_restored(loaded.model):
            yield sum(copy.numel() * copy.element_size() for copy in copies.values()) / GIB
    finally:
        with torch.no_grad():
            for name, weight in loaded.model.named_parameters():
                if name in copies and weight.dtype == copies[name].dtype:
                    weight.copy_(copies[name])
                elif name in copies:  # the trainer changed its precision
                    weight.data = copies[name].to(weight.device)
        generators.restore()


def _stopwatch(should_stop: ShouldStop, wait_for_device: Callable[[], None]):
    """A callback for the trainer. It has the seconds of the latest `step` and of its first `micro_batch`."""
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        began = step = micro_batch = 0.0

        def on_step_begin(self, args, state, control, **kwargs):
            leave_if(should_stop)
            self.began, self.micro_batch = self._now(), 0.0

        def on_substep_end(self, args, state, control, **kwargs):
            leave_if(should_stop)
            self.micro_batch = self.micro_batch or self._now() - self.began

        def on_step_end(self, args, state, control, **kwargs):
            leave_if(should_stop)  # also after the last micro-batch: whoever has stopped a probe wants no result
            self.step = self._now() - self.began

        def _now(self) -> float:
            wait_for_device()
            return time.monotonic()

    return Stopwatch()
