"""A run's snapshot as four small charts, drawn as SVG. Knows nothing of gradio or threads.

Drawn here, not by a plotting component, because a chart that is redrawn every second must neither flicker nor send
more points than a screen can show.
"""

from dataclasses import dataclass
from html import escape
from math import isfinite

from core.dataset import Survey
from core.events import Snapshot
from ui.words import count

WIDTH, HEIGHT = 340, 150  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 20  # margins for the axes' figures
MAX_POINTS = 300


@dataclass(frozen=True)
class Series:
    """A line: `style` names its look in the stylesheet; `dots` marks each point, for lines with few of them."""

    name: str
    style: str
    points: list[tuple[float, float]]
    dots: bool = False


def charts(snapshot: Snapshot) -> str:
    """Loss, memory, learning rate and gradient norm, as HTML."""
    steps = snapshot.steps
    began = snapshot.memory[0].time if snapshot.memory else 0.0
    used = "reserved" if snapshot.memory and snapshot.memory[-1].reserved_gib is not None else "this program"
    drawn = [
        chart(
            "Loss",
            [
                Series("train", "train", [(s.step, s.loss) for s in steps]),
                Series("validation", "check", [(e.step, e.eval_loss) for e in snapshot.evaluations], dots=True),
            ],
            "step",
        ),
        chart("Memory, GiB", [Series(used, "memory", [(m.time - began, m.used_by_us_gib) for m in snapshot.memory])], "s"),
        chart("Learning rate", [Series("adapter", "rate", [(s.step, s.learning_rate) for s in steps])], "step"),
        chart(
            "Gradient norm",
            [Series("norm", "norm", [(s.step, s.grad_norm) for s in steps if s.grad_norm is not None])],
            "step",
        ),
    ]
    return f'<div class="charts">{"".join(drawn)}</div>'


def thin(points: list[tuple[float, float]], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most about `most` points: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= most:
        return points
    size = -(-len(points) * 2 // most)
    kept = [points[0]]
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        low, high = min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])
        kept += sorted({low, high})
    return [*kept, points[-1]]


def chart(title: str, series: list[Series], x_unit: str) -> str:
    """One chart. Values that are not finite are left out; before there is anything to draw it says so."""
    finite = [Series(s.name, s.style, [p for p in s.points if isfinite(p[1])], s.dots) for s in series]
    series = [Series(s.name, s.style, thin(s.points), s.dots) for s in finite if s.points]
    if not series:
        return f'<figure class="chart"><figcaption>{escape(title)}</figcaption><p class="empty">nothing yet</p></figure>'
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    x0, x1 = min(xs), max(xs)
    y0, y1 = min(ys), max(ys)
    pad = (y1 - y0) * 0.08 or abs(y1) * 0.1 or 1.0
    y0, y1 = (0.0 if 0 <= y0 < pad * 6 else y0 - pad), y1 + pad

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = (y - y0) / (y1 - y0)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place(x0, y)[1]:.1f}" y2="{place(x0, y)[1]:.1f}"/>'
        f'<text x="{LEFT - 5}" y="{place(x0, y)[1] + 3.5:.1f}" text-anchor="end">{_figure(y)}</text>'
        for y in (y0, (y0 + y1) / 2, y1)
    )
    ends = [(x0, "start"), (x1, "end")] if x1 > x0 else [(x0, "middle")]
    axis = "".join(
        f'<text x="{place(x, y0)[0]:.1f}" y="{HEIGHT - 5}" text-anchor="{anchor}">{_x_figure(x, x_unit)}</text>'
        for x, anchor in ends
    )
    lines = "".join(_line(s, [place(x, y) for x, y in s.points]) for s in series)
    legend = " ".join(f'<span class="key {s.style}">{escape(s.name)} <b>{_figure(s.points[-1][1])}</b></span>' for s in series)
    return (
        f'<figure class="chart"><figcaption>{escape(title)} {legend}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}, {count(len(xs), "point")}">'
        f"{grid}{axis}{lines}</svg></figure>"
    )


def _line(series: Series, places: list[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = places if series.dots or len(places) == 1 else places[-1:]
    return f'<polyline class="{series.style}" points="{path}"/>' + "".join(
        f'<circle class="{series.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in dots
    )


def _x_figure(x: float, unit: str) -> str:
    return f"step {x:,.0f}" if unit == "step" else f"{x:,.0f} {unit}"


def _figure(value: float) -> str:
    """Three digits, whatever the size."""
    if value and not 0.001 <= abs(value) < 10_000:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{value:.3g}"


def length_chart(found: Survey, max_seq_length: int) -> str:
    """How many rows have how many tokens, with the length at which they are cut."""
    right = max(found.edges[-1], 1)
    most = max(found.counts)
    bottom, across = HEIGHT - BOTTOM, WIDTH - LEFT - RIGHT

    def x(tokens: float) -> float:
        return LEFT + tokens / right * across

    bars = "".join(
        f'<rect class="bars" x="{x(low) + 0.5:.1f}" width="{max(x(high) - x(low) - 1, 0.6):.1f}" '
        f'y="{bottom - number / most * (bottom - TOP):.1f}" height="{number / most * (bottom - TOP):.1f}">'
        f"<title>{low:,} to {high - 1:,} tokens: {count(number, 'row')}</title></rect>"
        for low, high, number in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True)
        if number
    )
    is_inside = max_seq_length <= right
    mark = f'<line class="limit" x1="{x(max_seq_length):.1f}" x2="{x(max_seq_length):.1f}" y1="{TOP}" y2="{bottom}"/>'
    where = f"cut at {max_seq_length:,}" if is_inside else f"none reaches the length of {max_seq_length:,}"
    axis = (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        f'<text x="{LEFT - 5}" y="{TOP + 6}" text-anchor="end">{most:,}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 5}">0</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">{right:,} tokens</text>'
    )
    return (
        f'<figure class="chart"><figcaption>Rows by length <span class="key limit">{where}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Rows by length, {where}">'
        f"{axis}{bars}{mark if is_inside else ''}</svg></figure>"
    )
