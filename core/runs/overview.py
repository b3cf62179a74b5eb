"""One row of the table of runs, and how rows are searched and sorted."""

from dataclasses import dataclass
from pathlib import Path

from core.problems import mark, tr
from core.runs.events import Status

STATUSES: tuple[Status, ...] = (  # shown with `tr`
    mark("preparing"),
    mark("training"),
    mark("stopping"),
    mark("completed"),
    mark("stopped"),
    mark("failed"),
    mark("interrupted"),
)
COLUMNS = (
    "name",
    "status",
    "started",
    "best_loss",
    "last_loss",
    "step",
    "seconds",
    "peak_gib",
    "model",
    "data",
    "note",
)


@dataclass(frozen=True)
class Overview:
    """One run at a glance. None means unknown, or not known yet.

    `started` is in seconds since 1970, `seconds` is the training time so far, and `peak_gib` is in GiB. Losses are on
    the validation rows. `checkpoints` are steps, and `base` is `ModelConfig.base`. `fault` says in sentences what is
    damaged. `owner` and `group` are those of the run's folder.
    """

    id: str
    folder: Path
    name: str
    is_renamed: bool = False
    preset: str = ""
    note: str = ""
    status: Status = "preparing"
    message: str = ""
    fault: str = ""
    started: float = 0.0
    model: str = ""
    data: str = ""
    step: int = 0
    steps: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    last_loss: float | None = None
    seconds: float | None = None
    peak_gib: float | None = None
    has_adapter: bool = False
    checkpoints: tuple[int, ...] = ()
    base: tuple = ()
    is_going_on: bool = False
    owner: str = ""
    group: str = ""


def search(rows: tuple[Overview, ...], text: str) -> list[Overview]:
    """The rows that have every word of `text` in their name, id, model, data, status (also as it is shown) or note."""
    words = text.casefold().split()
    return [row for row in rows if all(word in _searched(row) for word in words)]


def _searched(row: Overview) -> str:
    return "\n".join((row.name, row.id, row.model, row.data, row.status, tr(row.status), row.note)).casefold()


def sort(rows: list[Overview], column: str, is_down: bool) -> list[Overview]:
    """Rows sorted by one of `COLUMNS`; unknown values come last in both directions."""
    values = [(getattr(row, column), row) for row in rows]
    known = [(v.casefold() if isinstance(v, str) else v, row) for v, row in values if v not in (None, "")]
    known = sorted(known, key=lambda pair: pair[0], reverse=is_down)
    return [row for _, row in known] + [row for value, row in values if value in (None, "")]
