"""The state of a run, folded from its events.

`fold` adds one event to an immutable `Snapshot`. A snapshot stays small however long the run: its histories are thinned
while their extremes are kept (`core.runs.thinning`). The run's folder keeps every event.
"""

from math import isfinite

from pydantic import BaseModel

from core.problems import mark, tr
from core.runs.events import (
    FINAL,
    AdapterPushed,
    BatchChosen,
    CheckpointSaved,
    Estimated,
    Evaluated,
    Event,
    Finished,
    HeldOut,
    MemorySampled,
    Probed,
    Receipt,
    Resumed,
    Sampled,
    Status,
    StatusChanged,
    StepDone,
    Working,
)
from core.runs.thinning import thin

MAX_POINTS = 1200  # in a history, before it is thinned to half of that
MAX_SAMPLES = 40


class Snapshot(BaseModel, frozen=True):
    """The state of a run. `started` and `ended` are in seconds since 1970; `checkpoints` are steps.

    Long `steps`, `evaluations` and `memory` are thinned; `samples` keeps the first, the last and some in between.
    `memory` starts anew when the run is resumed. `working` is what the run does while it takes no steps. `pushed` says
    how the latest push to Hugging Face went.
    """

    run_id: str = ""
    name: str = ""
    status: Status = "preparing"
    message: str = ""
    is_paused: bool = False
    working: Working | None = None
    started: float | None = None
    ended: float | None = None
    estimated: Estimated | None = None
    probed: Probed | None = None
    batch_chosen: BatchChosen | None = None
    receipt: Receipt | None = None
    steps: tuple[StepDone, ...] = ()
    evaluations: tuple[Evaluated, ...] = ()
    memory: tuple[MemorySampled, ...] = ()
    samples: tuple[Sampled, ...] = ()
    checkpoints: tuple[int, ...] = ()
    pushed: AdapterPushed | None = None
    heldout: HeldOut | None = None
    finished: Finished | None = None

    @property
    def is_over(self) -> bool:
        return self.status in FINAL

    @property
    def doing(self) -> str:
        """What the run is doing while it takes no steps, in words; empty while it takes them, and when it is over."""
        if self.is_over:
            return ""
        if self.is_paused or not (self.working or self.steps):
            return tr(self.message)
        if self.working:
            return self.working.in_words
        return tr("Finishing") if self.has_all_steps else ""

    @property
    def has_all_steps(self) -> bool:
        """Whether the last step was taken."""
        return 0 < self.max_steps <= self.step

    @property
    def expected_gib(self) -> dict[str, float]:
        """The memory that the run was expected to take, by where the figure is from: the estimate alone, and a probe of
        these very settings or what a probe of others made of the estimate. The keys are shown with `tr`."""
        if self.estimated is None:
            return {}
        found = {mark("estimate"): self.estimated.by_itself_gib}
        if self.probed:
            found[mark("probe")] = self.probed.peak_gib
        elif self.estimated.comparable_gib != found["estimate"]:
            found[mark("corrected by a probe")] = self.estimated.comparable_gib
        return found

    @property
    def seconds(self) -> float | None:
        """The training time: at the end what the run reports, until then what its last step does. None before that."""
        if self.finished:
            return self.finished.runtime_s
        return self.steps[-1].elapsed if self.steps else None

    @property
    def step(self) -> int:
        """The last completed step; 0 before the first."""
        return self.steps[-1].step if self.steps else 0

    @property
    def best(self) -> Evaluated | None:
        """The check with the lowest validation loss; the first one if several are equal."""
        finite = [evaluated for evaluated in self.evaluations if isfinite(evaluated.eval_loss)]
        return min(finite, key=lambda evaluated: evaluated.eval_loss, default=None)

    @property
    def max_steps(self) -> int:
        """The number of steps of the whole run; 0 if not known yet."""
        if self.steps:
            return self.steps[-1].max_steps
        return self.receipt.max_steps if self.receipt else 0

    @property
    def seconds_left(self) -> float | None:
        """Of its steps, at the pace since the first one, which is slower because it compiles and caches. None before
        the second, while it takes no steps, and after the last."""
        if self.status != "training" or self.doing or len(self.steps) < 2:
            return None
        first, last = self.steps[0], self.steps[-1]
        if last.step <= first.step:  # the history is out of order
            return None
        return (last.elapsed - first.elapsed) / (last.step - first.step) * (last.max_steps - last.step)

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens that went through the model, including prompts, per second of training so far."""
        last = self.steps[-1] if self.steps else None
        return last.tokens / last.elapsed if last and last.elapsed > 0 else None


def fold(snapshot: Snapshot, event: Event) -> Snapshot:
    """The snapshot after one more event."""
    match event:
        case StatusChanged() if snapshot.status == "stopping" and event.status not in FINAL:
            return snapshot  # stopping is not undone by a later status
        case StatusChanged():
            started = snapshot.started if snapshot.started is not None else event.time
            return snapshot.model_copy(
                update={
                    "status": event.status,
                    "message": event.message,
                    "is_paused": event.is_paused,
                    "working": None if event.status in FINAL else snapshot.working,
                    "started": started,
                    "ended": event.time if event.status in FINAL else None,
                }
            )
        case Working():
            return snapshot.model_copy(update={"working": event if event.words else None})
        case Estimated():
            return snapshot.model_copy(update={"estimated": event})
        case Probed():
            return snapshot.model_copy(update={"probed": event})
        case BatchChosen():
            return snapshot.model_copy(update={"batch_chosen": event})
        case Receipt():
            return snapshot.model_copy(update={"receipt": event})
        case StepDone() | Evaluated() | MemorySampled() | Sampled():
            name = _HISTORIES[type(event)][0]
            return snapshot.model_copy(update={name: tuple(_with(getattr(snapshot, name), event))})
        case CheckpointSaved():
            return snapshot.model_copy(update={"checkpoints": event.kept})
        case AdapterPushed():
            return snapshot.model_copy(update={"pushed": event})
        case Resumed():
            # From the beginning the base answers again too, so step 0 is dropped as well. A chosen batch size is kept:
            # with another one the run would not continue as if it had never ended.
            kept = {name: tuple(e for e in getattr(snapshot, name) if 0 < event.step >= e.step) for name in _BY_STEP}
            kept |= {"checkpoints": tuple(step for step in snapshot.checkpoints if step <= event.step)}
            gone = {"memory": (), "working": None, "receipt": None, "heldout": None, "finished": None}
            return snapshot.model_copy(update=kept | gone)
        case HeldOut():
            return snapshot.model_copy(update={"heldout": event})
        case Finished():
            return snapshot.model_copy(update={"finished": event})


def fold_all(snapshot: Snapshot, events: list[Event]) -> Snapshot:
    """The same as folding one by one, without copying the growing histories each time."""
    histories: dict[str, list[Event]] = {}
    for event in events:
        if type(event) in _HISTORIES:
            name = _HISTORIES[type(event)][0]
            history = histories.get(name)
            histories[name] = _with(list(getattr(snapshot, name)) if history is None else history, event)
        else:
            if isinstance(event, Resumed):
                snapshot, histories = _settled(snapshot, histories), {}
            snapshot = fold(snapshot, event)
    return _settled(snapshot, histories)


def _settled(snapshot: Snapshot, histories: dict[str, list[Event]]) -> Snapshot:
    return snapshot.model_copy(update={name: tuple(history) for name, history in histories.items()})


# By event: the history it belongs to, how many that can have, its x, and the values whose extremes are kept.
_HISTORIES: dict[type, tuple] = {
    StepDone: ("steps", MAX_POINTS, lambda e: e.step, lambda e: e.loss, lambda e: e.grad_norm),
    Evaluated: ("evaluations", MAX_POINTS, lambda e: e.step, lambda e: e.eval_loss),
    MemorySampled: ("memory", MAX_POINTS, lambda e: e.time, lambda e: e.used_by_us_gib),
    # Answers have no extremes: the first of each stretch is kept.
    Sampled: ("samples", MAX_SAMPLES, lambda e: e.step, lambda e: 0.0),
}


_BY_STEP = ("steps", "evaluations", "samples")


def _with(history: list[Event] | tuple[Event, ...], event: Event) -> list[Event] | tuple[Event, ...]:
    """The history with one more event. A list grows in place until it must be thinned."""
    if isinstance(history, list):
        history.append(event)
    else:
        history = (*history, event)
    _, most, x, *ys = _HISTORIES[type(event)]
    return thin(history, most // 2, x, *ys) if len(history) > most else history
