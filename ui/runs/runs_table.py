"""The table of all runs and the list of the trash, as HTML.

A button carries `data-ask` and what it is about; the script `CLICKS` sends that as one event, so that a table of any
number of runs is one component.
"""

from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from core.problems import mark, tr, trn
from core.runs.overview import Overview
from core.runs.trash import Deleted
from core.settings.paths import last_part
from ui.shared.formatting import data_name, disk, duration_or_dash, gib, loss, when
from ui.shared.html import render_part
from ui.shared.run_charts import MOST_RUNS

TEMPLATE = "runs/table.html"
ROWS_PER_PAGE = 50  # sent at first; the person asks for more, or searches
COLUMN_TITLES = {  # shown with `tr`; in order of importance: a phone shows the first three
    "name": mark("Name"),
    "status": mark("Status"),
    "started": mark("Date"),
    "best_loss": mark("Best loss"),
    "last_loss": mark("Last loss"),
    "step": mark("Steps"),
    "seconds": mark("Time"),
    "peak_gib": mark("Peak memory"),
    "model": mark("Model"),
    "data": mark("Dataset"),
    "note": mark("Note"),
}
TEXT_COLUMNS = {"name", "model", "data", "status", "note"}  # sorted from A to Z first; figures from the largest


@dataclass(frozen=True)
class TableRow:
    """A run as the table shows it; `texts` are (short, whole)."""

    id: str
    name: str
    is_open: bool
    is_chosen: bool
    status: str
    fault: str
    started: str
    best_loss: str
    best_step: str
    figures: list[str]
    texts: list[tuple[str, str]]


@dataclass(frozen=True)
class Shown:
    """What one page shows of the runs: its search, its order, and the runs it opened and chose."""

    search: str = ""
    by: str = "started"
    is_down: bool = True
    most: int = ROWS_PER_PAGE
    opened: str = ""
    chosen: tuple[str, ...] = ()
    is_emptying: bool = False


def table_text(found: list[Overview], total: int, shown: Shown) -> Markup:
    """The first `shown.most` of the runs found; `total` is the number of all runs."""
    if not total:
        return _empty(tr("No runs yet. Each run you start on the Train tab is listed here."))
    if not found:
        return _empty(
            trn(
                "None of the {count:,} run has all of these words.",
                "None of the {count:,} runs has all of these words.",
                total,
            )
        )
    number = trn("{count:,} run", "{count:,} runs", total)
    if len(found) < total:
        number = trn("{found:,} of {count:,} run", "{found:,} of {count:,} runs", total, found=len(found))
    return render_part(
        TEMPLATE,
        "table",
        heads=[_head(column, tr(title), shown) for column, title in COLUMN_TITLES.items()],
        rows=[_row(row, shown) for row in found[: shown.most]],
        number=number,
        more=min(ROWS_PER_PAGE, max(len(found) - shown.most, 0)),
    )


def _empty(text: str) -> Markup:
    return render_part(TEMPLATE, "empty", text=text)


def _head(column: str, title: str, shown: Shown) -> dict[str, Any]:
    order = ("descending" if shown.is_down else "ascending") if shown.by == column else ""
    is_text = column in TEXT_COLUMNS or column == "started"
    return {"column": column, "title": title, "order": order, "is_text": is_text}


def _row(row: Overview, shown: Shown) -> TableRow:
    if row.is_going_on:
        # What changes with every step is in the sidebar; here it would have the table sent each second.
        figures = [tr("{steps:,} planned", steps=row.steps) if row.steps else "–", "–", "–"]
    else:
        figures = [steps(row), duration_or_dash(row.seconds), "–" if row.peak_gib is None else gib(row.peak_gib)]
    return TableRow(
        id=row.id,
        name=row.name,
        is_open=row.id == shown.opened,
        is_chosen=row.id in shown.chosen,
        status=row.status,
        fault=row.fault,
        started=when(row.started),
        best_loss=loss(row.best_loss),
        best_step="" if row.best_step is None else tr("step {step:,}", step=row.best_step),
        figures=[loss(row.last_loss), *figures],
        texts=[(last_part(row.model), row.model), (data_name(row.data), row.data), (row.note, row.note)],
    )


def visible(rows: tuple[Overview, ...]) -> tuple[Overview, ...]:
    """What the table shows of these runs: while this stays equal, the table need not be drawn again."""
    return tuple(replace(r, step=0, seconds=None, peak_gib=None) if r.is_going_on else r for r in rows)


def labels(rows: list[Overview]) -> list[str]:
    """A different label for each run: its name, with the date where names are equal, or else its id."""
    names = [row.name for row in rows]
    dated = [row.name if names.count(row.name) == 1 else f"{row.name}, {when(row.started)}" for row in rows]
    return [label if dated.count(label) == 1 else row.id for label, row in zip(dated, rows, strict=True)]


def steps(row: Overview) -> str:
    """60, or 12 of 60 where it ended early."""
    if not row.step:
        return "–"
    return tr("{step:,} of {steps:,}", step=row.step, steps=row.steps) if row.step < row.steps else f"{row.step:,}"


def chosen_text(rows: tuple[Overview, ...], chosen: tuple[str, ...]) -> Markup:
    """The runs chosen for comparing, below the table."""
    if not chosen:
        return Markup()
    names = labels([row for row in rows if row.id in chosen])
    return render_part(TEMPLATE, "chosen", number=len(chosen), most=MOST_RUNS, names=names)


def trash_text(deleted: list[Deleted], is_emptying: bool) -> Markup:
    """The runs in the trash, and a button that empties it after asking once more."""
    if not deleted:
        return _empty(tr("The trash is empty. Deleted runs stay here until you empty it."))
    return render_part(
        TEMPLATE,
        "trash",
        deleted=[{"id": run.id, "run_id": run.run_id, "name": run.name, "size": disk(run.size)} for run in deleted],
        only=deleted[0].name if len(deleted) == 1 else "",
        size=disk(sum(run.size for run in deleted)),
        is_emptying=is_emptying,
    )


def delete_text(name: str) -> Markup:
    """Asked before a run is deleted."""
    return render_part(TEMPLATE, "delete", name=name)


def undo_text(deleted: Deleted) -> Markup:
    """Shown right after a run was deleted."""
    return render_part(TEMPLATE, "undo", run=deleted)
