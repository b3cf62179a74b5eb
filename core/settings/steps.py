from math import ceil

from core.settings.run_config import RunConfig
from core.settings.sections import TrainingConfig


def steps_per_epoch(rows: int, training: TrainingConfig) -> int:
    """Optimizer steps in which all rows are seen once, as transformers' Trainer counts them; a rest makes a step.

    It counts batches, then steps of them: rounded up twice that is the same as once, so the batch need not be known.
    """
    return max(ceil(rows / training.effective_batch), 1)


def steps_of(config: RunConfig, rows: int | None) -> int:
    """Optimizer steps of a run as transformers' Trainer counts them; 0 when it goes by epochs of unknown length."""
    training = config.training
    if training.max_steps > 0:
        return training.max_steps
    return ceil(training.num_train_epochs * steps_per_epoch(rows, training)) if rows else 0
