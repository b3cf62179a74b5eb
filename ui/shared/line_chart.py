"""A run's snapshot as small SVG charts, and several runs in one chart.

Drawn here rather than by a plotting component: a chart that is redrawn every second must not flicker, nor send more
points than a screen can show.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import floor, isfinite, log10
from typing import Literal

from markupsafe import Markup

from core.runs.events import StepDone
from core.runs.snapshot import Snapshot
from core.runs.thinning import thin
from ui.shared.chart_table import table_of
from ui.shared.formatting import count, duration, figure
from ui.shared.html import render_part

TEMPLATE = "shared/line_chart.html"
WIDTH, HEIGHT = 340, 150  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 20  # margins, which hold the axes' figures
MOST_POINTS = 300  # per line: about what the drawing has room for
MOST_RUNS = 6  # per chart: the stylesheet has as many looks
Axis = Literal["step", "tokens", "time"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    `style` is its CSS class. `dots` marks each point, for lines with few of them. `dots_alone` has no line and no entry
    in the legend, because it belongs to the series before it. `best` is a point to mark.
    """

    name: str
    style: str
    points: list[Point]
    dots: bool = False
    dots_alone: bool = False
    best: Point | None = None


def charts(snapshot: Snapshot) -> Markup:
    """Loss with the best validation marked, memory, learning rate and gradient norm, as HTML."""
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
    marked = f"best validation: step {best.step:,}, loss {figure(best.eval_loss)}" if best else ""
    train = Series("train", "train", [(s.step, s.loss) for s in steps])
    norm = Series("norm", "norm", [(s.step, s.grad_norm) for s in steps if s.grad_norm is not None])
    in_use = [(m.time - began, m.used_by_us_gib) for m in memory]
    drawn = [
        chart("Loss", [train, checks], "step", may_cut=True, remark=marked),
        chart("Memory, GiB", [Series(used, "memory", in_use), *_expected(snapshot, in_use)], "time"),
        chart("Learning rate", [Series("adapter", "rate", [(s.step, s.learning_rate) for s in steps])], "step"),
        chart("Gradient norm", [norm], "step", may_cut=True),
    ]
    return render_part(TEMPLATE, "group", charts=drawn, style="charts")


def _expected(snapshot: Snapshot, in_use: list[Point]) -> list[Series]:
    """Level lines at the memory that the run was expected to use, as long as the line of what it uses."""
    ends = [in_use[0][0], in_use[-1][0]] if in_use else []
    styles = {"estimate": "estimate"}
    return [
        Series(name, styles.get(name, "probe"), [(x, level) for x in ends])
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
    remark = "lines: training, dots: validation" if any(s.points for s in series[1::2]) else ""
    drawn = chart("Loss", series, x, may_cut=True, remark=remark)
    return render_part(TEMPLATE, "group", charts=[drawn], style="run-chart")


def _checks_over(snapshot: Snapshot, place: Callable[[StepDone], float]) -> list[Point]:
    """The validation losses, each placed at the last known step before it."""
    numbers = [s.step for s in snapshot.steps]
    found = []
    for evaluated in snapshot.evaluations:
        number = bisect_right(numbers, evaluated.step)
        found.append((place(snapshot.steps[number - 1]) if number else 0.0, evaluated.eval_loss))
    return found


def chart(title: str, series: list[Series], x_axis: Axis, may_cut: bool = False, remark: str = "") -> Markup:
    """One chart with a remark below its title. Values that are not finite are left out; without any to draw, it says
    so. Where `may_cut`, a few values far above all others do not stretch the axis: they are marked at the upper edge,
    and the highest is named in words."""
    series = [replace(s, points=[p for p in s.points if isfinite(p[1])]) for s in series]
    series = [replace(s, points=thin(s.points, MOST_POINTS, _x, _y)) for s in series if s.points]
    if not series:
        return render_part(TEMPLATE, "empty_chart", title=title)
    points = [point for s in series for point in s.points]
    frame = _frame(points, may_cut)
    highest = max(points, key=_y)
    if highest[1] > frame.top:
        remark = " · ".join(filter(None, [remark, _highest(highest, x_axis, frame)]))
    return render_part(
        TEMPLATE, "chart", title=title, remark=remark, points=count(len(points), "point"), width=WIDTH, height=HEIGHT,
        legend=[{"style": s.style, "name": s.name, "value": figure(s.points[-1][1])}
                for s in series if not s.dots_alone],
        grid=_grid(frame), ticks=_ticks(frame, x_axis), unit=_unit(x_axis, frame.x1)[1],
        lines=[_line(s, frame) for s in series], x_axis=x_axis, table=_table(series, x_axis),
    )  # fmt: skip


def _table(series: list[Series], x_axis: Axis) -> dict[str, list]:
    lines = [(f"{s.name} (validation)" if s.dots_alone else s.name, s.points) for s in series]
    return table_of(lines, duration if x_axis == "time" else _x_figure, figure)


@dataclass(frozen=True)
class Frame:
    """What the axes of a chart reach from and to, in the points' own units; values above `top` are cut."""

    x0: float
    x1: float
    y0: float
    y1: float
    top: float

    def place(self, point: Point) -> Point:
        """Where a point is in the drawing."""
        across = (point[0] - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 0.5
        up = (point[1] - self.y0) / (self.y1 - self.y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), max(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), TOP)


def _frame(points: list[Point], may_cut: bool) -> Frame:
    values = sorted(map(_y, points))
    low, high = values[0], values[-1]
    top = _top(values) if may_cut else high
    pad = (top - low) * 0.08 or abs(top) * 0.1 or 1.0
    bottom = 0.0 if 0 <= low < pad * 6 else low - pad
    return Frame(min(map(_x, points)), max(map(_x, points)), bottom, top + pad, top)


def _highest(point: Point, x_axis: Axis, frame: Frame) -> str:
    where = {
        "step": f"step {point[0]:,.0f}",
        "tokens": f"{_x_figure(point[0])} tokens",
        "time": duration(point[0]),
    }[x_axis]
    return f"highest: {figure(point[1])} at {where}, above the chart"


def _x(point: Point) -> float:
    return point[0]


def _y(point: Point) -> float:
    return point[1]


def _top(values: list[float]) -> float:
    """The highest of these sorted values that the axis shows: the last one, unless some are far above the rest.

    They are when the whole range is over ten times that of the middle four fifths. Then the axis ends above these by
    three times their range, which leaves the rest readable. A logarithmic axis would show all values, but make those
    that differ by half look equal.
    """
    low, high = values[len(values) // 10], values[-1 - len(values) // 10]
    some_are_far_above = high > low and values[-1] - values[0] > 10 * (high - low)
    return min(high + 3 * (high - low), values[-1]) if some_are_far_above else values[-1]


def _grid(frame: Frame) -> list[dict[str, str]]:
    """The level lines, each with its figure to the left."""
    marks = []
    for value in _round_figures(frame.y0, frame.y1):
        y = frame.place((frame.x0, value))[1]
        marks.append(
            {"x1": f"{LEFT}", "x2": f"{WIDTH - RIGHT}", "y": f"{y:.1f}", "text_x": f"{LEFT - 5}",
             "text_y": f"{y + 3:.1f}", "figure": figure(value)}
        )  # fmt: skip
    return marks


def _ticks(frame: Frame, x_axis: Axis) -> list[dict[str, str]]:
    """The figures below the chart."""
    size, _ = _unit(x_axis, frame.x1)
    values = [frame.x0]
    if frame.x1 > frame.x0:
        values = [x * size for x in _round_figures(frame.x0 / size, frame.x1 / size, 5)]
    ticks = []
    for value in values:
        x = frame.place((value, frame.y0))[0]
        anchor = "end" if x > WIDTH - 30 else "middle"  # a figure at the edge must not extend beyond it
        if x_axis == "time" or value == int(value):  # there are no half steps
            ticks.append({"x": f"{x:.1f}", "anchor": anchor, "figure": _x_figure(value / size)})
    return ticks


def _round_figures(low: float, high: float, most: int = 4) -> list[float]:
    """At most `most` + 1 round figures from `low` to `high`, equally far apart, and at least one."""
    rough = (high - low) / most
    size = 10.0 ** floor(log10(rough))
    apart = next(apart for apart in (size, 2 * size, 5 * size, 10 * size) if apart >= rough * 0.999)
    first = -floor(-low / apart + 1e-9)
    # Computed from whole numbers, so that no figure ends like 0.30000000000000004.
    return [round(number * apart, 12 - floor(log10(apart))) for number in range(first, floor(high / apart + 1e-9) + 1)]


def _line(series: Series, frame: Frame) -> dict:
    """A line's paths, as the template draws them; an empty path is not drawn."""
    places = [frame.place(point) for point in series.points]
    points = "" if series.dots_alone else " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    has_all_dots = series.dots or series.dots_alone or len(places) == 1
    # Lines of length 0 with round ends: a tenth of the size of as many circles.
    dots = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in (places if has_all_dots else places[-1:]))
    cut = [x for (x, _), point in zip(places, series.points, strict=True) if point[1] > frame.top]
    beyond = "".join(f"M{x - 3:.1f},{TOP}l3,-5 3,5z" for x in cut)
    best = None
    if series.best:
        x, y = frame.place(series.best)
        best = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
    return {"style": series.style, "points": points, "dots": dots, "beyond": beyond, "best": best}


def _unit(x_axis: Axis, last: float) -> tuple[int, str]:
    """What the figures of an axis count, by its last value: how many of the points' own units, and its name."""
    if x_axis != "time":
        return 1, x_axis
    return (1, "s") if last < 180 else (60, "min") if last < 3 * 3600 else (3600, "h")


def _x_figure(x: float) -> str:
    if x < 100_000:
        return f"{x:,.4g}" if x < 10_000 else f"{x:,.0f}"
    return f"{x / 1e3:,.0f} K" if x < 1e6 else f"{x / 1e6:,.4g} M"
