"""TensorBoard, Trackio and Weights & Biases, through the trainer's own integrations. Knows nothing of gradio."""

import os
import sys
from importlib.util import find_spec

from core.problems import TrainingError


def check_tracker(name: str) -> None:
    """Raises TrainingError when the tracker cannot be used, before anything is loaded for it."""
    if name == "none":
        return
    if find_spec(name) is None:
        raise TrainingError(
            f"The tracker {name} is not installed: pip install {name}, or choose none on the Train tab."
        )
    if name == "wandb" and os.environ.get("WANDB_MODE", "online") == "online":
        import wandb

        if wandb.api.api_key is None:  # it would ask on a terminal that nobody looks at
            raise TrainingError("Weights & Biases wants an account: run wandb login first, or set WANDB_MODE=offline.")


def end_tracker() -> None:
    """Ends the record that the trainer's integration leaves open, so that the next run gets one of its own."""
    if (wandb := sys.modules.get("wandb")) and wandb.run is not None:
        wandb.finish()
