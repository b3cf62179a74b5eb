"""The events that a run emits, and their form as lines of JSON.

The training thread emits events, which are appended to the run's folder; `core.runs.snapshot` folds them into what a
page shows. So a page that is reloaded, or opened by another program, shows the same run.
"""

import json
import time
from math import copysign, inf
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, model_validator

from core.problems import tr

Status = Literal["preparing", "training", "stopping", "completed", "stopped", "failed", "interrupted"]
FINAL: frozenset[str] = frozenset({"completed", "stopped", "failed", "interrupted"})

# Bounds that no real run exceeds, so that a damaged line is skipped instead of ending up in a chart.
Whole = Annotated[int, Field(ge=0, le=2**53)]
Measured = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
# Losses and the like, which may be NaN. They are computed in float32, so what exceeds its range becomes infinite.
Figure = Annotated[
    float, AfterValidator(lambda value: value if abs(value) < 3.5e38 or value != value else copysign(inf, value))
]


class _Event(BaseModel, frozen=True):
    """`time` is in seconds since 1970."""

    time: float = Field(default_factory=time.time, ge=0, le=1e11)


class StatusChanged(_Event):
    """`message` is a sentence for the person: what the run is doing, why it waits (`is_paused`), or why it ended."""

    type: Literal["status"] = "status"
    status: Status
    message: str = ""
    is_paused: bool = False


class Working(_Event):
    """What a run does between its steps and after the last one, in words, such as measuring: `done` of `total`, which
    is 0 where nothing is counted. Without words it is back at its steps."""

    type: Literal["working"] = "working"
    words: str = ""
    done: Whole = 0
    total: Whole = 0

    @property
    def in_words(self) -> str:
        """As in "Measuring the base on the validation rows, 12 of 64"."""
        told = {"words": tr(self.words), "done": self.done, "total": self.total}
        return tr("{words}, {done:,} of {total:,}", **told) if self.total else told["words"]


class LearningGroup(BaseModel, frozen=True):
    """A parameter group of the optimizer, with its peak learning rate and its number of weights."""

    name: str
    learning_rate: Figure
    weight_decay: Figure
    parameters: Whole


class Change(BaseModel, frozen=True):
    """A setting that was changed: the value `asked` for, the value that `runs`, and the reason if known."""

    setting: str
    asked: str
    runs: str
    reason: str = ""


class EmbeddingsReceipt(BaseModel, frozen=True):
    """Which of embed_tokens and lm_head train (`layers`), and what that costs. `is_tied`: both are one tensor.

    `rows` of the `of_rows` rows of each train. `parameters` is their number of weights, a `share` (0 to 1) of all
    trainable ones. `memory_gib` is for trained copies, gradients and optimizer states, `passing_gib` for what each
    pass computes anew. `disk_bytes` of the `adapter_bytes` in the adapter's file are theirs. `warning` is a sentence,
    or empty.
    """

    layers: tuple[str, ...]
    is_tied: bool
    rows: Whole
    of_rows: Whole
    parameters: Whole
    share: Measured
    memory_gib: Measured
    passing_gib: Measured = 0.0
    disk_bytes: Whole
    adapter_bytes: Whole
    warning: str = ""


class AdaptedLayers(BaseModel, frozen=True):
    """How many layers of one name, such as q_proj, the adapter changes."""

    name: str
    count: Whole


class Receipt(_Event):
    """What really trains: read back from the model, trainer and optimizer just before the first step.

    `adapted` are the layers that PEFT found, in the model's order; empty in runs from before this was recorded. So are
    `questions`, a few of the validation rows, and None as `is_single_turn`, whether each row asks once.
    """

    type: Literal["receipt"] = "receipt"
    trainable_parameters: Whole
    total_parameters: Whole
    groups: tuple[LearningGroup, ...]
    precision: str
    optimizer: str
    max_steps: Whole
    train_rows: Whole
    validation_rows: Whole
    trained_tokens_share: Measured
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    embeddings: EmbeddingsReceipt | None = None
    adapted: tuple[AdaptedLayers, ...] = ()
    is_single_turn: bool | None = None
    questions: tuple[str, ...] = ()


class StepDone(_Event):
    """An optimizer step. `elapsed` is in seconds since training began; `tokens` counts all tokens seen so far."""

    type: Literal["step"] = "step"
    step: Whole
    max_steps: Whole
    epoch: Measured
    loss: Figure
    learning_rate: Figure
    embedding_learning_rate: Figure | None = None  # where no embeddings are trained, and in older runs
    grad_norm: Figure | None = None
    tokens: Whole
    elapsed: Measured


class Evaluated(_Event):
    """The loss on the validation rows: the mean over all of their trained tokens."""

    type: Literal["evaluated"] = "evaluated"
    step: Whole
    eval_loss: Figure


class MemorySampled(_Event):
    """Fields as in `core.memory.hardware.MemoryStats`; GiB, percent, °C and W."""

    type: Literal["memory"] = "memory"
    used_by_us_gib: Measured
    in_use_gib: Measured
    total_gib: Measured
    available_gib: Measured
    allocated_gib: Measured | None = None
    reserved_gib: Measured | None = None
    peak_reserved_gib: Measured | None = None
    utilization: Measured | None = None
    temperature: Measured | None = None
    power: Measured | None = None


class Sampled(_Event):
    """The model's answers at `step` to the run's sample prompts, one per prompt."""

    type: Literal["sampled"] = "sampled"
    step: Whole
    by: Literal["base", "tuned"]
    prompts: tuple[str, ...]
    answers: tuple[str, ...]

    @model_validator(mode="after")
    def _one_answer_per_prompt(self) -> "Sampled":
        if len(self.answers) != len(self.prompts):
            raise ValueError("there must be one answer per prompt")
        return self


class CheckpointSaved(_Event):
    """The checkpoint of `step` is complete on disk. `kept` are the steps of all checkpoints there now, in order."""

    type: Literal["checkpoint"] = "checkpoint"
    step: Whole
    kept: tuple[Whole, ...]


class AdapterPushed(_Event):
    """The checkpoint of `step` is on Hugging Face at `url`, or `trouble` says why not. None: the adapter at the end."""

    type: Literal["pushed"] = "pushed"
    step: Whole | None = None
    url: str = ""
    trouble: str = ""


class Resumed(_Event):
    """The run continues after `step` (0: from the beginning). Earlier events of later steps no longer count."""

    type: Literal["resumed"] = "resumed"
    step: Whole


class Estimated(_Event):
    """The memory estimate made before the first step, in GiB, in total and by part (`core.memory`).

    `comparable_gib` is what this program's own memory should reach: reserved on a GPU, resident on a CPU. After a
    probe, all of these are corrected by it; `before_probe_gib` is `comparable_gib` without that (None: unknown).
    """

    type: Literal["estimated"] = "estimated"
    total_gib: Measured
    comparable_gib: Measured
    before_probe_gib: Measured | None = None
    parts: dict[str, Measured]

    @property
    def by_itself_gib(self) -> float:
        """`comparable_gib` of the estimate alone, without the correction by a probe, if that is known."""
        return self.comparable_gib if self.before_probe_gib is None else self.before_probe_gib


class Probed(_Event):
    """An earlier probe of exactly these settings, on rows of `length` tokens (0: unknown)."""

    type: Literal["probed"] = "probed"
    peak_gib: Measured
    seconds_per_step: Measured
    length: Whole = 0


class BatchChosen(_Event):
    """How batch size auto was resolved: rows per micro-batch, and micro-batches per step.

    `tried` has the batch sizes that were probed, in order, each with its peak in GiB, or None if it did not fit.
    """

    type: Literal["batch"] = "batch"
    batch: Annotated[int, Field(ge=1, le=1024)]
    accumulation: Annotated[int, Field(ge=1, le=1024)]
    tried: tuple[tuple[Whole, Measured | None], ...] = ()


class HeldOut(_Event):
    """Base and tuned on `rows` validation rows.

    Losses are per trained token; `exact` and `ends` are the shares (0 to 1) of answers that are an exact match and that
    end by themselves, or None if the rows are plain text without answers.
    """

    type: Literal["heldout"] = "heldout"
    rows: Whole
    base_loss: Figure
    tuned_loss: Figure
    base_exact: Measured | None = None
    tuned_exact: Measured | None = None
    base_ends: Measured | None = None
    tuned_ends: Measured | None = None


class Finished(_Event):
    """The figures at the end. Memory is in GiB; the peak for training is what training added to it."""

    type: Literal["finished"] = "finished"
    steps: Whole
    train_loss: Figure | None = None
    eval_loss: Figure | None = None
    runtime_s: Measured
    tokens_per_s: Measured
    peak_memory_gib: Measured
    peak_memory_for_training_gib: Measured
    total_memory_gib: Measured
    adapter_dir: str | None = None


Event = (
    StatusChanged | Working | Estimated | Probed | BatchChosen | Receipt | StepDone | Evaluated | MemorySampled
    | Sampled | CheckpointSaved | AdapterPushed | Resumed | HeldOut | Finished
)  # fmt: skip
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def to_line(event: Event) -> str:
    """One line of JSON, without the line break."""
    # pydantic would write NaN as null, and a loss of NaN must be read back as NaN.
    return json.dumps(event.model_dump(mode="json", exclude_none=True), ensure_ascii=False)


def from_line(line: str) -> Event | None:
    """The inverse of `to_line`; None for a line that is not an event, such as one cut off by a power cut."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None
