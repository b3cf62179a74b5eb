"""One run that was opened, as HTML: what it was, what it kept, how it failed. Knows nothing of gradio or threads.

All that a person wrote is escaped here.
"""

from html import escape

from core.runs.checkpoint_list import Checkpoint
from core.runs.overview import Overview
from core.runs.run_folder import Run
from core.runs.snapshot import Snapshot
from ui.runs.runs_table import steps
from ui.shared.formatting import count, data_name, duration_or_dash, gib, loss, notice, when
from ui.shared.line_chart import charts
from ui.train.receipt_view import receipt_text
from ui.train.run_figures import end_text
from ui.train.run_state_text import KINDS

LOG_CHARACTERS = 20_000  # of a failure's log: its end says what went wrong


def head_text(row: Overview) -> str:
    """Its name and status, its facts, and what is wrong with it."""
    best = f" (best {loss(row.best_loss)} at step {row.best_step:,})" if row.best_loss is not None else ""
    facts = [
        ("Started", when(row.started)),
        ("Model", row.model or "unknown"),
        ("Data", data_name(row.data) or "unknown"),
        ("Steps", steps(row) if row.step else "none done"),
        ("Validation loss", loss(row.last_loss) + best),
        ("Time", duration_or_dash(row.seconds)),
        ("Peak memory", gib(row.peak_gib)),
    ]
    table = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in facts)
    going_on = "This run is going on: the Train tab shows each step; here stands how it was at its last check."
    ended = row.message or f"This run is {row.status}."
    said = notice(going_on) if row.is_going_on else notice(ended, KINDS.get(row.status, "info"))
    return (
        f'<section data-opened="{escape(row.id)}"><h2 class="opened">{escape(row.name)} '
        f'<span class="status {row.status}">{row.status}</span></h2>{said}{notice(row.fault, "warning")}'
        f'<dl class="facts">{table}</dl></section>'
    )


def kept_text(run: Run, snapshot: Snapshot) -> str:
    """What can be loaded of it: its adapter at the end, and its checkpoints with the best one marked."""
    rows = []
    checkpoints = run.checkpoints()
    losses = {e.step: e.eval_loss for e in snapshot.evaluations}
    known = [(_loss_of(c, losses), c.step) for c in checkpoints if _loss_of(c, losses) is not None]
    best = min(known)[1] if known else None
    if run.has_adapter:
        done = snapshot.finished.eval_loss if snapshot.finished else losses.get(snapshot.step)
        words = f"at its end, step {snapshot.step:,}" if snapshot.step else "at its end"
        rows.append(_kept(run, None, words, loss(done), False))
    for kept in reversed(checkpoints):
        words = f"checkpoint of step {kept.step:,}"
        rows.append(_kept(run, kept.step, words, loss(_loss_of(kept, losses)), kept.step == best))
    if not rows:
        none = "None kept: it ended before anything was trained and saved."
        return f'<section class="card"><h3>Adapter</h3><p>{none}</p></section>'
    return (
        '<section class="card"><h3>Adapter and checkpoints</h3><div class="runs-box"><table class="kept">'
        "<thead><tr><th>adapter</th><th>validation loss</th><th></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _loss_of(checkpoint: Checkpoint, losses: dict[int, float]) -> float | None:
    return checkpoint.eval_loss if checkpoint.eval_loss is not None else losses.get(checkpoint.step)


def _kept(run: Run, step: int | None, words: str, figure: str, is_best: bool) -> str:
    about = f'data-run="{escape(run.id)}" data-step="{"" if step is None else step}" class="plain"'
    mark = ' <span class="best-mark">best</span>' if is_best else ""
    return (
        f"<tr><td>{words}{mark}</td><td>{figure}</td>"
        f'<td><button data-ask="load" {about}>Load for comparing</button> '
        f'<button data-ask="train-on" {about}>Train on from here</button></td></tr>'
    )


def course_text(snapshot: Snapshot) -> str:
    """Its charts, its figures at the end, and what really trained."""
    drawn = charts(snapshot) if snapshot.steps or snapshot.memory or snapshot.evaluations else ""
    receipt = receipt_text(snapshot.receipt) if snapshot.receipt else ""
    return drawn + end_text(snapshot) + receipt


def log_text(run: Run) -> str:
    """The log of a failure, folded; nothing where there is none."""
    try:
        with open(run.folder / "log.txt", "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - LOG_CHARACTERS, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    left_out = f"the last {count(LOG_CHARACTERS, 'byte')} of " if size > LOG_CHARACTERS else ""
    summary = f"<summary>Log of the failure ({left_out}log.txt)</summary>"
    return f'<details class="log">{summary}<pre tabindex="0">{escape(text)}</pre></details>'
