"""A line chart as SVG.

Drawn here rather than by a plotting component: a chart that is redrawn every second must not flicker, nor send more
points than a screen can show. Gradio changes only what differs in a part of the page, as long as its elements are of
the same kinds in the same order; so the drawing is in groups, and what comes and goes is at the end of its group.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10
from typing import Literal

from markupsafe import Markup

from core.problems import mark, tr, trn
from core.runs.thinning import thin
from ui.shared.chart_table import table_of
from ui.shared.formatting import duration, figure
from ui.shared.html import render_part

TEMPLATE = "shared/line_chart.html"
WIDTH, HEIGHT = 340, 150  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 20  # margins, which hold the axes' figures
MOST_POINTS = 300  # per line: about what the drawing has room for
MOST_DECADES, FEWEST_FIGURES = 6, 3  # beside a logarithmic axis,
LEAST = 1e-40  # which has no place for 0, nor for what float32 cannot tell from it
Axis = Literal["step", "tokens", "time"]
Point = tuple[float, float]
Choice = Literal["log", "smooth"]
CHOICES: dict[Choice, str] = {"log": mark("log scale"), "smooth": mark("smoothed")}
AXES: dict[Axis, str] = {"step": mark("step"), "tokens": mark("tokens"), "time": mark("time")}
AT: dict[Axis, str] = {"step": mark("step {}"), "tokens": mark("{} tokens"), "time": "{}"}  # where a value is, in words


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    `style` is its CSS class. `dots` marks each point, for lines with few of them. `dots_alone` has no line and no entry
    in the legend, because it belongs to the series before it. `best` is a point to mark. With `by_choice` it is shown
    once the person has chosen so, and adds nothing to the table.
    """

    name: str
    style: str
    points: list[Point]
    dots: bool = False
    dots_alone: bool = False
    best: Point | None = None
    by_choice: bool = False


def chart(
    title: str,
    series: list[Series],
    x_axis: Axis,
    may_cut: bool = False,
    remark: str = "",
    choices: Sequence[Choice] = (),
) -> Markup:
    """One chart with a remark below its title. Values that are not finite are left out; without any to draw, it says
    so. Where `may_cut`, a few values far above all others do not stretch the axis: they are marked at the upper edge,
    and the highest is named in words.

    `choices` are checkboxes; with "log" among them it is drawn twice, and the stylesheet shows one of the drawings."""
    series = [replace(s, points=[p for p in s.points if isfinite(p[1])]) for s in series]
    series = [replace(s, points=thin(s.points, MOST_POINTS, _x, _y)) for s in series if s.points]
    boxes = [(choice, tr(CHOICES[choice])) for choice in choices]
    remark = remark or ("" if may_cut else None)
    if not series:
        return render_part(
            TEMPLATE, "empty_chart", title=title, remark=remark, choices=boxes, width=WIDTH, height=HEIGHT
        )
    measured = [s for s in series if not s.by_choice]
    points = [point for s in measured for point in s.points]
    frame = _frame(points, may_cut)
    highest = max(points, key=_y)
    if highest[1] > frame.top:
        remark = " · ".join(filter(None, [remark, _highest(highest, x_axis, frame)]))
    scales = [_scale("linear", series, frame, x_axis)]
    if "log" in choices and (above_zero := _above_zero(series)):
        scales.append(_scale("log", above_zero, _log_frame([p for s in above_zero for p in s.points], frame)))
    return render_part(
        TEMPLATE, "chart", title=title, remark=remark, width=WIDTH, height=HEIGHT,
        points=trn("{count:,} point", "{count:,} points", len(points)),
        legend=[{"style": s.style, "name": s.name, "value": figure(s.points[-1][1])}
                for s in series if not s.dots_alone],
        choices=boxes, scales=scales, ticks=_ticks(frame, x_axis), unit=_unit(x_axis, frame.x1)[1],
        x_axis=tr(AXES[x_axis]), at=tr(AT[x_axis]), table=_table(measured, x_axis),
    )  # fmt: skip


def _above_zero(series: list[Series]) -> list[Series]:
    above = [
        replace(s, points=[p for p in s.points if p[1] > LEAST], best=s.best if s.best and s.best[1] > LEAST else None)
        for s in series
    ]
    return [s for s in above if s.points]


def _table(series: list[Series], x_axis: Axis) -> dict[str, list]:
    return table_of([(_full_name(s), s.points) for s in series], duration if x_axis == "time" else _x_figure, figure)


def _full_name(series: Series) -> str:
    return tr("{name} (validation)", name=series.name) if series.dots_alone else series.name


def _scale(style: str, series: list[Series], frame: "Frame", x_axis: Axis | None = None) -> dict:
    """What is drawn in one scale. With `x_axis`, also the values in words, by which the page shows the one under the
    pointer."""
    return {"style": style, "grid": _grid(frame), "lines": [_line(s, frame, x_axis) for s in series]}


@dataclass(frozen=True)
class Frame:
    """What the axes of a chart reach from and to, in the points' own units; values above `top` are cut. Where `is_log`,
    `y0` and `y1` are the logarithms, to base 10."""

    x0: float
    x1: float
    y0: float
    y1: float
    top: float
    is_log: bool = False

    def place(self, point: Point) -> Point:
        """Where a point is in the drawing."""
        across = (point[0] - self.x0) / (self.x1 - self.x0) if self.x1 > self.x0 else 0.5
        up = ((log10(point[1]) if self.is_log else point[1]) - self.y0) / (self.y1 - self.y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), max(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), TOP)


def _frame(points: list[Point], may_cut: bool) -> Frame:
    values = sorted(map(_y, points))
    low, high = values[0], values[-1]
    top = _top(values) if may_cut else high
    pad = (top - low) * 0.08 or abs(top) * 0.1 or 1.0
    bottom = 0.0 if 0 <= low < pad * 6 else low - pad
    return Frame(min(map(_x, points)), max(map(_x, points)), bottom, top + pad, top)


def _log_frame(points: list[Point], linear: Frame) -> Frame:
    """As wide as the linear one; nothing is cut, as a logarithmic axis has room for all values."""
    low, high = (log10(of(map(_y, points))) for of in (min, max))
    pad = (high - low) * 0.08 or 0.1
    return Frame(linear.x0, linear.x1, low - pad, high + pad, max(map(_y, points)), is_log=True)


def _highest(point: Point, x_axis: Axis, frame: Frame) -> str:
    where = tr(AT[x_axis]).format(_at(point[0], x_axis))
    return tr("highest: {value} at {where}, above the chart", value=figure(point[1]), where=where)


def _at(x: float, x_axis: Axis) -> str:
    return {"step": f"{x:,.0f}", "tokens": _x_figure(x), "time": duration(x)}[x_axis]


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
    for value in _log_figures(frame.y0, frame.y1) if frame.is_log else _round_figures(frame.y0, frame.y1):
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


def _log_figures(low: float, high: float) -> list[float]:
    """Round figures between these two logarithms to base 10: powers of ten, or twice and five times these as well."""
    first, last = ceil(low), floor(high)
    every = max(ceil((last - first + 1) / MOST_DECADES), 1)
    decades = [10.0**power for power in range(first, last + 1, every)]
    if len(decades) >= FEWEST_FIGURES:
        return decades
    finer = [times * 10.0**power for power in range(first - 1, last + 1) for times in (1, 2, 5)]
    finer = [value for value in finer if low <= log10(value) <= high]
    return finer if len(finer) >= FEWEST_FIGURES else _round_figures(10**low, 10**high)


def _line(series: Series, frame: Frame, x_axis: Axis | None) -> dict:
    """A line's paths, as the template draws them; an empty path is not drawn. With `x_axis`, also its points in words:
    where they are, and their values."""
    places = [frame.place(point) for point in series.points]
    points = "" if series.dots_alone else " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    has_all_dots = series.dots or series.dots_alone or len(places) == 1
    # Lines of length 0 with round ends: a tenth of the size of as many circles.
    dots = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in (places if has_all_dots else places[-1:]))
    # What is computed from the values may be above all of them by a rounding error.
    values = [] if series.by_choice else series.points
    cut = [x for (x, _), point in zip(places, values, strict=False) if point[1] > frame.top]
    beyond = "".join(f"M{x - 3:.1f},{TOP}l3,-5 3,5z" for x in cut)
    best = None
    if series.best:
        x, y = frame.place(series.best)
        best = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
    line = {"style": series.style, "points": points, "dots": dots, "beyond": beyond, "best": best, "name": ""}
    if x_axis:
        line |= {"name": _full_name(series), "at": ";".join(_at(x, x_axis) for x, _ in series.points)}
        line |= {"figures": ";".join(figure(y) for _, y in series.points)}
    return line


def _unit(x_axis: Axis, last: float) -> tuple[int, str]:
    """What the figures of an axis count, by its last value: how many of the points' own units, and its name."""
    if x_axis != "time":
        return 1, tr(AXES[x_axis])
    return (1, tr("s")) if last < 180 else (60, tr("min")) if last < 3 * 3600 else (3600, tr("h"))


def _x_figure(x: float) -> str:
    if x < 100_000:
        return f"{x:,.4g}" if x < 10_000 else f"{x:,.0f}"
    return f"{x / 1e3:,.0f} K" if x < 1e6 else f"{x / 1e6:,.4g} M"
