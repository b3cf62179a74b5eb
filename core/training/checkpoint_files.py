"""Checkpoints: all that a run needs to go on as if nothing had happened, in safetensors and JSON, never in pickles.

    step-<N>/adapter_model.safetensors   the adapter, as PEFT keeps one, with its settings and the tokenizer
    step-<N>/optimizer.safetensors       the optimizer's states, each under its weight's name
    step-<N>/resume.json                 the numbers of optimizer, schedule, loss scaler and random generators
    step-<N>/trainer_state.json          the trainer's own count of steps and epochs
    step-<N>/progress.json               what the run had come to: step, losses, tokens, seconds

Knows nothing of threads, gradio or unsloth.
"""

import json
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.disk.tolerant_reading import Unreadable, read_json
from core.problems import RunError

NOT_WHOLE = (
    "The checkpoint in {folder} cannot be read: {file} is damaged; delete that folder to go on from an older one."
)
MOMENTS = (
    "exp_avg",
    "exp_avg_sq",
    "state1",
    "state2",
)  # of torch's optimizers and of bitsandbytes', one value a weight
BETWEEN = "//"  # a weight's name and the keys of its states


class RandomState:
    """The state of every generator that training draws from, at one moment: Python's, numpy's, torch's."""

    def __init__(self):
        import numpy
        import torch

        self._python = random.getstate()
        self._numpy = numpy.random.get_state()
        self._torch = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def to_json(self) -> dict[str, Any]:
        version, numbers, gauss = self._python
        kind, keys, *rest = self._numpy
        return {
            "python": [version, list(numbers), gauss],
            "numpy": [kind, keys.tolist(), *rest],
            "torch": self._torch.tolist(),
            "cuda": None if self._cuda is None else self._cuda.tolist(),
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "RandomState":
        import numpy
        import torch

        version, numbers, gauss = saved["python"]
        kind, keys, *rest = saved["numpy"]
        state = cls.__new__(cls)
        state._python = (version, tuple(numbers), gauss)
        state._numpy = (kind, numpy.array(keys, dtype=numpy.uint32), *rest)
        state._torch = torch.tensor(saved["torch"], dtype=torch.uint8)
        state._cuda = None if saved["cuda"] is None else torch.tensor(saved["cuda"], dtype=torch.uint8)
        return state

    def restore(self) -> None:
        import numpy
        import torch

        random.setstate(self._python)
        numpy.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._cuda)


def restore_random_state(folder: Path) -> None:
    """Raises RunError."""
    saved = _read(folder)
    with _whole(folder, "resume.json"):
        RandomState.from_json(saved["random"]).restore()


def write_trainer(folder: Path, trainer, random_state: RandomState, progress: dict) -> None:
    """Writes all but the adapter into `folder`. Raises OSError or SafetensorError."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    numbers: dict[str, dict] = {}
    optimizer = trainer.optimizer.state_dict()
    for index, name in enumerate(_names(trainer)):
        _flatten(name, optimizer["state"].get(index, {}), tensors, numbers)
    scaler = getattr(trainer.accelerator, "scaler", None)
    resume = {
        "optimizer": {
            "numbers": numbers,
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in optimizer["param_groups"]],
        },
        "scheduler": trainer.lr_scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "random": random_state.to_json(),
    }
    save_file(tensors, folder / "optimizer.safetensors")
    (folder / "resume.json").write_text(json.dumps(resume), encoding="utf-8")
    trainer.state.save_to_json(str(folder / "trainer_state.json"))
    (folder / "progress.json").write_text(json.dumps(progress), encoding="utf-8")


def restore_optimizer(folder: Path, trainer) -> None:
    """Optimizer and schedule as they were. Raises RunError when they belong to other weights."""
    saved = _read(folder)
    tensors = _tensors(folder / "optimizer.safetensors")
    current = trainer.optimizer.state_dict()
    names = _names(trainer)
    with _whole(folder, "resume.json"):
        numbers, groups = dict(saved["optimizer"]["numbers"]), list(saved["optimizer"]["groups"])
        saved_names = {name.partition(BETWEEN)[0] for name in (*tensors, *numbers)}
    if not saved_names <= set(names) or len(groups) != len(current["param_groups"]):
        raise RunError(
            f"The checkpoint in {folder} was made for other layers than these settings train; start a new run."
        )
    weights = dict(trainer.model.named_parameters())
    for place, tensor in tensors.items():
        name, *_, key = place.split(BETWEEN)
        # An 8-bit optimizer does not look at the size itself: it would read what lies behind in memory.
        if key in MOMENTS and tensor.numel() != weights[name].numel():
            raise RunError(NOT_WHOLE.format(folder=folder, file="optimizer.safetensors"))
    with _whole(folder, "resume.json"):
        states = _gathered(tensors, numbers)
        state = {index: states[name] for index, name in enumerate(names) if name in states}
        merged = [_like(now, then) for now, then in zip(current["param_groups"], groups, strict=True)]
        trainer.optimizer.load_state_dict({"state": state, "param_groups": merged})
        trainer.lr_scheduler.load_state_dict(saved["scheduler"])


def restore_scaler(folder: Path, trainer) -> None:
    """The loss scaler of float16, where there is one."""
    saved = _read(folder).get("scaler")
    if saved is not None and getattr(trainer.accelerator, "scaler", None) is not None:
        with _whole(folder, "resume.json"):
            trainer.accelerator.scaler.load_state_dict(saved)


def restore_adapter(folder: Path, model) -> None:
    """Copies the adapter's weights of `folder` into those of `model`, bit for bit. Raises RunError."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    weights = _tensors(folder / "adapter_model.safetensors")
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    is_same = {name: tuple(weight.shape) for name, weight in weights.items()} == {
        n: tuple(w.shape) for n, w in wanted.items()
    }
    rows = model.peft_config[
        "default"
    ].trainable_token_indices  # of as many other tokens they would have the same shape
    if not is_same or (rows and _json(folder / "adapter_config.json").get("trainable_token_indices") != rows):
        raise RunError(f"The adapter in {folder} was made for other layers than these settings train; start a new run.")
    set_peft_model_state_dict(model, weights)


def read_progress(folder: Path) -> dict:
    """What the run had come to, as `Progress.values` gives it. Raises RunError when it cannot be read."""
    progress = _json(folder / "progress.json")
    words = {"rows", "ending"}
    figures = (value for name, value in progress.items() if name not in words)
    is_whole = {"step", *words} <= progress.keys() and all(isinstance(progress[name], str) for name in words)
    if not is_whole or not all(value is None or isinstance(value, int | float) for value in figures):
        raise RunError(NOT_WHOLE.format(folder=folder, file="progress.json"))
    return progress


def is_done(folder: Path, progress: dict) -> bool:
    """Whether training had ended at this checkpoint, so that nothing is to be trained any more. Raises RunError."""
    from transformers import TrainerState

    _json(folder / "trainer_state.json")
    with _whole(folder, "trainer_state.json"):
        state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
        steps = [int(state.global_step), int(state.max_steps)]
    return bool(progress["ending"]) or steps[0] >= steps[1]


@contextmanager
def _whole(folder: Path, file: str):
    """What a file that is not whole leads to becomes RunError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError):
        raise RunError(NOT_WHOLE.format(folder=folder, file=file)) from None


def _tensors(file: Path) -> dict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError):
        raise RunError(NOT_WHOLE.format(folder=file.parent, file=file.name)) from None


def _read(folder: Path) -> dict:
    return _json(folder / "resume.json")


def _json(file: Path) -> dict:
    try:
        return read_json(file)
    except Unreadable:
        raise RunError(NOT_WHOLE.format(folder=file.parent, file=file.name)) from None


def _names(trainer) -> list[str]:
    """The trained weights' names in the order of the optimizer's groups."""
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    return [names[id(weight)] for group in trainer.optimizer.param_groups for weight in group["params"]]


def _like(now: dict, then: dict) -> dict:
    """A group's numbers as they were, with JSON's lists as the tuples that they were before."""
    return now | {key: tuple(value) if isinstance(now.get(key), tuple) else value for key, value in then.items()}


def _flatten(name: str, state: dict, tensors: dict, numbers: dict) -> None:
    """A weight's state, which may be nested, as tensors under "<weight>//<key>//<key>" and plain values."""
    import torch

    for key, value in state.items():
        place = f"{name}{BETWEEN}{key}"
        if isinstance(value, dict):
            _flatten(place, value, tensors, numbers)
        elif isinstance(value, torch.Tensor):
            tensors[place] = value.detach().cpu().contiguous().clone()
        else:
            numbers[place] = value


def _gathered(tensors: dict, numbers: dict) -> dict[str, dict]:
    """The inverse of `_flatten`: each weight's state by its name."""
    states: dict[str, dict] = {}
    for place, value in (*tensors.items(), *numbers.items()):
        weight, *keys, last = place.split(BETWEEN)
        inner = states.setdefault(weight, {})
        for key in keys:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return states
