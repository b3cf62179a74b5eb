"""An evaluation as HTML: the table of measures, what it says of forgetting, rows to read. Knows nothing of gradio."""

from datetime import datetime
from html import escape
from math import isnan
from pathlib import Path

from core.evaluation.metrics import BY_KEY, Metric
from core.evaluation.record import Evaluation, Measure, ReadRow, Source
from ui.shared.formatting import count, duration, notice, percent, run_label

GOOD, BAD = {"better"}, {"worse"}


def evaluation_text(found: Evaluation) -> str:
    """The whole of it."""
    return (
        f'<section class="card measured"><h3>{escape(run_label(found.run_id))} on {escape(_rows(found))}</h3>'
        f"{_table(found)}{_small_print(found)}</section>"
        + notice(found.note)
        + (notice(found.forgetting.words, _kind(found)) if found.forgetting else "")
        + _to_read(found)
    )


def source_words(source: Source) -> str:
    """What was measured on, in a few words."""
    if source.kind == "validation":
        return "its validation rows"
    what = "rows of" if source.kind == "file" else "prompts of"
    return f"{what} {Path(source.path.splitlines()[0]).name}" if source.path else what.split()[0]


def choice_label(found: Evaluation) -> str:
    """Its name among earlier ones: 22 Nov 10:02, its validation rows (72)."""
    when = datetime.fromtimestamp(found.made)
    return f"{when.day} {when:%b %H:%M}, {source_words(found.source)} ({found.rows:,})"


def _rows(found: Evaluation) -> str:
    words = source_words(found.source)
    name = words.partition(" of ")[2]
    thing = "prompt" if found.source.kind == "prompts" else "row"
    if found.source.kind == "validation":
        return f"{count(found.rows, 'row')} " + ("kept for validation" if found.note else "that it was not trained on")
    return f"{count(found.rows, thing)} of {name}"


def _table(found: Evaluation) -> str:
    if not found.measures:
        return ""
    head = "".join(
        f'<th scope="col" class="{style}">{name}</th>'
        for style, name in zip(
            ("", "base", "tuned", "", "", ""), ("", "base", "tuned", "difference", "95% between", ""), strict=True
        )
    )
    rows = "".join(_row(one, BY_KEY[one.key], found.rows) for one in found.measures if one.key in BY_KEY)
    return f'<table class="versus"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(one: Measure, metric: Metric, rows: int) -> str:
    style = "good" if one.verdict in GOOD else "ill" if one.verdict in BAD else ""
    of = f" <small>of {count(one.rows, 'row')}</small>" if one.rows != rows else ""
    return (
        f'<tr><th scope="row" title="{escape(metric.help)}">{escape(metric.title)}{of}</th>'
        f'<td class="base">{value(one.base, metric)}</td><td class="tuned">{value(one.tuned, metric)}</td>'
        f'<td>{signed(one.difference, metric)}</td><td class="between">{_between(one, metric)}</td>'
        f'<td class="verdict {style}">{one.verdict}</td></tr>'
    )


def _between(one: Measure, metric: Metric) -> str:
    return "–" if one.low is None else f"{signed(one.low, metric)} and {signed(one.high, metric)}"


def value(number: float, metric: Metric) -> str:
    """A value as its metric is written."""
    if metric.form == "share":
        return percent(number)
    if abs(number) >= 1e5:
        return f"{number:.2e}"
    return f"{number:.{1 if metric.form in ('score', 'count') or abs(number) >= 100 else 3}f}"


def signed(number: float, metric: Metric) -> str:
    """A difference with its sign; that of two shares in percentage points."""
    if isnan(number):  # of two that are both without bound
        return "–"
    if number == 0:
        return "0"
    sign = "+" if number > 0 else "−"
    if metric.form == "share":
        return f"{sign}{abs(number) * 100:.1f} pp"
    return sign + value(abs(number), metric)


def _small_print(found: Evaluation) -> str:
    said = [f"Likeliest answers of at most {count(found.max_new_tokens, 'token')}"]
    said.append(f"measured in {duration(found.seconds)}")
    if found.left_out:
        said.append(f"{count(found.left_out, 'row')} too long for the model left out")
    helps = "".join(
        f"<dt>{escape(BY_KEY[one.key].title)}</dt><dd>{escape(BY_KEY[one.key].help)}</dd>"
        for one in found.measures
        if one.key in BY_KEY
    )
    helps += (
        "<dt>95% between</dt><dd>Where the difference would lie for other rows of the same kind, 95 times of 100. "
        "When 0 lies between, the difference may be chance (pp: percentage points). It is the "
        "interval of the difference of the means, by percentiles: with under some 20 rows it is narrower than it should "
        "be. The measures are not corrected for being many: of twelve, one may seem sure by chance alone.</dd>"
    )
    return (
        f'<p class="small">{"; ".join(said)}.</p>'
        f'<details><summary>What these measures mean</summary><dl class="facts">{helps}</dl></details>'
    )


def _kind(found: Evaluation) -> str:
    return "warning" if "worse" in found.forgetting.words else "info"


def _to_read(found: Evaluation) -> str:
    parts = (
        ("Rows that gained most", found.gained),
        ("Rows that lost most", found.lost),
        ("Answers that differ", found.differing),
    )
    return "".join(
        f'<details class="to-read"><summary>{title} ({len(rows)})</summary>{"".join(map(_read, rows))}</details>'
        for title, rows in parts
        if rows
    )


def _read(row: ReadRow) -> str:
    """One row; plain text has no answers, its losses alone tell."""
    losses = [
        f"{name} {loss:.3f}" for name, loss in (("base", row.base_loss), ("tuned", row.tuned_loss)) if loss is not None
    ]
    parts = [("asked", "Question", row.question)]
    if row.reference is not None:
        parts.append(("wanted", "Reference", row.reference))
    if row.base or row.tuned:
        parts += [("base", "Base", row.base), ("tuned", "Tuned", row.tuned)]
    told = "".join(f'<dt class="{style}">{title}</dt><dd>{escape(text) or "–"}</dd>' for style, title, text in parts)
    foot = f'<p class="small">Loss: {", ".join(losses)}</p>' if losses else ""
    return f'<dl class="read">{told}</dl>{foot}'
