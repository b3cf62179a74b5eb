"""Where a run stands, in words: its progress, what Resume does to it, and its best checkpoint. Knows nothing of torch,
threads or layout."""

from html import escape

from core.runs.events import Evaluated
from core.runs.overfitting import overfitting
from core.runs.snapshot import Snapshot
from core.workbench.model_slot import ModelState
from ui.shared.formatting import bar, duration, notice

KINDS = {"completed": "good", "failed": "error", "stopped": "warning", "interrupted": "warning"}  # of notices
CAN_GO_ON = {"interrupted", "stopped", "failed"}


def state_text(snapshot: Snapshot | None) -> str:
    """Where the run stands, with its progress."""
    if snapshot is None:
        return notice("No run yet. Start one, and its progress, charts and memory stand here.")
    kept = f'<p class="figures">{checkpoints_text(snapshot.checkpoints)}</p>' if snapshot.checkpoints else ""
    if snapshot.is_over:
        hint = " Ask base and tuned the same question on the Compare tab." if snapshot.status == "completed" else ""
        return notice(f"{snapshot.name}: {snapshot.message}{hint}", KINDS[snapshot.status]) + kept
    last = snapshot.steps[-1] if snapshot.steps else None
    if last is None:
        return notice(f"{snapshot.message or 'The first step is under way'}…")
    facts = [
        f"step {last.step:,} of {last.max_steps:,}",
        f"epoch {last.epoch:.2f}",
        f"{duration(last.elapsed)} elapsed",
        f"{duration(snapshot.seconds_left)} left" if snapshot.seconds_left is not None else "",
        f"{snapshot.tokens_per_s:,.0f} tokens/s" if snapshot.tokens_per_s else "",
    ]
    words = f"{snapshot.message}… " if snapshot.message and not snapshot.is_paused else ""
    return (
        (notice(snapshot.message, "warning") if snapshot.is_paused else "")
        + bar(last.step / last.max_steps, "steps done")
        + f'<p class="figures progress">{escape(words)}{" · ".join(filter(None, facts))}</p>{kept}'
    )


def checkpoints_text(steps: tuple[int, ...]) -> str:
    """How many there are and of which steps: "3 checkpoints, of steps 40, 80 and 120."."""
    *others, last = [f"{step:,}" for step in steps]
    if not others:
        return f"1 checkpoint, of step {last}."
    listed = ", ".join(others) if len(others) < 8 else f"{', '.join(others[:3])}, … {others[-1]}"
    return f"{len(steps)} checkpoints, of steps {listed} and {last}."


def can_resume(snapshot: Snapshot | None) -> bool:
    return snapshot is not None and snapshot.status in CAN_GO_ON


def resume_text(snapshot: Snapshot | None) -> str:
    """What the button does to this run."""
    if not can_resume(snapshot):
        return ""
    if not snapshot.checkpoints:
        return "<p>There is no checkpoint: the run starts again from its beginning.</p>"
    of = f" of {snapshot.max_steps:,}" if snapshot.max_steps else ""
    return f"<p>The run goes on after step {snapshot.checkpoints[-1]:,}{of}.</p>"


def best_button(snapshot: Snapshot | None, state: ModelState, busy: str) -> dict:
    best = _kept_best(snapshot)
    is_there = best is not None and (state.adapter, state.step) == (snapshot.run_id, best.step)
    words = "Compare with that checkpoint"
    return {
        "visible": best is not None and not is_there,
        "interactive": not busy,
        "value": f"{words} ({busy})" if busy else words,
    }


def best_text(snapshot: Snapshot | None, state: ModelState) -> str:
    """The hint that a run overfits, which checkpoint is its best, and whether that is the one that is loaded."""
    if snapshot is None:
        return ""
    best = _kept_best(snapshot)
    is_there = best is not None and (state.adapter, state.step) == (snapshot.run_id, best.step)
    if is_there:
        words = notice(f"The checkpoint of step {best.step:,} is loaded: ask it on the Compare tab.", "good")
    else:
        words = f"<p>The best check was at step {best.step:,}, and its checkpoint is kept.</p>" if best else ""
    return words + notice(overfitting(snapshot), "warning")


def _kept_best(snapshot: Snapshot | None) -> Evaluated | None:
    """The best check, when there is a checkpoint of its step."""
    best = snapshot.best if snapshot else None
    return best if best and best.step in snapshot.checkpoints else None
