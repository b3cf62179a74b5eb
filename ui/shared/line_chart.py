"""A run's snapshot as small charts, drawn as SVG, and several runs in one. Knows nothing of gradio or threads.

Drawn here, not by a plotting component, because a chart that is redrawn every second must neither flicker nor send
more points than a screen can show.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from math import floor, isfinite, log10
from typing import Literal

from core.runs.events import StepDone
from core.runs.snapshot import Snapshot
from core.runs.thinning import thin
from ui.shared.formatting import count, figure

WIDTH, HEIGHT = 340, 150  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 20  # margins for the axes' figures
MOST_POINTS = 300  # of a line: about what the drawing has room for
MOST_RUNS = 6  # in one chart, as many as there are looks to tell them apart
Axis = Literal["step", "tokens", "time"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line: `style` names its look in the stylesheet; `dots` marks each point, for lines with few of them, and
    `dots_alone` has no line and no entry in the legend, as it belongs to the line before; `best` is a point to mark."""

    name: str
    style: str
    points: list[Point]
    dots: bool = False
    dots_alone: bool = False
    best: Point | None = None


def charts(snapshot: Snapshot) -> str:
    """Loss with the best check marked, memory, learning rate and gradient norm, as HTML."""
    steps, memory, best = snapshot.steps, snapshot.memory, snapshot.best
    began = memory[0].time if memory else 0.0
    used = "reserved" if memory and memory[-1].reserved_gib is not None else "this program"
    checks = Series(
        "validation",
        "check",
        [(e.step, e.eval_loss) for e in snapshot.evaluations],
        dots=True,
        best=(best.step, best.eval_loss) if best else None,
    )
    marked = f"best check: step {best.step:,}, loss {figure(best.eval_loss)}" if best else ""
    train = Series("train", "train", [(s.step, s.loss) for s in steps])
    norm = Series("norm", "norm", [(s.step, s.grad_norm) for s in steps if s.grad_norm is not None])
    in_use = [(m.time - began, m.used_by_us_gib) for m in memory]
    drawn = [
        chart("Loss", [train, checks], "step", may_cut=True, remark=marked),
        chart("Memory, GiB", [Series(used, "memory", in_use), _estimated(snapshot, in_use)], "time"),
        chart("Learning rate", [Series("adapter", "rate", [(s.step, s.learning_rate) for s in steps])], "step"),
        chart("Gradient norm", [norm], "step", may_cut=True),
    ]
    return f'<div class="charts">{"".join(drawn)}</div>'


def _estimated(snapshot: Snapshot, in_use: list[Point]) -> Series:
    """A level line at what the run was expected to take, as long as that of what it takes."""
    ends = [in_use[0][0], in_use[-1][0]] if in_use and snapshot.estimated else []
    return Series("estimate", "estimate", [(x, snapshot.estimated.comparable_gib) for x in ends])


def run_chart(runs: list[tuple[str, Snapshot]], x: Axis) -> str:
    """The losses of up to `MOST_RUNS` runs, (label, snapshot) each, in one chart over steps, tokens or training time.

    Training is a line, validation are dots; each run has a colour and a dash of its own. Labels may be any text.
    Raises ValueError when there are more runs than that.
    """
    if len(runs) > MOST_RUNS:
        raise ValueError(f"{MOST_RUNS} runs fit into one chart, and these are {len(runs)}.")
    series = []
    for number, (label, snapshot) in enumerate(runs, 1):
        place = {"step": lambda s: s.step, "tokens": lambda s: s.tokens, "time": lambda s: s.elapsed}[x]
        series.append(Series(label, f"run run-{number}", [(place(s), s.loss) for s in snapshot.steps]))
        checks = _checks_over(snapshot, place) if x != "step" else [(e.step, e.eval_loss) for e in snapshot.evaluations]
        series.append(Series(label, f"run run-{number}", checks, dots_alone=True))
    remark = "lines: training, dots: validation" if any(s.points for s in series[1::2]) else ""
    return f'<div class="run-chart">{chart("Loss", series, x, may_cut=True, remark=remark)}</div>'


def _checks_over(snapshot: Snapshot, place: Callable[[StepDone], float]) -> list[Point]:
    """The checks by where training stood then: at the last step known of that was done before the check."""
    numbers = [s.step for s in snapshot.steps]
    found = []
    for evaluated in snapshot.evaluations:
        number = bisect_right(numbers, evaluated.step)
        found.append((place(snapshot.steps[number - 1]) if number else 0.0, evaluated.eval_loss))
    return found


def chart(title: str, series: list[Series], x_axis: Axis, may_cut: bool = False, remark: str = "") -> str:
    """One chart with a remark below its title. Values that are not finite are left out; before there is anything to
    draw it says so. Where `may_cut`, the axis does not reach to a few values far above all others: they are marked at
    the upper edge, and the highest is told in words."""
    series = [replace(s, points=[p for p in s.points if isfinite(p[1])]) for s in series]
    series = [replace(s, points=thin(s.points, MOST_POINTS, _x, _y)) for s in series if s.points]
    if not series:
        return (
            f'<figure class="chart"><figcaption>{escape(title)}</figcaption><p class="empty">nothing yet</p></figure>'
        )
    points = [point for s in series for point in s.points]
    x0, x1 = min(map(_x, points)), max(map(_x, points))
    low, high = min(map(_y, points)), max(map(_y, points))
    top = _top(sorted(map(_y, points))) if may_cut else high
    pad = (top - low) * 0.08 or abs(top) * 0.1 or 1.0
    y0, y1 = (0.0 if 0 <= low < pad * 6 else low - pad), top + pad

    def place(point: Point) -> Point:
        across = (point[0] - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = (point[1] - y0) / (y1 - y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), max(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), TOP)

    if high > top:
        at = next(point for point in points if point[1] == high)
        size, unit = _unit(x_axis, x1)
        where = f"step {at[0]:,.0f}" if x_axis == "step" else f"{_x_figure(at[0] / size)} {unit}"
        remark = " · ".join(filter(None, [remark, f"highest: {figure(high)} at {where}, above the chart"]))
    legend = "".join(
        f'<span class="key {s.style}">{escape(s.name)} <b>{figure(s.points[-1][1])}</b></span>'
        for s in series
        if not s.dots_alone
    )
    said = f'<p class="remark">{escape(remark)}</p>' if remark else ""
    return (
        f'<figure class="chart"><figcaption>{escape(title)} {legend}</figcaption>{said}'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}, {count(len(points), "point")}">'
        f"{_axes(x0, x1, y0, y1, place, x_axis)}{''.join(_line(s, top, place) for s in series)}</svg></figure>"
    )


def _x(point: Point) -> float:
    return point[0]


def _y(point: Point) -> float:
    return point[1]


def _top(values: list[float]) -> float:
    """Up to where an axis shows these sorted values: their highest, unless some tower above the rest.

    They do when the whole range is over ten times that of the middle four fifths; then room above these for three times
    their range leaves the rest readable. A logarithmic axis would show all, and read as equal what differs by a half.
    """
    low, high = values[len(values) // 10], values[-1 - len(values) // 10]
    towers = high > low and values[-1] - values[0] > 10 * (high - low)
    return min(high + 3 * (high - low), values[-1]) if towers else values[-1]


def _axes(x0: float, x1: float, y0: float, y1: float, place: Callable[[Point], Point], x_axis: Axis) -> str:
    lines = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place((x0, y))[1]:.1f}" y2="{place((x0, y))[1]:.1f}"/>'
        f'<text x="{LEFT - 5}" y="{place((x0, y))[1] + 3:.1f}" text-anchor="end">{figure(y)}</text>'
        for y in _round_figures(y0, y1)
    ]
    size, unit = _unit(x_axis, x1)
    figures = [x * size for x in _round_figures(x0 / size, x1 / size, 5)] if x1 > x0 else [x0]
    for x in figures:
        at = place((x, y0))[0]
        anchor = "end" if at > WIDTH - 30 else "middle"  # a figure at the edge must not hang over it
        if x_axis == "time" or x == int(x):  # there are no half steps
            lines.append(f'<text x="{at:.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{_x_figure(x / size)}</text>')
    return "".join(lines) + f'<text x="2" y="{HEIGHT - 5}">{unit}</text>'


def _round_figures(low: float, high: float, most: int = 4) -> list[float]:
    """At most `most` + 1 round figures from `low` to `high`, equally far apart, and at least one."""
    rough = (high - low) / most
    size = 10.0 ** floor(log10(rough))
    apart = next(apart for apart in (size, 2 * size, 5 * size, 10 * size) if apart >= rough * 0.999)
    first = -floor(-low / apart + 1e-9)
    # Of whole numbers, so that no figure has a tail such as 0.30000000000000004.
    return [round(number * apart, 12 - floor(log10(apart))) for number in range(first, floor(high / apart + 1e-9) + 1)]


def _line(series: Series, top: float, place: Callable[[Point], Point]) -> str:
    places = [place(point) for point in series.points]
    drawn = ""
    if not series.dots_alone:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn = f'<polyline class="{series.style}" points="{path}"/>'
    dots = places if series.dots or series.dots_alone or len(places) == 1 else places[-1:]
    # Lines of no length with round ends: a tenth of what as many circles would take.
    drawn += f'<path class="dots {series.style}" d="{"".join(f"M{x:.1f},{y:.1f}h0" for x, y in dots)}"/>'
    beyond = [x for (x, _), point in zip(places, series.points, strict=True) if point[1] > top]
    if beyond:
        drawn += f'<path class="beyond {series.style}" d="{"".join(f"M{x - 3:.1f},{TOP}l3,-5 3,5z" for x in beyond)}"/>'
    if series.best:
        x, y = place(series.best)
        drawn += f'<circle class="best" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    return drawn


def _unit(x_axis: Axis, last: float) -> tuple[int, str]:
    """What the figures of an axis count, by its last value: how many of the points' own units, and its name."""
    if x_axis != "time":
        return 1, x_axis
    return (1, "s") if last < 180 else (60, "min") if last < 3 * 3600 else (3600, "h")


def _x_figure(x: float) -> str:
    if x < 100_000:
        return f"{x:,.4g}" if x < 10_000 else f"{x:,.0f}"
    return f"{x / 1e3:,.0f} K" if x < 1e6 else f"{x / 1e6:,.4g} M"
