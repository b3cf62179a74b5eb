"""The files of a checkpoint: all that a run needs to continue as if it had never ended.

They are safetensors and JSON. Pickles are neither written nor read, because reading one can run code.

    step-<N>/adapter_model.safetensors   the adapter in PEFT's format, with its settings and the tokenizer
    step-<N>/optimizer.safetensors       the optimizer's states, each under the name of its weight
    step-<N>/resume.json                 the numbers of optimizer, schedule, loss scaler and random generators
    step-<N>/trainer_state.json          the trainer's own count of steps and epochs
    step-<N>/progress.json               what the run had reached: step, losses, tokens, seconds
"""

import json
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.disk.tolerant_reading import Unreadable, read_json
from core.model.library_patches.trainer_parts import loss_scaler
from core.problems import RunError, mark

DAMAGED = mark(
    "The checkpoint in {folder} cannot be read: {file} is damaged; "
    "delete that folder to resume from an older checkpoint."
)
OTHER_LAYERS = mark("The checkpoint in {folder} was made for other layers than these settings train; start a new run.")
ADAPTER_OF_OTHER_LAYERS = mark(
    "The adapter in {folder} was made for other layers than these settings train; start a new run."
)
# Names of optimizer states that have one value per weight: torch's, then bitsandbytes'.
STATES_PER_WEIGHT = ("exp_avg", "exp_avg_sq", "state1", "state2")
KEY_SEPARATOR = "//"  # between a weight's name and the keys of its states


class RandomState:
    """The state of every random generator that training uses, at one moment: Python's, numpy's, torch's."""

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
    """Sets the random generators to their state in the checkpoint. Raises RunError if it cannot be read."""
    saved = _read_resume(folder)
    with _damage_as_error(folder, "resume.json"):
        RandomState.from_json(saved["random"]).restore()


def write_trainer(folder: Path, trainer, random_state: RandomState, progress: dict) -> None:
    """Writes everything except the adapter into `folder`. Raises OSError or SafetensorError."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    numbers: dict[str, dict] = {}
    optimizer = trainer.optimizer.state_dict()
    for index, name in enumerate(_names(trainer)):
        _flatten(name, optimizer["state"].get(index, {}), tensors, numbers)
    scaler = loss_scaler(trainer)
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
    """Restores optimizer and schedule. Raises RunError if they belong to other weights or cannot be read."""
    saved = _read_resume(folder)
    tensors = _read_tensors(folder / "optimizer.safetensors")
    current = trainer.optimizer.state_dict()
    names = _names(trainer)
    with _damage_as_error(folder, "resume.json"):
        numbers, groups = dict(saved["optimizer"]["numbers"]), list(saved["optimizer"]["groups"])
        saved_names = {name.partition(KEY_SEPARATOR)[0] for name in (*tensors, *numbers)}
    if not saved_names <= set(names) or len(groups) != len(current["param_groups"]):
        raise RunError(OTHER_LAYERS, folder=folder)
    weights = dict(trainer.model.named_parameters())
    for place, tensor in tensors.items():
        name, *_, key = place.split(KEY_SEPARATOR)
        # An 8-bit optimizer does not check the size itself: it would read past the end of a shorter tensor.
        if key in STATES_PER_WEIGHT and tensor.numel() != weights[name].numel():
            raise RunError(DAMAGED, folder=folder, file="optimizer.safetensors")
    with _damage_as_error(folder, "resume.json"):
        states = _unflatten(tensors, numbers)
        state = {index: states[name] for index, name in enumerate(names) if name in states}
        merged = [_restored_group(now, then) for now, then in zip(current["param_groups"], groups, strict=True)]
        trainer.optimizer.load_state_dict({"state": state, "param_groups": merged})
        trainer.lr_scheduler.load_state_dict(saved["scheduler"])


def restore_scaler(folder: Path, trainer) -> None:
    """Restores the loss scaler of float16, if there is one."""
    saved, scaler = _read_resume(folder).get("scaler"), loss_scaler(trainer)
    if saved is not None and scaler is not None:
        with _damage_as_error(folder, "resume.json"):
            scaler.load_state_dict(saved)


def restore_adapter(folder: Path, model) -> None:
    """Copies the adapter's weights from `folder` into `model`, bit for bit. Raises RunError."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    weights = _read_tensors(folder / "adapter_model.safetensors")
    wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    token_ids = model.peft_config["default"].trainable_token_indices
    is_same = _shapes(weights) == _shapes(wanted)
    if is_same and token_ids:  # rows of as many other tokens would have the same shape
        is_same = _read_json(folder / "adapter_config.json").get("trainable_token_indices") == token_ids
    if not is_same:
        raise RunError(ADAPTER_OF_OTHER_LAYERS, folder=folder)
    set_peft_model_state_dict(model, weights)


def _shapes(weights: dict) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}


def read_progress(folder: Path) -> dict:
    """The content of progress.json, as `Progress.to_json` gives it. Raises RunError if it cannot be read."""
    progress = _read_json(folder / "progress.json")
    texts = {"rows", "ending"}
    numbers = (value for name, value in progress.items() if name not in texts)
    is_valid = {"step", *texts} <= progress.keys() and all(isinstance(progress[name], str) for name in texts)
    if not is_valid or not all(value is None or isinstance(value, int | float) for value in numbers):
        raise RunError(DAMAGED, folder=folder, file="progress.json")
    return progress


def is_done(folder: Path, progress: dict) -> bool:
    """Whether training had already ended at this checkpoint, so that no step is left. Raises RunError."""
    from transformers import TrainerState

    _read_json(folder / "trainer_state.json")
    with _damage_as_error(folder, "trainer_state.json"):
        state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
        steps = [int(state.global_step), int(state.max_steps)]
    return bool(progress["ending"]) or steps[0] >= steps[1]


@contextmanager
def _damage_as_error(folder: Path, file: str):
    """Turns the exceptions that damaged content leads to into a RunError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError):
        raise RunError(DAMAGED, folder=folder, file=file) from None


def _read_tensors(file: Path) -> dict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError):
        raise RunError(DAMAGED, folder=file.parent, file=file.name) from None


def _read_resume(folder: Path) -> dict:
    return _read_json(folder / "resume.json")


def _read_json(file: Path) -> dict:
    try:
        return read_json(file)
    except Unreadable:
        raise RunError(DAMAGED, folder=file.parent, file=file.name) from None


def _names(trainer) -> list[str]:
    """The names of the trained weights in the order of the optimizer's groups."""
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    return [names[id(weight)] for group in trainer.optimizer.param_groups for weight in group["params"]]


def _restored_group(now: dict, then: dict) -> dict:
    """A group's numbers as saved; what JSON made a list becomes a tuple again."""
    return now | {key: tuple(value) if isinstance(now.get(key), tuple) else value for key, value in then.items()}


def _flatten(name: str, state: dict, tensors: dict, numbers: dict) -> None:
    """Adds a weight's state, which may be nested, under "<weight>//<key>//<key>": to `tensors` or to `numbers`."""
    import torch

    for key, value in state.items():
        place = f"{name}{KEY_SEPARATOR}{key}"
        if isinstance(value, dict):
            _flatten(place, value, tensors, numbers)
        elif isinstance(value, torch.Tensor):
            tensors[place] = value.detach().cpu().contiguous().clone()
        else:
            numbers[place] = value


def _unflatten(tensors: dict, numbers: dict) -> dict[str, dict]:
    """The inverse of `_flatten`: the state of each weight by its name."""
    states: dict[str, dict] = {}
    for place, value in (*tensors.items(), *numbers.items()):
        weight, *keys, last = place.split(KEY_SEPARATOR)
        inner = states.setdefault(weight, {})
        for key in keys:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return states
