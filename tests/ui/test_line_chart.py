"""Charts from snapshots made of real event types: no line lies, no spike is lost, and every axis can be read."""

import re
from xml.etree import ElementTree

import pytest

from core.runs.events import Estimated, Evaluated, MemorySampled, StepDone
from core.runs.snapshot import Snapshot
from ui.shared.formatting import figure
from ui.shared.line_chart import BOTTOM, HEIGHT, LEFT, MOST_POINTS, RIGHT, TOP, WIDTH, Series, chart
from ui.shared.run_charts import charts, run_chart, smoothed


def step(number: int, loss: float, **values) -> StepDone:
    known = {
        "max_steps": 10,
        "epoch": 0.1,
        "learning_rate": 1e-4,
        "grad_norm": 1.0,
        "tokens": 5 * number,
        "elapsed": number,
    }
    return StepDone(step=number, loss=loss, **known | values)


def check(number: int, loss: float) -> Evaluated:
    return Evaluated(step=number, eval_loss=loss)


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def places(element: ElementTree.Element, style: str) -> list[tuple[float, float]]:
    """Where the line of that look goes."""
    (line,) = (line for line in element.iter("polyline") if line.get("class") == style)
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def dots(element: ElementTree.Element, style: str) -> list[tuple[float, float]]:
    (path,) = [path for path in element.iter("path") if path.get("class") == f"dots {style}"][-1:]
    return [tuple(map(float, pair.split(","))) for pair in re.findall(r"M([\d.,]+)h0", path.get("d"))]


def line(points, **values) -> Series:
    return Series("train", "train", points, **values)


def figures(element: ElementTree.Element) -> list[str]:
    return [text.text for text in element.iter("text")]


def test_a_rising_line_rises_on_the_screen():
    (x1, y1), (x2, y2) = places(drawn(chart("Loss", [line([(1, 1.0), (2, 3.0)])], "step")), "train")
    assert x1 < x2 and y1 > y2, "up on a screen is a smaller y"


def test_losses_and_memory_carry_their_last_figures():
    memory = MemorySampled(time=1.0, used_by_us_gib=1.25, in_use_gib=2, total_gib=8, available_gib=6)
    text = charts(Snapshot(steps=(step(1, 3.0), step(2, 2.5)), evaluations=(check(2, 2.75),), memory=(memory,)))
    for value in ("<b>2.5</b>", "<b>2.75</b>", "<b>1.25</b>", "<b>1.0e-4</b>"):
        assert value in text


def table(element: ElementTree.Element) -> list[list[str]]:
    """The first table's rows, with its heads."""
    return [[cell.text or "" for cell in row] for row in next(element.iter("table")).iter("tr")]


def test_a_table_has_the_values_for_those_who_hear_the_page():
    text = charts(Snapshot(steps=(step(1, 3.0), step(2, 2.5), step(3, 2.25)), evaluations=(check(2, 2.75),)))
    heads = ["step", "train", "validation"]
    assert table(drawn(text)) == [heads, ["1", "3", ""], ["2", "2.5", "2.75"], ["3", "2.25", ""]]
    over_time = drawn(run_chart(RUNS, "time"))
    assert table(over_time) == [
        ["time", "first", "first (validation)", "<b>second"],
        ["0:01", "3", "", ""],
        ["0:02", "2", "2.5", ""],
        ["0:03", "1", "1.5", ""],
        ["0:30", "", "", "2"],
        ["1:00", "", "", "1"],
    ]


def test_the_table_of_a_long_run_has_six_rows_a_line_from_its_first_to_its_last_point():
    element = drawn(chart("Loss", [line([(x, x / 1000) for x in range(100_001)])], "step"))
    steps = [row[0] for row in table(element)]
    assert len(steps) == 1 + 6 and (steps[1], steps[-1]) == ("0", "100 K")


def test_the_estimate_is_a_level_line_that_the_chart_has_room_for():
    memory = tuple(
        MemorySampled(time=time, used_by_us_gib=gib, in_use_gib=2, total_gib=8, available_gib=6)
        for time, gib in ((10.0, 1.0), (20.0, 1.5))
    )
    told = Estimated(total_gib=7, comparable_gib=6.0, parts={})
    element = drawn(charts(Snapshot(memory=memory, estimated=told)))
    (left, y), (right, same) = places(element, "estimate")
    used = places(element, "memory")
    assert y == same and [left, right] == [x for x, _ in used]
    assert TOP < y < used[1][1] < used[0][1] <= HEIGHT - BOTTOM, "6 above 1.5 above 1, all inside"
    assert "estimate <b>6</b>" in charts(Snapshot(memory=memory, estimated=told))
    assert "estimate" not in charts(Snapshot(memory=memory)) + charts(Snapshot(estimated=told))


def test_nothing_yet_is_said():
    assert charts(Snapshot()).count("nothing yet") == 4


def test_the_best_check_is_marked_and_told():
    text = charts(
        Snapshot(steps=(step(1, 3.0), step(9, 1.0)), evaluations=(check(3, 2.0), check(6, 1.5), check(9, 1.75)))
    )
    (mark,) = [circle for circle in drawn(text).iter("circle") if circle.get("class") == "best"]
    assert (float(mark.get("cx")), float(mark.get("cy"))) == dots(drawn(text), "check")[1]
    assert re.findall(r"[\d.]+", drawn(text).find(".//p").text) == ["6", "1.5"]
    assert drawn(charts(Snapshot(steps=(step(1, 3.0),)))).find(".//p").text is None


def test_a_hundred_thousand_points_are_thinned_and_the_spike_stays():
    points = [(x, 1.0) for x in range(100_000)]
    points[61_234] = (61_234, 2.0)
    text = chart("Loss", [line(points)], "step")
    shown = places(drawn(text), "train")
    assert len(shown) <= MOST_POINTS
    assert min(y for _, y in shown) == pytest.approx(
        HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * 1 / 1.16 * 1.08, abs=0.1
    )
    assert len(text) < 10_000


@pytest.mark.parametrize("height", [100.0, 1e9])
def test_the_rest_stays_readable_below_huge_first_values_which_are_told(height):
    points = [(x, height if x < 4 else 2.0 + x % 10 / 10) for x in range(1, 101)]
    element = drawn(chart("Loss", [line(points)], "step", may_cut=True))
    low, high = (f(y for x, y in places(element, "train")[3:]) for f in (max, min))
    assert low - high > (HEIGHT - TOP - BOTTOM) / 6, "the usual values have room of their own"
    assert [y for _, y in places(element, "train")[:3]] == [TOP] * 3
    (marks,) = [path for path in element.iter("path") if path.get("class").startswith("beyond")]
    assert marks.get("d").count("M") == 3
    assert element.find("p").text == f"highest: {figure(height)} at step 1, above the chart"


def test_a_curve_that_falls_as_they_do_is_shown_whole():
    points = [(x, 4 * 0.95**x + 0.2) for x in range(160)]
    element = drawn(chart("Loss", [line(points)], "step", may_cut=True))
    assert element.find("p").text is None and min(y for _, y in places(element, "train")) > TOP


@pytest.mark.parametrize("value", [0.0, 1e-4, 3.0])
def test_a_flat_line_and_a_single_point_have_an_axis(value):
    for points in ([(1, value)], [(x, value) for x in range(1, 20)]):
        element = drawn(chart("Rate", [line(points)], "step", may_cut=True))
        assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in places(element, "train"))
        assert len(figures(element)) >= 2


@pytest.mark.parametrize(
    ("axis", "last", "expected"),
    [
        ("step", 160, ["50", "100", "150", "step"]),
        ("step", 3, ["1", "2", "3", "step"]),
        ("step", 100_000, ["20,000", "40,000", "60,000", "80,000", "100 K", "step"]),
        ("tokens", 2_000_000, ["500 K", "1 M", "1.5 M", "2 M", "tokens"]),
        ("time", 60, ["20", "40", "60", "s"]),
        ("time", 1500, ["5", "10", "15", "20", "25", "min"]),
        ("time", 28_800, ["2", "4", "6", "8", "h"]),
    ],
)
def test_the_figures_below_are_round_and_in_a_fitting_unit(axis, last, expected):
    found = figures(drawn(chart("Loss", [line([(1, 1.0), (last, 2.0)])], axis)))
    assert found[-len(expected) :] == expected


def test_values_that_are_no_numbers_are_left_out():
    element = drawn(chart("Loss", [line([(1, 1.0), (2, float("nan")), (3, float("inf")), (4, 2.0)])], "step"))
    assert len(places(element, "train")) == 2


RUNS = [
    ("first", Snapshot(steps=(step(1, 3.0), step(2, 2.0), step(3, 1.0)), evaluations=(check(2, 2.5), check(3, 1.5)))),
    ("<b>second", Snapshot(steps=(step(1, 2.0, tokens=90, elapsed=30.0), step(3, 1.0, tokens=100, elapsed=60.0)))),
]


@pytest.mark.parametrize(("x", "ends"), [("step", (1, 3)), ("tokens", (5, 100)), ("time", (1, 60))])
def test_runs_share_one_chart_over_steps_tokens_or_time(x, ends):
    element = drawn(run_chart(RUNS, x))
    first, second = (places(element, f"run run-{number}") for number in (1, 2))
    values = {"step": [1, 2, 3], "tokens": [5, 10, 15], "time": [1, 2, 3]}[x]
    across = [LEFT + (value - ends[0]) / (ends[1] - ends[0]) * (WIDTH - LEFT - RIGHT) for value in values]
    assert [place[0] for place in first] == pytest.approx(across, abs=0.06)
    assert [place[0] for place in dots(element, "run run-1")] == pytest.approx(across[1:], abs=0.06)
    assert first[-1][1] == second[-1][1], "both end at a loss of 1"


def test_the_legend_names_each_run_once_and_escapes_it():
    text = run_chart(RUNS, "step")
    assert re.findall(r'class="key (run run-\d)">(.*?) <b>', text) == [
        ("run run-1", "first"),
        ("run run-2", "&lt;b&gt;second"),
    ]
    assert "lines: training, dots: validation" in text


def test_six_runs_have_six_looks_and_a_seventh_is_refused():
    six = [(f"run {number}", RUNS[0][1]) for number in range(6)]
    looks = [line.get("class") for line in drawn(run_chart(six, "step")).iter("polyline")]
    assert looks == [f"run run-{number}" for number in range(1, 7)]
    with pytest.raises(ValueError, match="6 runs"):
        run_chart([*six, ("another", RUNS[0][1])], "step")


def test_runs_without_a_step_show_nothing_yet():
    assert "nothing yet" in run_chart([("new", Snapshot())], "time") and "nothing yet" in run_chart([], "step")


def data(element: ElementTree.Element) -> list[tuple[str, list[str], list[str]]]:
    """The lines' names, where their points are, and their values, by which the page shows the one under the pointer."""
    lines = [line for line in element.iter("g") if line.get("data-name")]
    return [(g.get("data-name"), g.get("data-at").split(";"), g.get("data-values").split(";")) for g in lines]


def test_each_point_is_there_in_words_for_the_pointer():
    steps = (step(1, 3.0), step(2, 2.5), step(1200, 2.25, embedding_learning_rate=5e-5))
    (loss, _, rates, _) = list(drawn(charts(Snapshot(steps=steps, evaluations=(check(2, 2.75),)))).iter("figure"))
    at = ["1", "2", "1,200"]
    assert data(loss) == [("train", at, ["3", "2.5", "2.25"]), ("validation", ["2"], ["2.75"])]
    assert data(rates) == [("adapter", at, ["1.0e-4"] * 3), ("embeddings", ["1,200"], ["5.0e-5"])]
    assert loss.find("svg").get("data-at") == "step {}"
    over_time = drawn(run_chart(RUNS, "time"))
    assert data(over_time)[:2] == [
        ("first", ["0:01", "0:02", "0:03"], ["3", "2", "1"]), ("first (validation)", ["0:02", "0:03"], ["2.5", "1.5"]),
    ]  # fmt: skip


def test_a_run_without_a_rate_for_the_embeddings_has_one_line():
    """As all runs had before it was recorded, and those have that train none."""
    assert [name for name, *_ in data(drawn(charts(Snapshot(steps=(step(1, 3.0), step(2, 2.0))))))] == [
        "train", "adapter", "norm",
    ]  # fmt: skip


def test_the_smoothed_loss_is_the_debiased_moving_average():
    assert smoothed([(1, 4.0), (2, 2.0)], weight=0.5) == [(1, 4.0), (2, pytest.approx((0.25 * 4 + 0.5 * 2) / 0.75))]
    assert smoothed([(x, 3.0) for x in range(50)]) == [(x, pytest.approx(3.0)) for x in range(50)]


def test_choices_are_drawn_beside_the_rest_and_add_nothing_to_the_table():
    snapshot = Snapshot(steps=(step(1, 100.0), step(2, 10.0), step(3, 1.0)), evaluations=(check(3, 0.0),))
    plain, loss = (next(drawn(charts(snapshot, chosen)).iter("figure")) for chosen in (False, True))
    assert [box.get("value") for box in loss.iter("input")] == ["log", "smooth"] and not list(plain.iter("input"))
    assert table(loss) == table(plain) and loss.find("svg").get("aria-label") == "Loss, 4 points"
    linear, log = (g for g in loss.find("svg") if g.get("class"))
    assert (linear.get("class"), log.get("class")) == ("linear", "log")
    assert places(linear, "train") == places(plain, "train") and places(linear, "smooth")
    (_, high), (_, middle), (_, low) = places(log, "train")
    assert middle - high == pytest.approx(low - middle, abs=0.11) and middle - high > 40, "tenths are equally far apart"
    assert dots(log, "train") and not [p for p in log.iter("path") if p.get("class") == "dots check"], "0 has no place"
    assert figures(log) == ["1", "10", "100"] and data(log) == []
    assert figures(loss)[-1] == figures(plain)[-1], "the steps stand below both"


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((1.5, 2.2), ["1.5", "2"]),
        ((0.9, 12.0), ["1", "2", "5", "10"]),
        ((0.01, 5.0), ["0.01", "0.1", "1"]),
        ((1e-9, 1e9), ["1.0e-10", "1.0e-6", "0.01", "100", "1.0e6", "1.0e10"]),
        ((3.0, 3.0), ["2.5", "3", "3.5"]),
    ],
)
def test_the_figures_beside_a_logarithmic_axis_are_round(losses, expected):
    steps = tuple(step(number, loss) for number, loss in enumerate(losses, 1))
    log = next(g for g in drawn(charts(Snapshot(steps=steps), True)).iter("g") if g.get("class") == "log")
    assert figures(log) == expected
    assert all(TOP <= y <= HEIGHT - BOTTOM for _, y in places(log, "train"))


def test_a_drawing_keeps_its_elements_while_the_run_goes_on():
    """Gradio changes only what differs, as long as the kinds of elements are the same in the same order."""

    def kinds(last: int) -> list[list[tuple]]:
        steps = tuple(step(number, 900.0 if number == 50 else 3.0) for number in range(1, last + 1))
        checks = tuple(check(number, 2.0) for number in range(5, last, 5))
        figures = drawn(charts(Snapshot(steps=steps, evaluations=checks), True)).findall("figure")
        return [[(part.tag, part.get("class")) for part in (*one, *(one.find("svg") or ()))] for one in figures]

    assert kinds(2) == kinds(30) == kinds(300)
    assert [tag for tag, _ in kinds(2)[0]] == ["figcaption", "p", "div", "svg", "div", "g", "g", "g"]
    empty = [[part.tag for part in one] for one in drawn(charts(Snapshot(), True))]
    with_remark, without = ["figcaption", "p", "svg"], ["figcaption", "svg"]
    assert empty == [["figcaption", "p", "div", "svg"], without, without, with_remark], "as large as with lines"


def test_a_rounding_error_of_the_smoothed_loss_is_not_marked_as_above_the_chart():
    losses = (5.1, 3.0)
    assert smoothed([(1, 5.1)])[0][1] > 5.1
    element = drawn(charts(Snapshot(steps=tuple(step(n, loss) for n, loss in enumerate(losses, 1))), True))
    assert not [path for path in element.iter("path") if path.get("class").startswith("beyond")]
