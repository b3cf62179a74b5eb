"""An evaluation as HTML: the table of measures, what it found about forgetting, rows to read."""

from collections.abc import Callable
from datetime import datetime
from math import isnan
from pathlib import Path

from markupsafe import Markup

from core.evaluation.metrics import BY_KEY, Metric
from core.evaluation.record import Evaluation, Measure, ReadRow, Source
from ui.shared.formatting import count, duration, percent, run_label
from ui.shared.html import render_part

TEMPLATE = "compare/measure.html"
VERDICT_STYLES = {"better": "good", "worse": "ill"}  # classes of the stylesheet


def evaluation_text(found: Evaluation, label: Callable[[str], str] = run_label) -> Markup:
    """The whole evaluation."""
    lists = (
        ("Rows that gained most", found.gained),
        ("Rows that lost most", found.lost),
        ("Answers that differ", found.differing),
    )
    forgetting = found.forgetting.words if found.forgetting else ""
    return render_part(
        TEMPLATE,
        "evaluation",
        title=f"{label(found.run_id)} on {_rows(found)}",
        measures=[_measure(one, BY_KEY[one.key], found.rows) for one in found.measures if one.key in BY_KEY],
        small_print=_small_print(found),
        note=found.note,
        forgetting=forgetting,
        is_worse="worse" in forgetting,
        lists=[{"title": title, "rows": [_to_read(row) for row in rows]} for title, rows in lists if rows],
    )


def source_words(source: Source) -> str:
    """What was measured on, in a few words."""
    if source.kind == "validation":
        return "its validation rows"
    what = "rows of" if source.kind == "file" else "prompts of"
    return f"{what} {Path(source.path.splitlines()[0]).name}" if source.path else what.split()[0]


def choice_label(found: Evaluation) -> str:
    """Its name in a list: 22 Nov 10:02, its validation rows (72)."""
    when = datetime.fromtimestamp(found.made)
    return f"{when.day} {when:%b %H:%M}, {source_words(found.source)} ({found.rows:,})"


def _rows(found: Evaluation) -> str:
    words = source_words(found.source)
    name = words.partition(" of ")[2]
    thing = "prompt" if found.source.kind == "prompts" else "row"
    if found.source.kind == "validation":
        return f"{count(found.rows, 'row')} " + ("kept for validation" if found.note else "that it was not trained on")
    return f"{count(found.rows, thing)} of {name}"


def _measure(one: Measure, metric: Metric, rows: int) -> dict[str, str]:
    """A row of the table; `of_rows` is empty when it was measured on all `rows`."""
    return {
        "title": metric.title,
        "help": metric.help,
        "of_rows": count(one.rows, "row") if one.rows != rows else "",
        "base": value(one.base, metric),
        "tuned": value(one.tuned, metric),
        "difference": signed(one.difference, metric),
        "between": _between(one, metric),
        "style": VERDICT_STYLES.get(one.verdict, ""),
        "verdict": one.verdict,
    }


def _between(one: Measure, metric: Metric) -> str:
    return "–" if one.low is None else f"{signed(one.low, metric)} to {signed(one.high, metric)}"


def value(number: float, metric: Metric) -> str:
    """A value in the notation of its metric."""
    if metric.form == "share":
        return percent(number)
    if abs(number) >= 1e5:
        return f"{number:.2e}"
    return f"{number:,.{1 if metric.form in ('score', 'count') or abs(number) >= 100 else 3}f}"


def signed(number: float, metric: Metric) -> str:
    """A difference with its sign; for two shares, in percentage points."""
    if isnan(number):  # of two values that are both infinite
        return "–"
    if number == 0:
        return "0"
    sign = "+" if number > 0 else "−"
    if metric.form == "share":
        return f"{sign}{abs(number) * 100:.1f} pp"
    return sign + value(abs(number), metric)


def _small_print(found: Evaluation) -> list[str]:
    words = [f"Greedy answers of at most {count(found.max_new_tokens, 'token')}"]
    words.append(f"measured in {duration(found.seconds)}")
    if found.left_out:
        words.append(f"{count(found.left_out, 'row')} left out, too long for the model")
    return words


def _to_read(row: ReadRow) -> dict[str, list]:
    """The texts of one row, each with its style and title, and its losses; plain text has losses alone."""
    losses = (("base", row.base_loss), ("tuned", row.tuned_loss))
    texts = [("asked", "Question", row.question)]
    if row.reference is not None:
        texts.append(("wanted", "Reference", row.reference))
    if row.base or row.tuned:
        texts += [("base", "Base", row.base), ("tuned", "Tuned", row.tuned)]
    return {"texts": texts, "losses": [f"{name} {loss:.3f}" for name, loss in losses if loss is not None]}
