"""The opened run as HTML: its facts, what it kept, how it went, and the log of a failure."""

from typing import Any

from markupsafe import Markup

from core.problems import mark, tr
from core.runs.checkpoint_list import Checkpoint
from core.runs.overview import Overview
from core.runs.run_folder import Run
from core.runs.snapshot import Snapshot
from ui.runs.runs_table import steps
from ui.shared.formatting import data_name, duration_or_dash, gib, loss, when
from ui.shared.html import render_part
from ui.shared.run_charts import charts
from ui.train.receipt_view import receipt_text
from ui.train.run_figures import end_text
from ui.train.run_state_text import NOTICE_KINDS

TEMPLATE = "runs/run.html"
LOG_BYTES = 20_000  # of a failure's log: its end says what went wrong
STILL_RUNNING = mark("This run is in progress. The Train tab shows each step; this is its state at the last check.")


def head_text(row: Overview) -> Markup:
    """The run's name and status, its facts, and what is wrong with it."""
    losses = loss(row.last_loss)
    if row.best_loss is not None:
        figures = {"loss": losses, "best": loss(row.best_loss), "step": row.best_step}
        losses = tr("{loss} (best {best} at step {step:,})", **figures)
    facts = [
        (tr("Started"), when(row.started)),
        (tr("Model"), row.model or tr("unknown")),
        (tr("Dataset"), data_name(row.data) or tr("unknown")),
        (tr("Steps"), steps(row) if row.step else tr("none")),
        (tr("Validation loss"), losses),
        (tr("Time"), duration_or_dash(row.seconds)),
        (tr("Peak memory"), gib(row.peak_gib)),
    ]
    message = tr(STILL_RUNNING if row.is_going_on else row.message)
    message = message or tr("This run is {status}.", status=tr(row.status))
    kind = "info" if row.is_going_on else NOTICE_KINDS.get(row.status, "info")
    return render_part(TEMPLATE, "head", run=row, message=message, kind=kind, rows=facts)


def kept_text(run: Run, snapshot: Snapshot) -> Markup:
    """The adapters that can be loaded: the final one, and the checkpoints, the newest first and the best one marked."""
    checkpoints = run.checkpoints()
    losses = {e.step: e.eval_loss for e in snapshot.evaluations}
    known = [(_loss_of(c, losses), c.step) for c in checkpoints if _loss_of(c, losses) is not None]
    best = min(known)[1] if known else None
    adapters: list[dict[str, Any]] = []
    if run.has_adapter:
        final = snapshot.finished.eval_loss if snapshot.finished else losses.get(snapshot.step)
        words = tr("final, step {step:,}", step=snapshot.step) if snapshot.step else tr("final")
        adapters.append({"step": "", "words": words, "loss": loss(final), "is_best": False})
    for kept in reversed(checkpoints):
        words, of_it = tr("checkpoint at step {step:,}", step=kept.step), loss(_loss_of(kept, losses))
        adapters.append({"step": kept.step, "words": words, "loss": of_it, "is_best": kept.step == best})
    return render_part(TEMPLATE, "kept", run_id=run.id, adapters=adapters)


def _loss_of(checkpoint: Checkpoint, losses: dict[int, float]) -> float | None:
    return checkpoint.eval_loss if checkpoint.eval_loss is not None else losses.get(checkpoint.step)


def course_text(snapshot: Snapshot) -> Markup:
    """The run's charts, its figures at the end, and its receipt."""
    is_begun = snapshot.steps or snapshot.memory or snapshot.evaluations
    drawn = charts(snapshot, has_choices=True) if is_begun else Markup()
    receipt = receipt_text(snapshot.receipt) if snapshot.receipt else Markup()
    return drawn + end_text(snapshot) + receipt


def log_text(run: Run) -> Markup:
    """The log of a failure, folded; empty when there is none."""
    try:
        with open(run.folder / "log.txt", "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - LOG_BYTES, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return Markup()
    title = tr("Log of the failure (log.txt)")
    if size > LOG_BYTES:
        title = tr("Log of the failure (the last {size:,} bytes of log.txt)", size=LOG_BYTES)
    return render_part(TEMPLATE, "log", text=text, title=title)
