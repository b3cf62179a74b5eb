"""TensorBoard, Trackio and Weights & Biases, through the trainer's own integrations."""

import os
import sys
from importlib.util import find_spec

from core.problems import TrainingError, mark

NOT_INSTALLED = mark("The tracker {name} is not installed: run pip install {name}, or choose none on the Train tab.")
NO_WANDB_ACCOUNT = mark("Weights & Biases needs an account: run wandb login first, or set WANDB_MODE=offline.")


def check_tracker(name: str) -> None:
    """Raises TrainingError if the tracker cannot be used. Call it before anything is loaded."""
    if name == "none":
        return
    if find_spec(name) is None:
        raise TrainingError(NOT_INSTALLED, name=name)
    if name == "wandb" and os.environ.get("WANDB_MODE", "online") == "online":
        import wandb

        if wandb.api.api_key is None:  # wandb would prompt for it on a terminal that nobody sees
            raise TrainingError(NO_WANDB_ACCOUNT)


def end_tracker() -> None:
    """Closes the record that the trainer's integration leaves open, so that the next run gets a new one."""
    if (wandb := sys.modules.get("wandb")) and wandb.run is not None:
        wandb.finish()
