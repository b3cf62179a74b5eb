"""The figures at the end of a run as HTML: time, memory, losses, and base against tuned on validation rows."""

from markupsafe import Markup

from core.runs.events import HeldOut, Probed
from core.runs.run_folder import Run
from core.runs.snapshot import Snapshot
from ui.shared.formatting import count, duration_or_dash, gib, percent
from ui.shared.html import render_part

TEMPLATE = "train/figures.html"


def memory_text(snapshot: Snapshot) -> str:
    """Estimated, probed and measured memory of a finished run in one line; empty when there is nothing to compare."""
    if snapshot.finished is None or snapshot.estimated is None:
        return ""
    # A probe of these very settings corrects the estimate to what it measured, so the uncorrected one is compared.
    was, expected = snapshot.finished.peak_memory_gib, snapshot.expected_gib
    estimated, corrected = expected["estimate"], expected.get("corrected by a probe")
    probed = _probed_in_short(snapshot.probed) if snapshot.probed else ""
    if corrected is not None:
        probed = f" · corrected by a probe: {gib(corrected)}"
    return f"estimated {gib(estimated)}{probed} · measured {gib(was)}{_off(estimated, was)}"


def _probed_in_short(probed: Probed) -> str:
    """With the length, because the run's own rows may be shorter."""
    rows = f" on rows of {count(probed.length, 'token')}" if probed.length else ""
    return f" · probed {gib(probed.peak_gib)}{rows}"


def _off(estimated: float, was: float) -> str:
    if not was:
        return ""
    off = round((estimated / was - 1) * 100)
    return f" (estimate {abs(off)}% {'high' if off > 0 else 'low'})" if off else " (estimate within 1%)"


def end_text(snapshot: Snapshot | None) -> Markup:
    """Base against tuned on validation rows, and the figures at the end."""
    if snapshot is None:
        return Markup()
    held = heldout_text(snapshot.heldout) if snapshot.heldout else Markup()
    return held + finished_text(snapshot)


def next_steps_text(run: Run, snapshot: Snapshot) -> Markup:
    """The buttons that lead on from a run that has ended; empty if nothing of it can be loaded."""
    if not snapshot.is_over or not (run.has_adapter or snapshot.checkpoints):
        return Markup()
    step = "" if run.has_adapter else str(snapshot.checkpoints[-1])
    return render_part(TEMPLATE, "next_steps", run_id=run.id, step=step)


def finished_text(snapshot: Snapshot) -> Markup:
    """The figures at the end; empty before."""
    done = snapshot.finished
    if done is None:
        return Markup()
    total = done.total_memory_gib
    training = done.peak_memory_for_training_gib
    rows = [
        ("Time", f"{duration_or_dash(snapshot.seconds)} for {count(done.steps, 'step')}"),
        ("Speed", f"{done.tokens_per_s:,.0f} tokens/s"),
        ("Peak memory", f"{gib(done.peak_memory_gib)} ({percent(done.peak_memory_gib / total)} of {gib(total)})"),
        ("Used by training", f"{gib(training)} ({percent(training / total)})"),
        ("Memory estimate", memory_text(snapshot)),
        ("Mean training loss", "–" if done.train_loss is None else f"{done.train_loss:.4f}"),
        ("Validation loss", "–" if done.eval_loss is None else f"{done.eval_loss:.4f}"),
        ("Adapter", done.adapter_dir or "none kept"),
    ]
    return render_part(TEMPLATE, "finished", rows=[(name, value) for name, value in rows if value])


def heldout_text(held: HeldOut) -> Markup:
    """Base against tuned on validation rows."""
    rows = [("loss on trained tokens", f"{held.base_loss:.3f}", f"{held.tuned_loss:.3f}")]
    if held.base_exact is not None:
        rows += [
            ("exact match", percent(held.base_exact), percent(held.tuned_exact)),
            ("ends by itself", percent(held.base_ends), percent(held.tuned_ends)),
        ]
    title = f"On {count(held.rows, 'row')} that it was not trained on"
    return render_part(TEMPLATE, "heldout", title=title, rows=rows)
