"""How many optimizer steps a run takes, and whether its learning rate has the time to rise."""

from math import ceil

from core.problems import ConfigError, tr, trn
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


def share_of_epoch(share: float, rows: int, training: TrainingConfig) -> int:
    """How many steps are nearest to this share of an epoch, at least 1."""
    return max(round(share * steps_per_epoch(rows, training)), 1)


def in_whole_steps(config: RunConfig, rows: int) -> tuple[RunConfig, dict[str, str]]:
    """A copy in which `eval_steps` and `save_steps` are numbers of steps, and for each that was a share of an epoch a
    few words on what it is a share of.

    transformers takes numbers below 1 for shares of the whole run, so it must not get them. The batch size must be a
    number by now.
    """
    training, steps = config.training, {}
    for name in ("eval_steps", "save_steps"):
        if 0 < (share := getattr(training, name)) < 1:
            steps[name] = share_of_epoch(share, rows, training)
    per_epoch = steps_per_epoch(rows, training)
    reason = trn("an epoch has {count:,} step", "an epoch has {count:,} steps", per_epoch)
    return config.model_copy(update={"training": training.model_copy(update=steps)}), dict.fromkeys(steps, reason)


def warmup_of(training: TrainingConfig, steps: int) -> int:
    """Over how many of the steps the learning rate rises, as `TrainingArguments.get_warmup_steps` counts them."""
    if training.lr_scheduler_type == "constant":
        return 0
    asked = training.warmup_steps
    return int(asked) if asked >= 1 else ceil(steps * asked)


def warmup_warning(training: TrainingConfig, steps: int) -> str:
    """A sentence if the run is over before the learning rate is reached; empty if not, or if `steps` is 0 (unknown).

    The rate of step n, counted from 0, is n / warm-up (transformers, optimization.py).
    """
    warmup = warmup_of(training, steps)
    if not 0 < steps <= warmup:
        return ""
    if steps == 1:
        return tr(
            "The only step of this run is a warm-up step with a learning rate of 0, so nothing is learned: set Warm-up "
            "to 0 (training.warmup_steps=0), or take more steps."
        )
    return tr(
        "The warm-up takes {warmup:,} steps and the run only {steps:,}, so the learning rate rises to {share:.0%} of "
        "its value and no further: shorten Warm-up (training.warmup_steps), or take more steps.",
        warmup=warmup,
        steps=steps,
        share=(steps - 1) / warmup,
    )


def check_schedule(training: TrainingConfig, steps: int) -> None:
    """Raises ConfigError for a schedule that fails: transformers' polynomial one divides by the steps after warm-up."""
    if training.lr_scheduler_type == "polynomial" and steps == warmup_of(training, steps) > 0:
        raise ConfigError(
            "The polynomial schedule needs steps after the warm-up, and all {steps:,} are warm-up: shorten Warm-up "
            "(training.warmup_steps), take more steps, or choose another schedule.",
            steps=steps,
        )
