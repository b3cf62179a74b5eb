"""Several runs side by side: in what settings and results they differ. Knows nothing of gradio or threads.

All that a person wrote is escaped here.
"""

from html import escape
from typing import Any

from core.runs.overview import Overview
from core.runs.snapshot import Snapshot
from core.settings.run_config import RunConfig, fields, flatten
from ui.runs.runs_table import labels, steps
from ui.shared.formatting import duration_or_dash, gib, loss, percent, rate
from ui.shared.line_chart import Axis, run_chart


def losses_text(rows: list[Overview], snapshots: list[Snapshot], over: Axis) -> str:
    """Training and validation losses of up to six runs in one chart."""
    return run_chart(list(zip(labels(rows), snapshots, strict=True)), over)


def tables_text(rows: list[Overview], snapshots: list[Snapshot], configs: list[RunConfig | None]) -> str:
    """What differs in the results, and of the settings just those that differ."""
    heads = "".join(
        f'<th><span class="key run run-{number}">{escape(label)}</span></th>'
        for number, label in enumerate(labels(rows), 1)
    )
    return _table("Results that differ", heads, results(rows, snapshots), "All results known are the same.") + _table(
        "Settings that differ", heads, differences(configs), "All settings are the same."
    )


def differences(configs: list[RunConfig | None]) -> list[tuple[str, list[str]]]:
    """Title and values of each setting that is not the same in all that can be read; a dash is one that cannot."""
    flat = [flatten(config) if config else None for config in configs]
    known = [values for values in flat if values is not None]
    if not known:
        return []
    differing = [name for name in fields() if any(values[name] != known[0][name] for values in known)]
    return [(fields()[name].title, ["–" if v is None else _value(name, v[name]) for v in flat]) for name in differing]


def results(rows: list[Overview], snapshots: list[Snapshot]) -> list[tuple[str, list[str]]]:
    """Title and values of each result that is not the same in all."""
    held = [snapshot.heldout for snapshot in snapshots]
    done = [snapshot.finished for snapshot in snapshots]
    found = [
        ("Status", [row.status for row in rows]),
        ("Steps", [steps(row) for row in rows]),
        ("Best validation loss", [loss(row.best_loss) for row in rows]),
        ("at step", ["–" if row.best_step is None else f"{row.best_step:,}" for row in rows]),
        ("Last validation loss", [loss(row.last_loss) for row in rows]),
        ("Exact match, tuned", [percent(h.tuned_exact) if h else "–" for h in held]),
        ("Ends by itself, tuned", [percent(h.tuned_ends) if h else "–" for h in held]),
        ("Time", [duration_or_dash(row.seconds) for row in rows]),
        ("Tokens per second", [f"{d.tokens_per_s:,.0f}" if d else "–" for d in done]),
        ("Peak memory", ["–" if row.peak_gib is None else gib(row.peak_gib) for row in rows]),
    ]
    return [(title, values) for title, values in found if len(set(values)) > 1]


def _value(name: str, value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return rate(value) if name.endswith("learning_rate") else f"{value:g}" if isinstance(value, float) else str(value)


def _table(title: str, heads: str, lines: list[tuple[str, list[str]]], none: str) -> str:
    if not lines:
        return f'<section class="differ"><h3>{title}</h3><p class="empty">{none}</p></section>'
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
        for name, values in lines
    )
    return (
        f'<section class="differ"><h3>{title}</h3><div class="runs-box" tabindex="0" role="region" aria-label="{title}">'
        f'<table class="runs"><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table></div></section>'
    )
