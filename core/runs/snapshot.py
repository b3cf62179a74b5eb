from math import isfinite

from pydantic import BaseModel

from core.runs.events import (
    FINAL,
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
)
from core.runs.thinning import thin

MOST = 1200  # points that a history holds before it is thinned to half of that


class Snapshot(BaseModel, frozen=True):
    """A run as it stands. `started` and `ended` are times in seconds since 1970; `checkpoints` are steps.

    `steps`, `evaluations` and `memory` are thinned once they are long; `samples` keeps the first, the last and some
    between. `memory` is that since the run was last resumed.
    """

    run_id: str = ""
    name: str = ""
    status: Status = "preparing"
    message: str = ""
    is_paused: bool = False
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
    heldout: HeldOut | None = None
    finished: Finished | None = None

    @property
    def is_over(self) -> bool:
        return self.status in FINAL

    @property
    def step(self) -> int:
        """The last step that is done; 0 before the first."""
        return self.steps[-1].step if self.steps else 0

    @property
    def best(self) -> Evaluated | None:
        """The check with the lowest validation loss, the first of equal ones."""
        finite = [evaluated for evaluated in self.evaluations if isfinite(evaluated.eval_loss)]
        return min(finite, key=lambda evaluated: evaluated.eval_loss, default=None)

    @property
    def max_steps(self) -> int:
        return self.steps[-1].max_steps if self.steps else (self.receipt.max_steps if self.receipt else 0)

    @property
    def seconds_left(self) -> float | None:
        """From the pace since the second step, the first being slower by compiling and caching; None before that."""
        if self.status != "training" or self.is_paused or len(self.steps) < 2:
            return None
        first, last = self.steps[0], self.steps[-1]
        if last.step <= first.step:  # a history that is not in order
            return None
        return (last.elapsed - first.elapsed) / (last.step - first.step) * (last.max_steps - last.step)

    @property
    def tokens_per_s(self) -> float | None:
        """All tokens that went through the model, prompts included, per second of training so far."""
        last = self.steps[-1] if self.steps else None
        return last.tokens / last.elapsed if last and last.elapsed > 0 else None


def fold(snapshot: Snapshot, event: Event) -> Snapshot:
    """The snapshot after one more event."""
    match event:
        case StatusChanged() if snapshot.status == "stopping" and event.status not in FINAL:
            return snapshot  # a wish to stop is not taken back
        case StatusChanged():
            started = snapshot.started if snapshot.started is not None else event.time
            return snapshot.model_copy(
                update={
                    "status": event.status,
                    "message": event.message,
                    "is_paused": event.is_paused,
                    "started": started,
                    "ended": event.time if event.status in FINAL else None,
                }
            )
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
        case Resumed():
            # From the beginning also what the base answered is told again. A batch once chosen stays: with another one
            # the run would not go on as if nothing had happened.
            kept = {name: tuple(e for e in getattr(snapshot, name) if 0 < event.step >= e.step) for name in _BY_STEP}
            kept |= {"checkpoints": tuple(step for step in snapshot.checkpoints if step <= event.step)}
            gone = {"memory": (), "receipt": None, "heldout": None, "finished": None}
            return snapshot.model_copy(update=kept | gone)
        case HeldOut():
            return snapshot.model_copy(update={"heldout": event})
        case Finished():
            return snapshot.model_copy(update={"finished": event})


def fold_all(snapshot: Snapshot, events: list[Event]) -> Snapshot:
    """The same as folding one after the other, without copying the growing histories each time."""
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


# By event: the history it belongs to, how many of them it holds, and what must stand out when it is thinned.
_HISTORIES: dict[type, tuple] = {
    StepDone: ("steps", MOST, lambda e: e.step, lambda e: e.loss, lambda e: e.grad_norm),
    Evaluated: ("evaluations", MOST, lambda e: e.step, lambda e: e.eval_loss),
    MemorySampled: ("memory", MOST, lambda e: e.time, lambda e: e.used_by_us_gib),
    # An answer has no height: the first of each stretch stays.
    Sampled: ("samples", 40, lambda e: e.step, lambda e: 0.0),
}


_BY_STEP = ("steps", "evaluations", "samples")


def _with(history: list[Event] | tuple[Event, ...], event: Event) -> list[Event] | tuple[Event, ...]:
    """The history with one more event; a list grows in place until it must be thinned."""
    if isinstance(history, list):
        history.append(event)
    else:
        history = (*history, event)
    _, most, x, *ys = _HISTORIES[type(event)]
    return thin(history, most // 2, x, *ys) if len(history) > most else history
