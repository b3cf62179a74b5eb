"""The runs of a group, such as variations of the learning rate, in one table: what was varied, and how each ended."""

from dataclasses import dataclass

from markupsafe import Markup

from core.problems import RunError, tr
from core.runs.overview import Overview
from core.runs.run_list import RunList
from ui.runs.compare_runs import differences
from ui.runs.runs_table import labels
from ui.shared.formatting import duration_or_dash, loss
from ui.shared.html import render_part


@dataclass(frozen=True)
class GroupTable:
    """`titles` of the columns, of which the first `varied` are settings; a row of values for each run, in the order in
    which they were started; and the place of the run with the lowest validation loss, None if none was measured, or not
    on the same rows, as in the stages of a recipe."""

    titles: list[str]
    varied: int
    rows: list[list[str]]
    best: int | None


def group_of(runs: RunList, group: str) -> list[Overview]:
    """The runs of a group, in the order in which they were started; none for the empty group."""
    return [row for row in reversed(runs.rows()) if group and row.group == group]


def group_table(runs: RunList, rows: list[Overview]) -> GroupTable:
    """The settings in which these runs differ, and their results. Runs that differ in none have their names there."""
    configs, snapshots = [], []
    for row in rows:
        run = runs.open(row.id)
        snapshots.append(run.snapshot())
        try:
            configs.append(run.config())
        except RunError:
            configs.append(None)
    differing = differences(configs) or [(tr("Run"), labels(rows))]
    found = [
        (tr("Status"), [tr(row.status) for row in rows]),
        (tr("Last training loss"), [loss(one.steps[-1].loss if one.steps else None) for one in snapshots]),
        (tr("Last validation loss"), [loss(row.last_loss) for row in rows]),
        (tr("Best validation loss"), [loss(row.best_loss) for row in rows]),
        (tr("Step of the best loss"), ["–" if row.best_step is None else f"{row.best_step:,}" for row in rows]),
        (tr("Time"), [duration_or_dash(row.seconds) for row in rows]),
    ]
    columns = [*differing, *found]
    has_same_rows = len({config.data.model_dump_json() for config in configs if config}) <= 1
    known = [(row.best_loss, place) for place, row in enumerate(rows) if row.best_loss is not None]
    return GroupTable(
        [title for title, _ in columns],
        len(differing),
        [[values[place] for _, values in columns] for place in range(len(rows))],
        min(known)[1] if known and has_same_rows else None,
    )


def group_text(runs: RunList, group: str, opened: str = "") -> Markup:
    """The table of a group; nothing for fewer than two runs. The row of the run `opened` is marked."""
    rows = group_of(runs, group)
    if len(rows) < 2:
        return Markup()
    place = next((place for place, row in enumerate(rows) if row.id == opened), None)
    return render_part("runs/compare.html", "group", table=group_table(runs, rows), opened=place)
