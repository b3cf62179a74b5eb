"""When a run is reported to overfit, and when not."""

import random
import re

import pytest

from core.runs.events import Evaluated, StepDone
from core.runs.overfitting import overfitting
from core.runs.snapshot import Snapshot


def snapshot(checks: list[float], losses: list[float] | None = None, **values) -> Snapshot:
    """A check every 10 steps; training loss falls from 2 to 0 unless given."""
    number = 10 * len(checks)
    losses = losses or [2 - 2 * step / number for step in range(number)]
    steps = tuple(
        StepDone(step=step, max_steps=number, epoch=0, loss=loss, learning_rate=1e-4, tokens=step, elapsed=step)
        for step, loss in enumerate(losses, 1)
    )
    evaluations = tuple(Evaluated(step=10 * place, eval_loss=loss) for place, loss in enumerate(checks, 1))
    return Snapshot(steps=steps, evaluations=evaluations, **values)


RISING = [2.0, 1.0, 1.1, 1.2, 1.3]


def test_a_rise_is_reported_with_its_figures():
    sentences = overfitting(snapshot(RISING, checkpoints=(20, 50)))
    assert re.findall(r"[0-9][0-9.]*[0-9]|[0-9]", sentences) == ["20", "1.000", "3", "1.300", "1.620", "0.420", "20"]


def test_the_advice_depends_on_whether_the_best_checkpoint_was_kept():
    kept, gone = (overfitting(snapshot(RISING, checkpoints=steps)) for steps in ((20, 50), (50,)))
    assert "Compare" in kept and "Save" not in kept
    assert "Save" in gone and "Compare" not in gone


@pytest.mark.parametrize(
    ("checks", "why"),
    [
        ([2.0, 1.0, 1.1, 1.2], "only two checks above"),
        ([2.0, 1.0, 1.001, 1.002, 1.003], "less than one percent"),
        ([2.0, 1.0, 1.3, 1.2, 1.1], "it falls again"),
        ([2.0, 1.0, 1.1, 1.2, 1.3, 1.0], "it is back at the best"),
        ([2.0, 1.5, 1.2, 1.1, 1.0], "it only fell"),
        ([], "never checked"),
        ([float("nan")] * 5, "no number among them"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_said(checks, why):
    assert overfitting(snapshot(checks)) == ""


def test_nothing_is_said_while_training_loss_rises_too():
    assert overfitting(snapshot(RISING, losses=[1 + step / 50 for step in range(50)])) == ""


def test_a_flat_curve_that_jumps_about_never_says_anything():
    said = []
    for seed in range(20):
        noise = random.Random(seed)
        checks = [1 + noise.gauss(0, 0.03) for _ in range(60)]
        whole = snapshot(checks)
        for number in range(1, 61):
            seen = whole.model_copy(
                update={"steps": whole.steps[: 10 * number], "evaluations": whole.evaluations[:number]}
            )
            said.append(overfitting(seen))
    assert len(said) == 1200
    assert sum(map(bool, said)) <= 12, "at most one in a hundred"


def test_a_rise_is_seen_through_noise():
    noise = random.Random(1)
    checks = [1 + (place - 10) ** 2 / 200 + noise.gauss(0, 0.01) for place in range(30)]
    assert "Validation loss" in overfitting(snapshot(checks))


def test_numbers_that_are_none_are_passed_over():
    assert overfitting(snapshot([2.0, 1.0, float("nan"), 1.1, 1.2, float("inf"), 1.3])).count("last 3 checks") == 1
