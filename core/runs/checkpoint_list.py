"""Which checkpoints a run has on disk."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.disk.tolerant_reading import Unreadable, read_json


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint in `folder`. `eval_loss` is the validation loss at its step, None if it was not checked."""

    folder: Path
    step: int
    eval_loss: float | None = None


def list_checkpoints(folder: Path) -> list[Checkpoint]:
    """The complete checkpoints in a run's checkpoints folder, by step. Other folders are skipped."""
    found = []
    for place in folder.glob("step-*"):
        with suppress(Unreadable):
            progress = read_json(place / "progress.json")
            step, loss = progress.get("step"), progress.get("eval_loss")
            # A renamed folder would otherwise be found under the wrong step.
            if type(step) is int and place.name == f"step-{step}":
                found.append(Checkpoint(place, step, loss if isinstance(loss, float) else None))
    return sorted(found, key=lambda checkpoint: checkpoint.step)
