"""An evaluation as plain text, for the command line."""

from core.evaluation.metrics import BY_KEY
from core.evaluation.record import Evaluation
from ui.compare.measure_view import signed, source_words, value
from ui.shared.formatting import count


def evaluation_lines(found: Evaluation) -> list[str]:
    """The table of measures, forgetting and the note, as lines."""
    lines = [f"{found.run_id}, {source_words(found.source)}: {count(found.rows, 'row')}", ""]
    lines.append(f"{'':<16}{'base':>10}{'tuned':>10}{'difference':>14}  95% interval")
    for one in found.measures:
        metric = BY_KEY[one.key]
        between = "" if one.low is None else f"{signed(one.low, metric)} to {signed(one.high, metric)}, "
        figures = f"{value(one.base, metric):>10}{value(one.tuned, metric):>10}{signed(one.difference, metric):>14}"
        lines.append(f"{metric.title:<16}{figures}  {between}{one.verdict}")
    lines += ["", found.forgetting.words] if found.forgetting else []
    return lines + (["", found.note] if found.note else [])
