"""The queue as HTML: the runs that wait with how long they take, and how they ended once it is empty."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from core.problems import tr, trn
from core.runs.overview import Overview
from core.runs.queue_file import Entry, Queue
from core.runs.run_list import RunList
from core.settings.run_config import fields
from core.workbench.queue_times import total
from ui.runs.group_view import group_text
from ui.shared.formatting import duration
from ui.shared.html import render_part

TEMPLATE = "train/queue.html"
VARIED_FIRST = ("training.learning_rate", "1e-4, 2e-4, 5e-4")  # as an example, and as what people vary most
NOT_VARIED = ("model.trust_remote_code", "data.allow_left_out")  # a person's consent


@dataclass(frozen=True)
class Row:
    """An entry as the page shows it; `words` say how long it takes, or how far it is."""

    id: str
    name: str
    words: str
    fault: str = ""
    can_move: bool = False
    can_rise: bool = False
    can_sink: bool = False
    can_drop: bool = True


def queue_text(queue: Queue, rows: Mapping[str, Overview], left: Mapping[str, float | None], trouble: str) -> Markup:
    """The queue; empty if nothing waits. `rows` are the runs by their ids, `left` the seconds that each entry takes."""
    if not queue.entries and not trouble:
        return Markup()
    return render_part(
        TEMPLATE, "queue", trouble=trouble, summary=summary_text(queue, left), rows=rows_of(queue, rows, left),
        is_paused=queue.is_paused, can_pause=any(not entry.run_id for entry in queue.entries),
    )  # fmt: skip


def rows_of(queue: Queue, rows: Mapping[str, Overview], left: Mapping[str, float | None]) -> list[Row]:
    """The entries as the page and the command line show them; the arguments are those of `queue_text`."""
    waiting = [entry for entry in queue.entries if not entry.run_id]
    return [_row(entry, rows.get(entry.run_id), left[entry.id], waiting) for entry in queue.entries]


def _row(entry: Entry, run: Overview | None, left: float | None, waiting: list[Entry]) -> Row:
    if not entry.run_id:
        place = waiting.index(entry)
        words = tr("unknown time") if left is None else tr("about {time}", time=duration(left))
        return Row(
            entry.id, entry.title, "" if entry.fault else words, entry.fault, can_move=True, can_rise=place > 0,
            can_sink=place < len(waiting) - 1,
        )  # fmt: skip
    if run is not None and run.is_going_on:
        words = tr("in progress") if left is None else tr("in progress, {time} left", time=duration(left))
        return Row(entry.id, run.name, words, can_drop=False)
    step = run.step if run else 0
    words = trn("stopped after {count:,} step; resumed first", "stopped after {count:,} steps; resumed first", step)
    return Row(entry.id, run.name if run else entry.title, words)


def summary_text(queue: Queue, left: Mapping[str, float | None]) -> str:
    """How many runs there are, and how long all of them take, as far as that is known."""
    usable = {entry.id: left[entry.id] for entry in queue.entries if not entry.fault}
    if not usable:
        return ""
    seconds, unknown = total(usable)
    runs = trn("{count:,} run", "{count:,} runs", len(usable))
    if queue.is_paused:
        runs = trn("{count:,} run, paused", "{count:,} runs, paused", len(usable))
    if unknown == len(usable):
        return tr("{runs}; how long they take is not known.", runs=runs)
    if unknown:
        words = {"runs": runs, "time": duration(seconds), "number": unknown}
        return tr("{runs}; about {time}, without {number} of unknown time.", **words)
    return tr("{runs}; about {time} in all.", runs=runs, time=duration(seconds))


def ended_words(queue: Queue, rows: Mapping[str, Overview]) -> str:
    """How the runs ended, once nothing waits any more; empty before that, and if there were none."""
    if queue.next is not None or not queue.ended:
        return ""
    found = Counter(rows[run].status if run in rows else "deleted" for run in queue.ended)
    words = trn(
        "The queue is empty: {count:,} run ended.", "The queue is empty: {count:,} runs ended.", len(queue.ended)
    )
    if failed := found["failed"]:
        words += " " + trn("{count:,} of them failed.", "{count:,} of them failed.", failed)
    return words


def ended_text(queue: Queue, runs: RunList, rows: Mapping[str, Overview]) -> Markup:
    """How the runs ended, with one table for those that were queued in one step."""
    words = ended_words(queue, rows)
    if not words:
        return Markup()
    groups = dict.fromkeys(rows[run].group for run in queue.ended if run in rows)
    has_failed = any(run in rows and rows[run].status == "failed" for run in queue.ended)
    tables = [table for group in groups if (table := group_text(runs, group))]
    return render_part(TEMPLATE, "ended", words=words, kind="warning" if has_failed else "good", tables=tables)


def vary_text() -> Markup:
    """The form for variations."""
    settings = [(name, info.title) for name, info in fields().items() if name not in NOT_VARIED]
    first, values = VARIED_FIRST
    return render_part(TEMPLATE, "vary", settings=settings, first=first, values=values)
