"""The training section of a RunConfig: batch, learning rates, steps, checks and checkpoints."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from core.problems import ConfigError
from core.settings.part import Part


class TrainingConfig(Part):
    """How the adapter is trained: arguments of `UnslothTrainingArguments`, and Unsloth's gradient checkpointing."""

    learning_rate: float = Field(
        2e-4,
        gt=0,
        le=1.0,
        title="Learning rate",
        description="For the adapter. Too high destroys what the model knew; too low learns nothing.",
    )
    embedding_learning_rate: float = Field(
        5e-5,
        gt=0,
        le=1.0,
        title="Embedding learning rate",
        description="For the fully trained layers. Usually 2 to 10 times lower.",
    )
    per_device_train_batch_size: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        2,
        title="Batch size",
        description="Rows per forward pass; memory grows with it. auto finds the largest; Accumulation is then the "
        "rows per step.",
    )
    gradient_accumulation_steps: int = Field(
        4,
        ge=1,
        le=1024,
        title="Accumulation",
        description="Micro-batches per step. Makes the batch larger without more memory.",
    )
    auto_batch_headroom: float = Field(
        0.1,
        ge=0,
        lt=1,
        title="Headroom",
        description="Share of the memory that batch size auto, and Find the largest batch, leave free.",
    )
    num_train_epochs: float = Field(
        1.0,
        gt=0,
        le=1000,
        title="Epochs",
        description="Passes over all rows. Used when Steps is -1.",
    )
    max_steps: int = Field(
        60, ge=-1, le=10_000_000, title="Steps", description="Number of optimizer steps. -1 uses Epochs instead."
    )
    warmup_steps: float = Field(
        0.1,
        ge=0,
        le=100_000,
        title="Warm-up",
        description="Steps over which the learning rate rises. Below 1: a share of all steps.",
    )
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"
    ] = Field("linear", title="Schedule", description="How the learning rate falls after the warm-up.")
    num_cycles: int = Field(
        2,
        ge=1,
        le=1000,
        title="Cycles",
        description="How many times cosine_with_restarts falls from the full learning rate. The others ignore it.",
    )
    optim: Literal[
        "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor", "sgd"
    ] = Field(
        "adamw_8bit",
        title="Optimizer",
        description="adamw_8bit uses little memory. Without a GPU, a 32-bit optimizer replaces the 8-bit ones.",
    )
    adam_beta2: float = Field(
        0.999,
        ge=0,
        lt=1,
        title="Adam beta2",
        description="How slowly the adam optimizers forget the size of earlier gradients. The others ignore it.",
    )
    max_grad_norm: float = Field(
        1.0,
        ge=0,
        le=1000,
        title="Maximum gradient norm",
        description="Scales larger gradients down to this norm, so that one bad batch does less harm. 0: off.",
    )
    weight_decay: float = Field(
        0.01,
        ge=0,
        le=1.0,
        title="Weight decay",
        description="Pulls the trained weights towards zero at each step, to keep them small.",
    )
    seed: int = Field(
        3407,
        ge=0,
        le=2**32 - 1,
        title="Seed",
        description="Decides the order of the rows and the adapter's first weights. The same seed gives the same run.",
    )
    use_gradient_checkpointing: Literal["unsloth", True, False] = Field(
        "unsloth",
        title="Gradient checkpointing",
        description="Saves memory by computing activations twice. unsloth saves most; off is fastest.",
    )
    completion_only_loss: bool = Field(
        True,
        title="Train on answers only",
        description="The model learns to answer, not to repeat the questions.",
    )
    packing: bool = Field(
        False,
        title="Packing",
        description="Fills each sequence with several rows, which is faster when rows are short. Needs a GPU.",
    )
    train_sampling_strategy: Literal["random", "group_by_length"] = Field(
        "random",
        title="Order of the rows",
        description="group_by_length puts rows of similar length into a batch, so that less of it is padding.",
    )
    neftune_noise_alpha: float = Field(
        0.0,
        ge=0,
        le=100,
        title="NEFTune noise",
        description="Adds noise to the embeddings during training, against overfitting; 5 is usual. 0: off.",
    )
    eval_steps: float = Field(
        20,
        ge=0,
        le=1_000_000,
        title="Check every (steps)",
        description="How often to compute the validation loss. Below 1: a share of an epoch. 0: only at the end.",
    )
    save_steps: float = Field(
        100,
        ge=0,
        le=1_000_000,
        title="Checkpoint every (steps)",
        description="To resume from. Each new best check is saved too. Below 1: a share of an epoch. 0: no checkpoints "
        "at all.",
    )
    save_total_limit: int = Field(
        2,
        ge=1,
        le=1000,
        title="Checkpoints to keep",
        description="How many of the newest are kept, in addition to the one with the best check.",
    )
    early_stopping_patience: int = Field(
        0,
        ge=0,
        le=10_000,
        title="Early stopping after (checks)",
        description="Stops the run after this many checks without a lower validation loss, and restores the best. "
        "0: never.",
    )
    stop_at_loss: float | None = Field(
        None,
        gt=0,
        le=1000,
        title="Stop at loss",
        description="Stops the run once the training loss of a step reaches this value.",
    )
    sample_prompts: list[str] = Field(
        [],
        max_length=20,
        title="Prompts to answer during training",
        description="One per line. The base answers them once, the tuned model at each check.",
    )
    report_to: Literal["none", "tensorboard", "trackio", "wandb"] = Field(
        "none",
        title="Tracker",
        description="Logs the run to a tracker that you have installed. wandb uploads the figures to its servers.",
    )
    hub_model_id: str = Field(
        "",
        title="Push each checkpoint to",
        description="OWNER/NAME on Hugging Face, created if it does not exist; needs a token with write access.",
    )
    hub_private_repo: bool = Field(
        True,
        title="Private repository",
        description="Whether the repository is created as private. An existing one keeps its visibility.",
    )

    @field_validator("eval_steps", "save_steps")
    @classmethod
    def _whole_steps_or_a_share(cls, value: float) -> float:
        if value < 1 and value:
            return value
        if value != int(value):
            raise ConfigError("use a whole number of steps, or a share of an epoch below 1")
        return int(value)

    @field_validator("per_device_train_batch_size", mode="before")
    @classmethod
    def _auto_in_any_case(cls, value: Any) -> Any:
        text = value.strip() if isinstance(value, str) else ""
        if text.lower() == "auto":
            return "auto"
        if value is None or isinstance(value, str) and not text.removeprefix("-").isdecimal():
            raise ConfigError("use a number from 1 to 1,024, or auto")
        return value

    @field_validator("sample_prompts", mode="before")
    @classmethod
    def _without_empty_lines(cls, value: Any) -> Any:
        lines = value.splitlines() if isinstance(value, str) else value
        is_list = isinstance(lines, list) and all(isinstance(line, str) for line in lines)
        return [line.strip() for line in lines if line.strip()] if is_list else lines

    @property
    def effective_batch(self) -> int:
        """Rows per optimizer step. With batch size auto, accumulation is the total, split into micro-batches later."""
        batch = self.per_device_train_batch_size
        return self.gradient_accumulation_steps * (1 if batch == "auto" else batch)

    @field_validator("max_steps")
    @classmethod
    def _some_steps(cls, value: int) -> int:
        if value == 0:
            raise ConfigError("0 steps train nothing; use at least 1, or -1 for epochs")
        return value
