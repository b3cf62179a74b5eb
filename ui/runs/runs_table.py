"""The table of all runs and the list of the trash, as HTML whose buttons say what they ask for. Knows nothing of gradio.

A button carries `data-ask` and what it is about; `CLICKS` hands that on as one event, so that a table of any number of
runs is one component. All that a person wrote is escaped here.
"""

from dataclasses import dataclass, replace
from html import escape

from core.runs.overview import Overview
from core.runs.trash import Deleted
from ui.shared.formatting import count, data_name, disk, duration_or_dash, gib, loss, short, when
from ui.shared.line_chart import MOST_RUNS

PAGE = 50  # rows that are sent; the rest comes on demand, or is found by searching
HEADS = {  # what is asked of a run first stands first: a phone shows three columns
    "name": "Name",
    "status": "Status",
    "started": "Date",
    "best_loss": "Best loss",
    "last_loss": "Last loss",
    "step": "Steps",
    "seconds": "Time",
    "peak_gib": "Peak memory",
    "model": "Model",
    "data": "Data",
    "note": "Note",
}
WORDS_FIRST = {"name", "model", "data", "status", "note"}  # sorted from A first; figures from the largest


@dataclass(frozen=True)
class Shown:
    """How one page looks at the runs: what it searches, how it sorts, what it opened and chose."""

    search: str = ""
    by: str = "started"
    is_down: bool = True
    most: int = PAGE
    opened: str = ""
    chosen: tuple[str, ...] = ()
    is_emptying: bool = False


def table_text(found: list[Overview], of: int, shown: Shown) -> str:
    """The first of the found runs, of so many in all."""
    if not of:
        return '<p class="empty">No run yet. Each run that is started on the Train tab stands here from then on.</p>'
    if not found:
        return f'<p class="empty">None of the {count(of, "run")} has all of these words.</p>'
    heads = "".join(_head(column, title, shown) for column, title in HEADS.items())
    body = "".join(_row(row, shown) for row in found[: shown.most])
    more = ""
    if len(found) > shown.most:
        more = f'<button data-ask="more" class="plain">Show {min(PAGE, len(found) - shown.most)} more</button>'
    number = f"{len(found):,} of {count(of, 'run')}" if len(found) < of else count(of, "run")
    return (
        f'<div class="runs-box" tabindex="0" role="region" aria-label="All runs"><table class="runs">'
        f'<thead><tr><th class="pick"><span class="unseen">Compare</span></th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f'<p class="runs-foot">{number} {more}</p>'
    )


def _head(column: str, title: str, shown: Shown) -> str:
    is_by = shown.by == column
    sort = f' aria-sort="{"descending" if shown.is_down else "ascending"}"' if is_by else ""
    arrow = f'<span aria-hidden="true">{" ▾" if shown.is_down else " ▴"}</span>' if is_by else ""
    kind = ' class="words"' if column in WORDS_FIRST or column == "started" else ""
    return f'<th{kind}{sort}><button data-ask="sort" data-by="{column}">{title}{arrow}</button></th>'


def _row(row: Overview, shown: Shown) -> str:
    run, is_open, is_chosen = escape(row.id), row.id == shown.opened, row.id in shown.chosen
    best = loss(row.best_loss) + (f" <small>step {row.best_step:,}</small>" if row.best_step is not None else "")
    # What changes with every step stands in the sidebar; here it would have the table sent each second.
    figures = [f"of {row.steps:,}" if row.steps else "–", "–", "–"]
    if not row.is_going_on:
        figures = [steps(row), duration_or_dash(row.seconds), "–" if row.peak_gib is None else gib(row.peak_gib)]
    status = f'<span class="status {row.status}">{row.status}</span>'
    if row.fault:
        status += f' <span class="bad" title="{escape(row.fault)}">damaged</span>'
    words = [(short(row.model), row.model), (data_name(row.data), row.data), (row.note, row.note)]
    return (
        f'<tr data-ask="open" data-run="{run}"{" class=open" if is_open else ""}>'
        f'<td class="pick"><button role="checkbox" aria-checked="{str(is_chosen).lower()}" data-ask="choose" '
        f'data-run="{run}" aria-label="Compare {escape(row.name)}"></button></td>'
        f'<th scope="row"><button data-ask="open" data-run="{run}" aria-expanded="{str(is_open).lower()}">'
        f"{escape(row.name)}</button></th>"
        f'<td class="words">{status}</td><td class="words">{when(row.started)}</td>'
        f"<td>{best}</td><td>{loss(row.last_loss)}</td>"
        + "".join(f"<td>{text}</td>" for text in figures)
        + "".join(f'<td class="words" title="{escape(title)}">{escape(text)}</td>' for text, title in words)
        + "</tr>"
    )


def visible(rows: tuple[Overview, ...]) -> tuple:
    """What the table tells of these runs: it need not be drawn anew while this stays equal."""
    return tuple(replace(r, step=0, seconds=None, peak_gib=None) if r.is_going_on else r for r in rows)


def labels(rows: list[Overview]) -> list[str]:
    """A name for each of several runs; what is called the same is told apart by its time, or else by its id."""
    names = [row.name for row in rows]
    timed = [row.name if names.count(row.name) == 1 else f"{row.name}, {when(row.started)}" for row in rows]
    return [label if timed.count(label) == 1 else row.id for label, row in zip(timed, rows, strict=True)]


def steps(row: Overview) -> str:
    """60, or 12 of 60 where it ended early."""
    if not row.step:
        return "–"
    return f"{row.step:,} of {row.steps:,}" if row.step < row.steps else f"{row.step:,}"


def chosen_text(rows: tuple[Overview, ...], chosen: tuple[str, ...]) -> str:
    """What stands below the table about comparing."""
    if not chosen:
        return ""
    names = "; ".join(escape(label) for label in labels([row for row in rows if row.id in chosen]))
    hint = "" if len(chosen) > 1 else " Tick one more to compare them."
    return (
        f'<p class="chosen">{count(len(chosen), "run")} to compare (at most {MOST_RUNS}): {names}.{hint} '
        '<button data-ask="clear" class="plain">Clear the choice</button></p>'
    )


def trash_text(deleted: list[Deleted], is_emptying: bool) -> str:
    """What lies in the trash, and a way to be rid of it that asks once more."""
    if not deleted:
        return '<p class="empty">The trash is empty. Deleted runs stay here until you empty it.</p>'
    rows = "".join(
        f'<tr><th scope="row">{escape(run.name)}</th><td class="words">{escape(run.run_id)}</td>'
        f"<td>{disk(run.size)}</td>"
        f'<td><button data-ask="put-back" data-deleted="{escape(run.id)}" class="plain">Put back</button></td></tr>'
        for run in deleted
    )
    size = disk(sum(run.size for run in deleted))
    empty = f'<button data-ask="empty" class="plain">Empty the trash for good: frees {size}</button>'
    if is_emptying:
        empty = (
            f"<b>Delete {count(len(deleted), 'run')} for good? This frees {size} and cannot be undone.</b> "
            '<button data-ask="empty-now" class="plain danger">Delete for good</button> '
            '<button data-ask="keep" class="plain">Keep them</button>'
        )
    table = f'<table class="runs"><tbody>{rows}</tbody></table>'
    return f'<div class="runs-box">{table}</div><p class="runs-foot">{empty}</p>'


def undo_text(deleted: Deleted) -> str:
    """Said at once after a run was deleted."""
    return (
        f'<p class="notice info" role="status">{escape(deleted.name)} is in the trash. '
        f'<button data-ask="put-back" data-deleted="{escape(deleted.id)}" class="plain">Undo</button></p>'
    )
