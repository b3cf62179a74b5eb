"""A run's snapshot as small charts, and several runs in one chart."""

from bisect import bisect_right
from collections.abc import Callable
from math import isfinite

from markupsafe import Markup

from core.problems import mark, tr
from core.runs.events import StepDone
from core.runs.snapshot import Snapshot
from ui.shared.formatting import figure
from ui.shared.html import render_part
from ui.shared.line_chart import CHOICES, TEMPLATE, Axis, Point, Series, chart

MOST_RUNS = 6  # per chart: the stylesheet has as many looks
EXPECTED = {  # what a run's memory was expected from, as `Snapshot.expected_gib` names it
    "estimate": mark("estimate"),
    "probe": mark("probe"),
    "corrected by a probe": mark("corrected by a probe"),
}
SMOOTHING = 0.9  # the weight of what came before, of 0 to 1


def charts(snapshot: Snapshot, has_choices: bool = False) -> Markup:
    """Loss with the best validation marked, memory, learning rates and gradient norm, as HTML. With `has_choices`, the
    loss also on a logarithmic scale and smoothed, each shown when it is chosen on the page."""
    steps, memory, best = snapshot.steps, snapshot.memory, snapshot.best
    began = memory[0].time if memory else 0.0
    used = tr("reserved") if memory and memory[-1].reserved_gib is not None else tr("this program")
    checks = Series(
        tr("validation"),
        "check",
        [(e.step, e.eval_loss) for e in snapshot.evaluations],
        dots=True,
        best=(best.step, best.eval_loss) if best else None,
    )
    marked = ""
    if best:
        values = {"step": best.step, "loss": figure(best.eval_loss)}
        marked = tr("best validation: step {step:,}, loss {loss}", **values)
    losses = [(s.step, s.loss) for s in steps]
    loss = [Series(tr("train"), "train", losses)]
    if has_choices:
        finite = [point for point in losses if isfinite(point[1])]
        loss.append(Series(tr("smoothed"), "smooth", smoothed(finite), by_choice=True))
    rates = [(tr("adapter"), "rate", [(s.step, s.learning_rate) for s in steps])]
    of_embeddings = [(s.step, s.embedding_learning_rate) for s in steps if s.embedding_learning_rate is not None]
    rates.append((tr("embeddings"), "embeddings-rate", of_embeddings))
    norm = Series(tr("norm"), "norm", [(s.step, s.grad_norm) for s in steps if s.grad_norm is not None])
    in_use = [(m.time - began, m.used_by_us_gib) for m in memory]
    drawn = [
        chart(tr("Loss"), [*loss, checks], "step", may_cut=True, remark=marked, choices=CHOICES if has_choices else ()),
        chart(tr("Memory, GiB"), [Series(used, "memory", in_use), *_expected(snapshot, in_use)], "time"),
        chart(tr("Learning rate"), [Series(*rate) for rate in rates], "step"),
        chart(tr("Gradient norm"), [norm], "step", may_cut=True),
    ]
    return render_part(TEMPLATE, "group", charts=drawn, style="charts")


def _expected(snapshot: Snapshot, in_use: list[Point]) -> list[Series]:
    """Level lines at the memory that the run was expected to use, as long as the line of what it uses."""
    ends = [in_use[0][0], in_use[-1][0]] if in_use else []
    styles = {"estimate": "estimate"}
    return [
        Series(tr(EXPECTED[name]), styles.get(name, "probe"), [(x, level) for x in ends])
        for name, level in snapshot.expected_gib.items()
    ]


def run_chart(runs: list[tuple[str, Snapshot]], x: Axis) -> Markup:
    """The losses of up to `MOST_RUNS` runs, (label, snapshot) each, in one chart over steps, tokens or training time.

    Training is a line, validation are dots; each run has a colour and a dash of its own. Labels may be any text.
    Raises ValueError when there are more runs than that.
    """
    if len(runs) > MOST_RUNS:
        raise ValueError(f"One chart has room for {MOST_RUNS} runs, not {len(runs)}.")
    series = []
    for number, (label, snapshot) in enumerate(runs, 1):
        place = {"step": lambda s: s.step, "tokens": lambda s: s.tokens, "time": lambda s: s.elapsed}[x]
        series.append(Series(label, f"run run-{number}", [(place(s), s.loss) for s in snapshot.steps]))
        checks = _checks_over(snapshot, place) if x != "step" else [(e.step, e.eval_loss) for e in snapshot.evaluations]
        series.append(Series(label, f"run run-{number}", checks, dots_alone=True))
    remark = tr("lines: training, dots: validation") if any(s.points for s in series[1::2]) else ""
    drawn = chart(tr("Loss"), series, x, may_cut=True, remark=remark)
    return render_part(TEMPLATE, "group", charts=[drawn], style="run-chart")


def _checks_over(snapshot: Snapshot, place: Callable[[StepDone], float]) -> list[Point]:
    """The validation losses, each placed at the last known step before it."""
    numbers = [s.step for s in snapshot.steps]
    found = []
    for evaluated in snapshot.evaluations:
        number = bisect_right(numbers, evaluated.step)
        found.append((place(snapshot.steps[number - 1]) if number else 0.0, evaluated.eval_loss))
    return found


def smoothed(points: list[Point], weight: float = SMOOTHING) -> list[Point]:
    """The exponential moving average, as TensorBoard draws it: debiased, so that it does not start out near zero."""
    total, missing = 0.0, 1.0
    average = []
    for x, y in points:
        total, missing = weight * total + (1 - weight) * y, weight * missing
        average.append((x, total / (1 - missing)))
    return average
