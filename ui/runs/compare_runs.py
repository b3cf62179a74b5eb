"""Several runs side by side: their losses in one chart, and the settings and results in which they differ."""

from markupsafe import Markup

from core.problems import tr
from core.runs.overview import Overview
from core.runs.snapshot import Snapshot
from core.settings.run_config import RunConfig, fields, flatten
from ui.runs.runs_table import labels, steps
from ui.shared.formatting import duration_or_dash, gib, loss, percent, setting_text
from ui.shared.html import render_part
from ui.shared.line_chart import Axis
from ui.shared.run_charts import run_chart

Difference = tuple[str, list[str]]  # title, and the value of each run


def losses_text(rows: list[Overview], snapshots: list[Snapshot], over: Axis) -> Markup:
    """Training and validation losses of up to six runs in one chart."""
    return run_chart(list(zip(labels(rows), snapshots, strict=True)), over)


def tables_text(rows: list[Overview], snapshots: list[Snapshot], configs: list[RunConfig | None]) -> Markup:
    """The results that differ, and the settings that differ."""
    tables = [
        (tr("Results that differ"), results(rows, snapshots), tr("All known results are the same.")),
        (tr("Settings that differ"), differences(configs), tr("All settings are the same.")),
    ]
    return render_part("runs/compare.html", "differences", labels=labels(rows), tables=tables)


def differences(configs: list[RunConfig | None]) -> list[Difference]:
    """Each setting that is not the same in all configs; the values of one that cannot be read (None) are dashes."""
    flat = [flatten(config) if config else None for config in configs]
    known = [values for values in flat if values is not None]
    if not known:
        return []
    differing = [name for name in fields() if any(values[name] != known[0][name] for values in known)]
    return [
        (fields()[name].title, ["–" if v is None else setting_text(name, v[name]) for v in flat]) for name in differing
    ]


def results(rows: list[Overview], snapshots: list[Snapshot]) -> list[Difference]:
    """Each result that is not the same in all runs."""
    held = [snapshot.heldout for snapshot in snapshots]
    done = [snapshot.finished for snapshot in snapshots]
    found = [
        (tr("Status"), [tr(row.status) for row in rows]),
        (tr("Steps"), [steps(row) for row in rows]),
        (tr("Best validation loss"), [loss(row.best_loss) for row in rows]),
        (tr("Step of the best loss"), ["–" if row.best_step is None else f"{row.best_step:,}" for row in rows]),
        (tr("Last validation loss"), [loss(row.last_loss) for row in rows]),
        (tr("Exact match, tuned"), [percent(h.tuned_exact) if h else "–" for h in held]),
        (tr("Ends by itself, tuned"), [percent(h.tuned_ends) if h else "–" for h in held]),
        (tr("Time"), [duration_or_dash(row.seconds) for row in rows]),
        (tr("Tokens per second"), [f"{d.tokens_per_s:,.0f}" if d else "–" for d in done]),
        (tr("Peak memory"), ["–" if row.peak_gib is None else gib(row.peak_gib) for row in rows]),
    ]
    return [(title, values) for title, values in found if len(set(values)) > 1]
