"""Charts from snapshots made of real event types: no line lies, and no spike is thinned away."""

from core.events import Evaluated, MemorySampled, Snapshot, StepDone
from ui.charts import MAX_POINTS, chart, charts, thin


def step(number: int, loss: float) -> StepDone:
    return StepDone(step=number, max_steps=10, epoch=0.1, loss=loss, learning_rate=1e-4, grad_norm=1.0, tokens=5, elapsed=1.0)


def test_thinning_keeps_ends_and_extremes():
    points = [(float(x), 1.0) for x in range(100_000)]
    points[61_234] = (61_234.0, 99.0)
    points[777] = (777.0, -5.0)
    kept = thin(points)
    assert len(kept) <= MAX_POINTS + 4
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert points[61_234] in kept and points[777] in kept
    assert kept == sorted(kept)


def test_few_points_are_left_alone():
    points = [(0.0, 1.0), (1.0, 2.0)]
    assert thin(points) == points


def test_a_rising_line_rises_on_the_screen():
    from xml.etree import ElementTree

    from ui.charts import Series

    drawn = ElementTree.fromstring(chart("Loss", [Series("train", "train", [(1, 1.0), (2, 3.0)])], "step"))
    (line,) = drawn.iter("polyline")
    (x1, y1), (x2, y2) = (map(float, pair.split(",")) for pair in line.get("points").split())
    assert x1 < x2 and y1 > y2, "up on a screen is a smaller y"


def test_losses_and_memory_carry_their_last_figures():
    memory = MemorySampled(time=1.0, used_by_us_gib=1.25, in_use_gib=2, total_gib=8, available_gib=6)
    text = charts(Snapshot(steps=(step(1, 3.0), step(2, 2.5)), evaluations=(Evaluated(step=2, eval_loss=2.75),), memory=(memory,)))
    for figure in ("<b>2.5</b>", "<b>2.75</b>", "<b>1.25</b>", "<b>1.0e-4</b>"):
        assert figure in text


def test_nothing_yet_is_said():
    assert charts(Snapshot()).count("nothing yet") == 4
