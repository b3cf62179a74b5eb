"""A probe: a real step of training at its largest, measured and undone. Knows nothing of threads, files or gradio.

`measure` runs two optimizer steps of Unsloth's trainer, built as a run builds it, on made-up rows that are as long as
any that the run can meet, and puts back whatever that changed: a run after it is bit for bit the run without it.
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
from core.memory.hardware import GIB, MemoryMonitor
from core.model.device_memory import free_memory
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth
from core.settings.run_config import RunConfig
from core.stopping import ShouldStop, leave_if
from core.training.checkpoint_files import RandomState
from core.training.trainer import build_trainer, take_apart

STEPS = 2  # the first compiles kernels, fills caches and makes the optimizer's states; the second is timed
WATCHED = 0.02  # seconds between two looks at a processor's memory, whose peaks nobody else keeps


class Measured(BaseModel, frozen=True):
    """`peak_gib` as `Estimate.comparable_gib` counts: reserved by torch on a GPU, resident on a processor.

    `seconds_per_step` are those of a whole optimizer step on rows of `length` tokens; a run of shorter rows is faster.
    """

    peak_gib: float
    seconds_per_step: float
    length: int


@dataclass(frozen=True)
class MadeUpRows:
    """`count` rows of `length` random tokens, all of them trained on: what the trainer needs of PreparedData."""

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
    """What a step takes with the adapter that is on the model. The batch is a number by now.

    Measured are two optimizer steps of at most two micro-batches each, with all that a run has: its adapter, its
    optimizer, its checkpointing, full rows (`full_length`). The peak is over both steps, with the optimizer's states
    there in the second. Timed is the second alone, from its first micro-batch to the end of the optimizer's part; of
    a step with more micro-batches than two, each further one counts as long as the first.

    Afterwards the adapter's weights, the generators' state and the model's hooks are as before, whatever happened, and
    nothing of the trainer is left in memory. Raises Stopped after a micro-batch, and what the libraries raise.
    """
    import torch

    unsloth = import_unsloth()
    settings, on_gpu = config.training, loaded.device.type == "cuda"
    micro_batches = min(settings.gradient_accumulation_steps, 2)
    small = {"max_steps": STEPS, "eval_steps": 0, "save_steps": 0, "report_to": "none", "num_train_epochs": 1.0}
    shared_out = config.with_batch(settings.per_device_train_batch_size, micro_batches)
    probed = shared_out.model_copy(update={"training": shared_out.training.model_copy(update=small)})
    length = full_length(loaded, config, data)
    count = STEPS * micro_batches * settings.per_device_train_batch_size
    rows = MadeUpRows(count, length, loaded.model.config.vocab_size)
    free_memory()
    with undone(loaded) as kept_gib, TemporaryDirectory(prefix="hearthtune-") as folder:
        with MemoryMonitor(lambda stats: None, 1.0 if on_gpu else WATCHED) as monitor:
            unsloth.FastLanguageModel.for_training(loaded.model)
            trainer, _ = build_trainer(loaded, probed, rows, Path(folder), None)
            watch = _stopwatch(should_stop, torch.cuda.synchronize if on_gpu else lambda: None)
            trainer.add_callback(watch)
            is_whole = False
            try:
                trainer.train()
                is_whole = True
            finally:
                take_apart(trainer, loaded)
                if on_gpu and not is_whole:
                    # Unsloth frees what its checkpointing holds, and where it is in it, only after a whole training.
                    unsloth.models.rl.reset_unsloth_gradient_checkpointing_buffers()
        peak = torch.cuda.max_memory_reserved() / GIB if on_gpu else monitor.peak_gib - kept_gib
    free_memory()
    further = max(settings.gradient_accumulation_steps - micro_batches, 0)
    return Measured(peak_gib=peak, seconds_per_step=watch.step + further * watch.micro_batch, length=length)


def full_length(loaded: LoadedModel, config: RunConfig, data: PreparedData | None) -> int:
    """Tokens of the longest sequence that a run can meet: those of the longest prepared row, else the whole length."""
    longest = loaded.report.max_seq_length
    packs = config.training.packing and loaded.device.type == "cuda"
    return longest if data is None or packs else min(longest, int(data.train.figures["kept"].max()))


@contextmanager
def undone(loaded: LoadedModel):
    """Puts back what training changes: trained weights, generators, the modules' own attributes and hooks.

    Yields the GiB that the copies take, which lie in the computer's memory in the precision that the weights came in.
    """
    import torch

    generators = RandomState()
    copies = {name: w.detach().to("cpu", copy=True) for name, w in loaded.model.named_parameters() if w.requires_grad}
    modules = [
        (module, dict(vars(module)), [(hooks, set(hooks)) for hooks in _hooks(module)])
        for module in loaded.model.modules()
    ]
    try:
        yield sum(copy.numel() * copy.element_size() for copy in copies.values()) / GIB
    finally:
        with torch.no_grad():
            for name, weight in loaded.model.named_parameters():
                if name in copies and weight.dtype == copies[name].dtype:
                    weight.copy_(copies[name])
                elif name in copies:  # the trainer gave it another precision
                    weight.data = copies[name].to(weight.device)
        for module, attributes, hooks in modules:
            # Accelerate marks a model that it has wrapped in autocast: another trainer would then do without.
            vars(module).clear()
            vars(module).update(attributes)
            for now, before in hooks:
                for key in set(now) - before:
                    del now[key]
        generators.restore()


def _hooks(module) -> tuple[dict, dict]:
    """Those with which Transformers makes embeddings pass gradients on: one more for each trainer."""
    return module._forward_hooks, module._forward_pre_hooks


def _stopwatch(should_stop: ShouldStop, wait_for_device: Callable[[], None]):
    """A trainer's callback: seconds of the newest step, `step`, and of its first micro-batch, `micro_batch`."""
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
            self.step = self._now() - self.began

        def _now(self) -> float:
            wait_for_device()
            return time.monotonic()

    return Stopwatch()
