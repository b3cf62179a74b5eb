"""What a run tells of itself, and how that adds up to what a page shows. Knows nothing of anything else here.

The training thread emits events; they are written to the run's folder before anyone sees them; `fold` adds one
to an immutable `Snapshot`. So a page that is reloaded, or opened by another program, shows the same run.

A snapshot stays small however long the run: its histories are thinned, with what stands out kept (`core.runs.thinning`).
The folder keeps every event.
"""

import json
import time
from math import copysign, inf
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, model_validator

Status = Literal["preparing", "training", "stopping", "completed", "stopped", "failed", "interrupted"]
FINAL: frozenset[str] = frozenset({"completed", "stopped", "failed", "interrupted"})


# What no run can tell, so that a damaged line is passed over instead of ending up in a chart.
Whole = Annotated[int, Field(ge=0, le=2**53)]
Measured = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
# Of losses and the like, which may be NaN. They come out of float32: what is beyond its range is no figure either.
Figure = Annotated[
    float, AfterValidator(lambda value: value if abs(value) < 3.5e38 or value != value else copysign(inf, value))
]


class _Event(BaseModel, frozen=True):
    """`time` is in seconds since 1970."""

    time: float = Field(default_factory=time.time, ge=0, le=1e11)


class StatusChanged(_Event):
    """`message` is a sentence for the person: what is going on, why it waits (`is_paused`), or why it ended."""

    type: Literal["status"] = "status"
    status: Status
    message: str = ""
    is_paused: bool = False


class LearningGroup(BaseModel, frozen=True):
    """One parameter group of the optimizer: its peak learning rate and the number of weights in it."""

    name: str
    learning_rate: Figure
    weight_decay: Figure
    parameters: Whole


class Change(BaseModel, frozen=True):
    """A setting that does not run as asked: `asked` and `runs` as words, and the reason where it is known."""

    setting: str
    asked: str
    runs: str
    reason: str = ""


class EmbeddingsReceipt(BaseModel, frozen=True):
    """What trains of embed_tokens and lm_head (`layers`), and what it costs; `is_tied`: both are one tensor.

    `rows` of `of_rows` rows of each train; `parameters` are `share` (0 to 1) of all trainable ones. `memory_gib` is for
    trained copies, their gradients and the optimizer's states; `passing_gib` for what is made anew at each pass. Of the
    `adapter_bytes` of all tensors in the adapter's file `disk_bytes` are theirs. `warning` is a sentence, or empty.
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


class Receipt(_Event):
    """What really trains, read back from the model, the trainer and the optimizer just before the first step."""

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


class StepDone(_Event):
    """One optimizer step. `elapsed` is in seconds since training began, `tokens` counts all tokens seen by then."""

    type: Literal["step"] = "step"
    step: Whole
    max_steps: Whole
    epoch: Measured
    loss: Figure
    learning_rate: Figure
    grad_norm: Figure | None = None
    tokens: Whole
    elapsed: Measured


class Evaluated(_Event):
    """The trainer's `eval_loss` on the validation rows: the mean over its batches of their loss per trained token."""

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
    """What the model as it stood at `step` answered to the run's own prompts, as many answers as prompts."""

    type: Literal["sampled"] = "sampled"
    step: Whole
    by: Literal["base", "tuned"]
    prompts: tuple[str, ...]
    answers: tuple[str, ...]

    @model_validator(mode="after")
    def _an_answer_to_each(self) -> "Sampled":
        if len(self.answers) != len(self.prompts):
            raise ValueError("as many answers as prompts")
        return self


class CheckpointSaved(_Event):
    """A checkpoint of `step` stands whole on disk; `kept` are the steps of all that stand there now, in order."""

    type: Literal["checkpoint"] = "checkpoint"
    step: Whole
    kept: tuple[Whole, ...]


class Resumed(_Event):
    """The run goes on after `step` (0: from its beginning): what it told of later steps is done anew."""

    type: Literal["resumed"] = "resumed"
    step: Whole


class Estimated(_Event):
    """What the run was expected to take before its first step, in GiB, whole and by part (`core.memory`).

    `comparable_gib` is what the program's own figure should reach: reserved on a GPU, resident on a CPU. All of these
    are corrected by a probe where there was one; `before_probe_gib` is `comparable_gib` without that (None: not known).
    """

    type: Literal["estimated"] = "estimated"
    total_gib: Measured
    comparable_gib: Measured
    before_probe_gib: Measured | None = None
    parts: dict[str, Measured]

    @property
    def by_itself_gib(self) -> float:
        """What the estimate alone came to, before anything was measured: as `comparable_gib`, as far as is known."""
        return self.comparable_gib if self.before_probe_gib is None else self.before_probe_gib


class Probed(_Event):
    """What a probe of just these settings had measured before, on rows of `length` tokens (0: not known)."""

    type: Literal["probed"] = "probed"
    peak_gib: Measured
    seconds_per_step: Measured
    length: Whole = 0


class BatchChosen(_Event):
    """How an automatic batch was shared out: rows at once, and micro-batches in a step.

    `tried` are the batches that were probed, in order, each with its peak in GiB, or None where it did not fit.
    """

    type: Literal["batch"] = "batch"
    batch: Annotated[int, Field(ge=1, le=1024)]
    accumulation: Annotated[int, Field(ge=1, le=1024)]
    tried: tuple[tuple[Whole, Measured | None], ...] = ()


class HeldOut(_Event):
    """Base and tuned on `rows` validation rows: loss per trained token; shares (0 to 1) that are right to the letter
    and that end by themselves. `exact` and `ends` are None when the rows are plain text with nothing to answer."""

    type: Literal["heldout"] = "heldout"
    rows: Whole
    base_loss: Figure
    tuned_loss: Figure
    base_exact: Measured | None = None
    tuned_exact: Measured | None = None
    base_ends: Measured | None = None
    tuned_ends: Measured | None = None


class Finished(_Event):
    """The figures at the end. Times in seconds, memory in GiB; the peak for training is what training added."""

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
    StatusChanged | Estimated | Probed | BatchChosen | Receipt | StepDone | Evaluated | MemorySampled | Sampled
    | CheckpointSaved | Resumed | HeldOut | Finished
)  # fmt: skip
_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def to_line(event: Event) -> str:
    """One line of JSON, without the line break."""
    # Not by pydantic, which writes NaN as null: a loss that is no number must be read back as one.
    return json.dumps(event.model_dump(mode="json", exclude_none=True), ensure_ascii=False)


def from_line(line: str) -> Event | None:
    """The inverse of `to_line`; None for a line that is no event, such as one cut off by a power failure."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return None
