"""Where a run is, as HTML: its line, its progress, what Resume does to it, and its best checkpoint."""

from markupsafe import Markup

from core.problems import tr
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
        return notice(tr("No runs yet. Start one to see its progress, charts and memory here."))
    saved = {
        "checkpoints": checkpoints_text(snapshot.checkpoints) if snapshot.checkpoints else "",
        "pushed": pushed_text(snapshot.pushed),
        "trouble": snapshot.pushed.trouble if snapshot.pushed else "",
    }
    if snapshot.is_over:
        message = f"{snapshot.name}: {tr(snapshot.message)}"
        if snapshot.status == "completed":
            message += " " + tr("Ask base and tuned the same question on the Compare tab.")
        return render_part(TEMPLATE, "state", message=message, kind=NOTICE_KINDS[snapshot.status], **saved)
    # From the beginning, so that the charts below stay where they are when the first one is saved.
    saved["checkpoints"] = saved["checkpoints"] or tr("No checkpoint yet.")
    # A message while it trains is a remark, such as why there is no estimate.
    has_remark = bool(snapshot.steps and snapshot.message and not snapshot.doing)
    return render_part(
        TEMPLATE,
        "state",
        message=tr(snapshot.message) if snapshot.is_paused else "",
        kind="warning",
        progress=progress_line(snapshot),
        remark=f"{tr(snapshot.message)}…" if has_remark else "",
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
        doing = tr("The first step is running")
    figures = [
        tr("step {step:,} of {steps:,}", step=last.step, steps=last.max_steps) if last else "",
        tr("{time} left", time=duration(snapshot.seconds_left)) if snapshot.seconds_left is not None else "",
        tr("{speed:,.0f} tokens/s", speed=snapshot.tokens_per_s) if snapshot.tokens_per_s and not doing else "",
    ]
    return render_part(
        TEMPLATE,
        "progress",
        share=work.done / work.total if is_of_work else share,
        label=tr(work.words) if is_of_work else tr("steps done"),
        figures=" · ".join(filter(None, figures)),
        doing=doing,
    )


def activity(snapshot: Snapshot) -> str:
    """What a run in progress does while it takes no steps; empty while it takes them."""
    doing = snapshot.doing
    if snapshot.status == "stopping" and snapshot.working:
        return tr("Stopping. {doing}", doing=doing)
    return doing


def work_bar(snapshot: Snapshot) -> Markup:
    """How far that is, where it is counted."""
    work = snapshot.working
    return bar(work.done / work.total, tr(work.words)) if work and work.total else Markup()


def checkpoints_text(steps: tuple[int, ...]) -> str:
    """How many checkpoints there are, and at which steps: "3 checkpoints, at steps 40, 80 and 120."."""
    *others, last = [f"{step:,}" for step in steps]
    if not others:
        return tr("1 checkpoint, at step {last}.", last=last)
    listed = ", ".join(others) if len(others) < STEPS_NAMED else f"{', '.join(others[:3])}, … {others[-1]}"
    return tr("{all} checkpoints, at steps {listed} and {last}.", all=len(steps), listed=listed, last=last)


def pushed_text(pushed: AdapterPushed | None) -> str:
    """What was pushed last, and where to: "The checkpoint at step 40 is at https://huggingface.co/ada/yoda."."""
    if pushed is None or not pushed.url:
        return ""
    if pushed.step is None:
        return tr("The adapter is at {url}.", url=pushed.url)
    return tr("The checkpoint at step {step:,} is at {url}.", step=pushed.step, url=pushed.url)


def can_resume(snapshot: Snapshot | None) -> bool:
    return snapshot is not None and snapshot.status in RESUMABLE


def resume_text(snapshot: Snapshot | None) -> Markup:
    """What the Resume button does to this run."""
    if not can_resume(snapshot):
        return Markup()
    if not snapshot.checkpoints:
        return _sentence(tr("There is no checkpoint, so the run starts over."))
    step, steps = snapshot.checkpoints[-1], snapshot.max_steps
    if not steps:
        return _sentence(tr("The run resumes after step {step:,}.", step=step))
    return _sentence(tr("The run resumes after step {step:,} of {steps:,}.", step=step, steps=steps))


def best_button(snapshot: Snapshot | None, state: ModelState, busy: str) -> dict:
    """The button that loads the best checkpoint: shown when that is kept and not loaded yet."""
    best = _kept_best(snapshot)
    words = tr("Compare with the best checkpoint")
    if busy:
        words = tr("Compare with the best checkpoint ({why})", why=tr(busy))
    return {
        "visible": best is not None and not _is_loaded(snapshot, best, state),
        "interactive": not busy,
        "value": words,
    }


def best_text(snapshot: Snapshot | None, state: ModelState) -> Markup:
    """Which checkpoint is the best one, whether it is loaded, and a warning when the run overfits."""
    if snapshot is None:
        return Markup()
    best = _kept_best(snapshot)
    if best is None:
        words = Markup()
    elif _is_loaded(snapshot, best, state):
        loaded = tr("The checkpoint at step {step:,} is loaded: try it on the Compare tab.", step=best.step)
        words = notice(loaded, "good")
    else:
        words = _sentence(tr("Validation loss was lowest at step {step:,}; its checkpoint is kept.", step=best.step))
    return words + notice(overfitting(snapshot), "warning")


def _sentence(text: str) -> Markup:
    return render_part(TEMPLATE, "sentence", text=text)


def _is_loaded(snapshot: Snapshot, best: Evaluated, state: ModelState) -> bool:
    return (state.adapter, state.step) == (snapshot.run_id, best.step)


def _kept_best(snapshot: Snapshot | None) -> Evaluated | None:
    """The validation with the lowest loss, when the checkpoint of its step is kept."""
    best = snapshot.best if snapshot else None
    return best if best and best.step in snapshot.checkpoints else None
