"""The checkpoints that stand on disk. Knows nothing of what is in them, of runs, torch or gradio."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.disk.tolerant_reading import Unreadable, read_json


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint in `folder`; `eval_loss` is that of its step, None when that was not checked."""

    folder: Path
    step: int
    eval_loss: float | None = None


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The whole checkpoints in a run's folder of them, by step. What is no checkpoint is passed over."""
    found = []
    for place in folder.glob("step-*"):
        with suppress(Unreadable):
            progress = read_json(place / "progress.json")
            step, loss = progress.get("step"), progress.get("eval_loss")
            # The folder's name is compared, so that what is asked for by a step is the checkpoint of that step.
            if type(step) is int and place.name == f"step-{step}":
                found.append(Checkpoint(place, step, loss if isinstance(loss, float) else None))
    return sorted(found, key=lambda checkpoint: checkpoint.step)
