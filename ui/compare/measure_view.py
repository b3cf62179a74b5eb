"""An evaluation as HTML: the table of measures, what it found about forgetting, rows to read."""

from collections.abc import Callable
from datetime import datetime
from math import isnan
from pathlib import Path

from markupsafe import Markup

from core.evaluation.metrics import BY_KEY, Metric
from core.evaluation.record import Evaluation, Measure, ReadRow, Source
from core.problems import mark, tr, trn
from ui.shared.formatting import day_and_time, duration, percent, run_label
from ui.shared.html import render_part

TEMPLATE = "compare/measure.html"
VERDICT_STYLES = {"better": "good", "worse": "ill"}  # classes of the stylesheet


def evaluation_text(found: Evaluation, label: Callable[[str], str] = run_label) -> Markup:
    """The whole evaluation."""
    lists = (
        (tr("Rows that gained most"), found.gained),
        (tr("Rows that lost most"), found.lost),
        (tr("Answers that differ"), found.differing),
    )
    return render_part(
        TEMPLATE,
        "evaluation",
        title=_title(found, label(found.run_id)),
        measures=[_measure(one, BY_KEY[one.key], found.rows) for one in found.measures if one.key in BY_KEY],
        small_print=_small_print(found),
        note=tr(found.note),
        forgetting=found.forgetting.words if found.forgetting else "",
        is_worse=found.forgetting is not None and found.forgetting.is_worse,
        lists=[{"title": title, "rows": [_to_read(row) for row in rows]} for title, rows in lists if rows],
    )


def source_words(source: Source) -> str:
    """What was measured on, in a few words."""
    if source.kind == "validation":
        return tr("its validation rows")
    if not source.path:
        return tr("rows") if source.kind == "file" else tr("prompts")
    template = mark("rows of {file}") if source.kind == "file" else mark("prompts of {file}")
    return tr(template, file=_file(source))


def _file(source: Source) -> str:
    """The name of the first file; empty where there is none."""
    return Path(source.path.splitlines()[0]).name if source.path else ""


def choice_label(found: Evaluation) -> str:
    """Its name in a list: 22 Nov 10:02, its validation rows (72)."""
    made = day_and_time(datetime.fromtimestamp(found.made))
    return f"{made}, {source_words(found.source)} ({found.rows:,})"


def _title(found: Evaluation, run: str) -> str:
    """The run and what it was measured on."""
    rows, file = found.rows, _file(found.source)
    if found.source.kind == "prompts":
        return trn(
            "{run} on {count:,} prompt of {file}", "{run} on {count:,} prompts of {file}", rows, run=run, file=file
        )
    if found.source.kind == "file":
        return trn("{run} on {count:,} row of {file}", "{run} on {count:,} rows of {file}", rows, run=run, file=file)
    if found.note:
        return trn(
            "{run} on {count:,} row kept for validation", "{run} on {count:,} rows kept for validation", rows, run=run
        )
    return trn(
        "{run} on {count:,} row that it was not trained on",
        "{run} on {count:,} rows that it was not trained on",
        rows,
        run=run,
    )


def _measure(one: Measure, metric: Metric, rows: int) -> dict[str, str]:
    """A row of the table; `of_rows` is empty when it was measured on all `rows`."""
    return {
        "title": tr(metric.title),
        "help": tr(metric.help),
        "of_rows": trn("of {count:,} row", "of {count:,} rows", one.rows) if one.rows != rows else "",
        "base": value(one.base, metric),
        "tuned": value(one.tuned, metric),
        "difference": signed(one.difference, metric),
        "between": _between(one, metric),
        "style": VERDICT_STYLES.get(one.verdict, ""),
        "verdict": tr(one.verdict),
    }


def _between(one: Measure, metric: Metric) -> str:
    if one.low is None:
        return "–"
    return tr("{low} to {high}", low=signed(one.low, metric), high=signed(one.high, metric))


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
    sentences = [
        trn(
            "Greedy answers of at most {count:,} token; measured in {time}.",
            "Greedy answers of at most {count:,} tokens; measured in {time}.",
            found.max_new_tokens,
            time=duration(found.seconds),
        )
    ]
    if found.left_out:
        sentences.append(
            trn(
                "{count:,} row is left out, as it is too long for the model.",
                "{count:,} rows are left out, as they are too long for the model.",
                found.left_out,
            )
        )
    return sentences


def _to_read(row: ReadRow) -> dict[str, list]:
    """The texts of one row, each with its style and title, and its losses; plain text has losses alone."""
    losses = ((mark("base {loss:.3f}"), row.base_loss), (mark("tuned {loss:.3f}"), row.tuned_loss))
    texts = [("asked", tr("Question"), row.question)]
    if row.reference is not None:
        texts.append(("wanted", tr("Reference"), row.reference))
    if row.base or row.tuned:
        texts += [("base", tr("Base"), row.base), ("tuned", tr("Tuned"), row.tuned)]
    return {"texts": texts, "losses": [tr(template, loss=loss) for template, loss in losses if loss is not None]}
