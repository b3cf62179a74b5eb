"""How many optimizer steps a run takes."""

from math import ceil

from core.settings.run_config import RunConfig
from core.settings.training_section import TrainingConfig


def steps_per_epoch(rows: int, training: TrainingConfig) -> int:
    """Optimizer steps per epoch, counted as transformers' Trainer does; an incomplete last step counts.

    The Trainer rounds up batches and then steps. Rounding up once gives the same, so the batch size need not be known.
    """
    return max(ceil(rows / training.effective_batch), 1)


def steps_of(config: RunConfig, rows: int | None) -> int:
    """Optimizer steps of a run, as transformers' Trainer counts them; 0 if it runs by epochs and `rows` is unknown."""
    training = config.training
    if training.max_steps > 0:
        return training.max_steps
    return ceil(training.num_train_epochs * steps_per_epoch(rows, training)) if rows else 0
