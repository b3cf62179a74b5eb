"""Where a run is, as HTML: its line, its progress, what Resume does to it, and its best checkpoint."""

from markupsafe import Markup

from core.runs.events import AdapterPushed, Evaluated
from core.runs.overfitting import overfitting
from core.runs.snapshot import Snapshot
from core.workbench.model_slot import ModelState
from ui.shared.formatting import bar, duration, notice
from ui.shared.html import render_part

TEMPLATE = "train/state.html"
NOTICE_KINDS = {"completed": "good", "failed": "error", "stopped": "warning", "interrupted": "warning"}  # by status
RESUMABLE = {"interrupted", "stopped", "failed"}
STEPS_NAMED = 8  # checkpoints from this many on are not all named


def line_text(snapshot: Snapshot | None, summary: str) -> Markup:
    """The run in one line, below which the form is folded; `summary` says what it does."""
    if snapshot is None:
        return Markup()
    is_stopping = snapshot.status == "stopping"
    return render_part(
        "train/run_line.html", "line", summary=summary, is_over=snapshot.is_over, is_stopping=is_stopping
    )


def state_text(snapshot: Snapshot | None) -> Markup:
    """Where the run is, with its progress."""
    if snapshot is None:
        return notice("No runs yet. Start one to see its progress, charts and memory here.")
    saved = {
        "checkpoints": checkpoints_text(snapshot.checkpoints) if snapshot.checkpoints else "",
        "pushed": pushed_text(snapshot.pushed),
        "trouble": snapshot.pushed.trouble if snapshot.pushed else "",
    }
    if snapshot.is_over:
        hint = " Ask base and tuned the same question on the Compare tab." if snapshot.status == "completed" else ""
        message, kind = f"{snapshot.name}: {snapshot.message}{hint}", NOTICE_KINDS[snapshot.status]
        return render_part(TEMPLATE, "state", message=message, kind=kind, **saved)
    # A message while it trains is a remark, such as why there is no estimate.
    has_remark = bool(snapshot.steps and snapshot.message and not snapshot.doing)
    return render_part(
        TEMPLATE,
        "state",
        message=snapshot.message if snapshot.is_paused else "",
        kind="warning",
        progress=progress_line(snapshot),
        remark=f"{snapshot.message}…" if has_remark else "",
        **saved,
    )


def progress_line(snapshot: Snapshot) -> Markup:
    """How far a run in progress is, in one line: "step 42 of 60 · 0:18 left · 1,204 tokens/s", with a bar.

    While it takes no steps, what it does takes the place of the time left; before the first step and after the last
    one the bar is of that work, where it is counted.
    """
    last, work = snapshot.steps[-1] if snapshot.steps else None, snapshot.working
    share = last.step / last.max_steps if last else 0.0
    is_of_work = work is not None and work.total > 0 and (last is None or snapshot.has_all_steps)
    doing = "" if snapshot.is_paused else activity(snapshot)
    if last is None and not doing and not snapshot.is_paused:
        doing = "The first step is running"
    figures = [
        f"step {last.step:,} of {last.max_steps:,}" if last else "",
        f"{duration(snapshot.seconds_left)} left" if snapshot.seconds_left is not None else "",
        f"{snapshot.tokens_per_s:,.0f} tokens/s" if snapshot.tokens_per_s and not doing else "",
    ]
    return render_part(
        TEMPLATE,
        "progress",
        share=work.done / work.total if is_of_work else share,
        label=work.words if is_of_work else "steps done",
        figures=" · ".join(filter(None, figures)),
        doing=doing,
    )


def activity(snapshot: Snapshot) -> str:
    """What a run in progress does while it takes no steps; empty while it takes them."""
    doing = snapshot.doing
    if snapshot.status == "stopping" and snapshot.working:
        return f"Stopping. {doing}"
    return doing


def work_bar(snapshot: Snapshot) -> Markup:
    """How far that is, where it is counted."""
    work = snapshot.working
    return bar(work.done / work.total, work.words) if work and work.total else Markup()


def checkpoints_text(steps: tuple[int, ...]) -> str:
    """How many checkpoints there are, and at which steps: "3 checkpoints, at steps 40, 80 and 120."."""
    *others, last = [f"{step:,}" for step in steps]
    if not others:
        return f"1 checkpoint, at step {last}."
    listed = ", ".join(others) if len(others) < STEPS_NAMED else f"{', '.join(others[:3])}, … {others[-1]}"
    return f"{len(steps)} checkpoints, at steps {listed} and {last}."


def pushed_text(pushed: AdapterPushed | None) -> str:
    """What was pushed last, and where to: "The checkpoint at step 40 is at https://huggingface.co/ada/yoda."."""
    if pushed is None or not pushed.url:
        return ""
    what = "The adapter" if pushed.step is None else f"The checkpoint at step {pushed.step:,}"
    return f"{what} is at {pushed.url}."


def can_resume(snapshot: Snapshot | None) -> bool:
    return snapshot is not None and snapshot.status in RESUMABLE


def resume_text(snapshot: Snapshot | None) -> Markup:
    """What the Resume button does to this run."""
    if not can_resume(snapshot):
        return Markup()
    if not snapshot.checkpoints:
        return _sentence("There is no checkpoint, so the run starts over.")
    total = f" of {snapshot.max_steps:,}" if snapshot.max_steps else ""
    return _sentence(f"The run resumes after step {snapshot.checkpoints[-1]:,}{total}.")


def best_button(snapshot: Snapshot | None, state: ModelState, busy: str) -> dict:
    """The button that loads the best checkpoint: shown when that is kept and not loaded yet."""
    best = _kept_best(snapshot)
    words = "Compare with the best checkpoint"
    return {
        "visible": best is not None and not _is_loaded(snapshot, best, state),
        "interactive": not busy,
        "value": f"{words} ({busy})" if busy else words,
    }


def best_text(snapshot: Snapshot | None, state: ModelState) -> Markup:
    """Which checkpoint is the best one, whether it is loaded, and a warning when the run overfits."""
    if snapshot is None:
        return Markup()
    best = _kept_best(snapshot)
    if best is None:
        words = Markup()
    elif _is_loaded(snapshot, best, state):
        words = notice(f"The checkpoint at step {best.step:,} is loaded: try it on the Compare tab.", "good")
    else:
        words = _sentence(f"Validation loss was lowest at step {best.step:,}; its checkpoint is kept.")
    return words + notice(overfitting(snapshot), "warning")


def _sentence(text: str) -> Markup:
    return render_part(TEMPLATE, "sentence", text=text)


def _is_loaded(snapshot: Snapshot, best: Evaluated, state: ModelState) -> bool:
    return (state.adapter, state.step) == (snapshot.run_id, best.step)


def _kept_best(snapshot: Snapshot | None) -> Evaluated | None:
    """The validation with the lowest loss, when the checkpoint of its step is kept."""
    best = snapshot.best if snapshot else None
    return best if best and best.step in snapshot.checkpoints else None
