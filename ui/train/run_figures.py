"""The figures at the end of a run as HTML: time, memory, losses, and base against tuned on validation rows."""

from markupsafe import Markup

from core.problems import tr, trn
from core.runs.events import HeldOut, Probed
from core.runs.run_folder import Run
from core.runs.snapshot import Snapshot
from ui.shared.formatting import duration_or_dash, gib, percent
from ui.shared.html import render_part

TEMPLATE = "train/figures.html"


def memory_text(snapshot: Snapshot) -> str:
    """Estimated, probed and measured memory of a finished run in one line; empty when there is nothing to compare."""
    if snapshot.finished is None or snapshot.estimated is None:
        return ""
    # A probe of these very settings corrects the estimate to what it measured, so the uncorrected one is compared.
    was, expected = snapshot.finished.peak_memory_gib, snapshot.expected_gib
    estimated, corrected = expected["estimate"], expected.get("corrected by a probe")
    parts = [tr("estimated {memory}", memory=gib(estimated))]
    if corrected is not None:
        parts.append(tr("corrected by a probe: {memory}", memory=gib(corrected)))
    elif snapshot.probed:
        parts.append(_probed_in_short(snapshot.probed))
    return " · ".join((*parts, _measured(estimated, was)))


def _probed_in_short(probed: Probed) -> str:
    """With the length, because the run's own rows may be shorter."""
    memory = gib(probed.peak_gib)
    if not probed.length:
        return tr("probed {memory}", memory=memory)
    tokens = trn("{count:,} token", "{count:,} tokens", probed.length)
    return tr("probed {memory} on rows of {tokens}", memory=memory, tokens=tokens)


def _measured(estimated: float, was: float) -> str:
    memory = gib(was)
    if not was:
        return tr("measured {memory}", memory=memory)
    off = round((estimated / was - 1) * 100)
    if not off:
        return tr("measured {memory} (estimate within 1%)", memory=memory)
    if off > 0:
        return tr("measured {memory} (estimate {off}% high)", memory=memory, off=off)
    return tr("measured {memory} (estimate {off}% low)", memory=memory, off=-off)


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
    peak, total = done.peak_memory_gib, done.total_memory_gib
    training = done.peak_memory_for_training_gib
    took, steps = duration_or_dash(snapshot.seconds), trn("{count:,} step", "{count:,} steps", done.steps)
    of_all = tr("{memory} ({share} of {total})", memory=gib(peak), share=percent(peak / total), total=gib(total))
    rows = [
        (tr("Time"), tr("{took} for {steps}", took=took, steps=steps)),
        (tr("Speed"), tr("{speed:,.0f} tokens/s", speed=done.tokens_per_s)),
        (tr("Peak memory"), of_all),
        (tr("Used by training"), f"{gib(training)} ({percent(training / total)})"),
        (tr("Memory estimate"), memory_text(snapshot)),
        (tr("Mean training loss"), "–" if done.train_loss is None else f"{done.train_loss:.4f}"),
        (tr("Validation loss"), "–" if done.eval_loss is None else f"{done.eval_loss:.4f}"),
        (tr("Adapter"), done.adapter_dir or tr("none kept")),
    ]
    return render_part(TEMPLATE, "finished", rows=[(name, value) for name, value in rows if value])


def heldout_text(held: HeldOut) -> Markup:
    """Base against tuned on validation rows."""
    rows = [(tr("loss on trained tokens"), f"{held.base_loss:.3f}", f"{held.tuned_loss:.3f}")]
    if held.base_exact is not None:
        rows += [
            (tr("exact match"), percent(held.base_exact), percent(held.tuned_exact)),
            (tr("ends by itself"), percent(held.base_ends), percent(held.tuned_ends)),
        ]
    title = trn(
        "On {count:,} row that it was not trained on", "On {count:,} rows that it was not trained on", held.rows
    )
    return render_part(TEMPLATE, "heldout", title=title, rows=rows)
