"""Saves a run's checkpoints, and keeps the newest few and the best one.

While the disk is full the run waits for space instead of ending.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from core.disk.atomic import is_disk_full, put_in_place, remove_all_but, write_whole
from core.problems import TrainingError, mark, tr
from core.runs.checkpoint_list import Checkpoint, list_checkpoints
from core.runs.events import CheckpointSaved, Event, StatusChanged
from core.threads import ShouldStop, leave_if
from core.training.checkpoint_files import RandomState, write_trainer

SECONDS_BETWEEN_TRIES = 2.0
SECONDS_BETWEEN_LOOKS = 0.05  # for a request to stop while it waits
WEIGHTS_NOT_FINITE = mark(
    "The trained weights contain values that are NaN or infinite at step {step:,}: lower the learning rates or "
    "lengthen the warm-up."
)
PAUSED = mark("Paused: the disk is full. Free some space for {folder} and the run continues by itself.")


class Keeper:
    """Keeps the newest `limit` checkpoints in `folder`, and the one with the lowest validation loss.

    `paused` counts the seconds that the run has waited for disk space.
    """

    def __init__(self, folder: Path, limit: int, emit: Callable[[Event], None], should_stop: ShouldStop):
        self.folder = folder
        self.paused = 0.0
        self._limit, self._emit, self._should_stop = limit, emit, should_stop

    def save(self, trainer, write_adapter: Callable[[Path], None], random_state: RandomState, progress: dict) -> None:
        """Saves the trainer's state after step `progress["step"]`, and removes the checkpoints not kept any longer.

        Raises Stopped if the disk is full and a stop is requested, TrainingError if a trained weight is not finite.
        """
        step = progress["step"]
        folder = self.folder / f"step-{step}"
        if folder in {checkpoint.folder for checkpoint in list_checkpoints(self.folder)}:
            self.retry_while_full(lambda: write_whole(folder / "progress.json", json.dumps(progress)))
        else:
            check_finite(trainer.model, step)

            def write(aside: Path) -> None:
                write_adapter(aside)
                write_trainer(aside, trainer, random_state, progress)

            self.retry_while_full(lambda: put_in_place(folder, write))
        found = list_checkpoints(self.folder)
        kept = found[-self._limit :]
        if (best := self.best()) and best not in kept:
            kept = [best, *kept]
        remove_all_but([c.folder for c in found], {c.folder for c in kept})
        self._emit(CheckpointSaved(step=step, kept=tuple(c.step for c in list_checkpoints(self.folder))))

    def newest(self) -> Checkpoint | None:
        return next(reversed(list_checkpoints(self.folder)), None)

    def best(self) -> Checkpoint | None:
        """The checkpoint with the lowest validation loss, the earliest of equal ones; None without any loss."""
        checked = [checkpoint for checkpoint in list_checkpoints(self.folder) if checkpoint.eval_loss is not None]
        return min(checked, key=lambda checkpoint: checkpoint.eval_loss, default=None)

    def retry_while_full(self, write: Callable[[], None]) -> None:
        """Calls `write`, again and again while the disk is full, and emits that it waits. Raises Stopped."""
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
                    message = tr(PAUSED, folder=self.folder.parent)
                    self._emit(StatusChanged(status="training", message=message, is_paused=True))
                self._wait()
        finally:
            if began is not None:
                self.paused += time.monotonic() - began
                self._emit(StatusChanged(status="training", message=""))

    def _wait(self) -> None:
        until = time.monotonic() + SECONDS_BETWEEN_TRIES
        while time.monotonic() < until:
            leave_if(self._should_stop)
            time.sleep(SECONDS_BETWEEN_LOOKS)


def is_finite(model) -> bool:
    """Whether all trained weights are finite."""
    import torch

    with torch.no_grad():
        return all(bool(torch.isfinite(weight).all()) for weight in model.parameters() if weight.requires_grad)


def check_finite(model, step: int) -> None:
    """Raises TrainingError if a trained weight is NaN or infinite: such a checkpoint would be useless."""
    if not is_finite(model):
        raise TrainingError(WEIGHTS_NOT_FINITE, step=step)
