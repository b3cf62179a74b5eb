"""Which checkpoints of a run there are: saved when the trainer says so, the newest few and the best one kept.

When the disk is full the run waits for room instead of ending. Knows nothing of threads, gradio or unsloth.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from core.disk.atomic import is_disk_full, put_in_place, remove_all_but, write_whole
from core.problems import TrainingError
from core.runs.checkpoint_list import Checkpoint, list_checkpoints
from core.runs.events import CheckpointSaved, Event, StatusChanged
from core.stopping import ShouldStop, leave_if
from core.training.checkpoint_files import RandomState, write_trainer

RETRY_SECONDS = 2.0


class Keeper:
    """Keeps the checkpoints in `folder`: `most` of the newest, and the one with the lowest validation loss.

    `paused` is how many seconds the run has waited for room on the disk.
    """

    def __init__(self, folder: Path, most: int, emit: Callable[[Event], None], should_stop: ShouldStop):
        self.folder = folder
        self.paused = 0.0
        self._most, self._emit, self._should_stop = most, emit, should_stop

    def save(self, trainer, write_adapter: Callable[[Path], None], random_state: RandomState, progress: dict) -> None:
        """Saves the trainer as it stands after step `progress["step"]`, and removes what is not kept any longer.

        Raises Stopped when that is wished while there is no room, and TrainingError when a trained weight is no number.
        """
        step = progress["step"]
        folder = self.folder / f"step-{step}"
        if folder in {checkpoint.folder for checkpoint in list_checkpoints(self.folder)}:
            self.patiently(lambda: write_whole(folder / "progress.json", json.dumps(progress)))
        else:
            check_finite(trainer.model, step)

            def write(aside: Path) -> None:
                write_adapter(aside)
                write_trainer(aside, trainer, random_state, progress)

            self.patiently(lambda: put_in_place(folder, write))
        found = list_checkpoints(self.folder)
        kept = found[-self._most :]
        if (best := self.best()) and best not in kept:
            kept = [best, *kept]
        remove_all_but([c.folder for c in found], {c.folder for c in kept})
        self._emit(CheckpointSaved(step=step, kept=tuple(c.step for c in list_checkpoints(self.folder))))

    def newest(self) -> Checkpoint | None:
        return next(reversed(list_checkpoints(self.folder)), None)

    def best(self) -> Checkpoint | None:
        """The one with the lowest validation loss, the first of equal ones; None when none was checked."""
        checked = [checkpoint for checkpoint in list_checkpoints(self.folder) if checkpoint.eval_loss is not None]
        return min(checked, key=lambda checkpoint: checkpoint.eval_loss, default=None)

    def patiently(self, write: Callable[[], None]) -> None:
        """Writes; while the disk is full it says so and tries again until there is room. Raises Stopped."""
        began = None
        try:
            while True:
                try:
                    return write()
                except Exception as error:
                    if not is_disk_full(error):
                        raise
                    leave_if(self._should_stop)
                if began is None:
                    began = time.monotonic()
                    words = f"Paused, because the disk that holds {self.folder.parent} is full: "
                    words += "make room, and it goes on by itself."
                    self._emit(StatusChanged(status="training", message=words, is_paused=True))
                self._wait()
        finally:
            if began is not None:
                self.paused += time.monotonic() - began
                self._emit(StatusChanged(status="training", message=""))

    def _wait(self) -> None:
        until = time.monotonic() + RETRY_SECONDS
        while time.monotonic() < until:
            leave_if(self._should_stop)
            time.sleep(0.05)


def is_finite(model) -> bool:
    """Whether all trained weights are numbers."""
    import torch

    with torch.no_grad():
        return all(bool(torch.isfinite(weight).all()) for weight in model.parameters() if weight.requires_grad)


def check_finite(model, step: int) -> None:
    """Raises TrainingError when a trained weight is no number any more: such a checkpoint would be worth nothing."""
    if not is_finite(model):
        raise TrainingError(no_number("The trained weights hold values that are no numbers", step))


def no_number(what: str, step: int) -> str:
    return f"{what} at step {step:,}: lower the learning rates or lengthen the warm-up."
