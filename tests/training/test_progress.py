"""The numbers that a checkpoint keeps, and the names they have in progress.json."""

import json

import pytest

from core.training.progress import Progress

SAVED = {
    "rows": "25b9a62542f00e44", "step": 6, "tokens": 864, "elapsed": 2.5, "loss_sum": 12.0, "losses": 6,
    "last_eval_loss": 1.5, "checked_step": 4, "best_loss": 1.25, "best_step": 2, "bad_checks": 1, "ending": "",
    "ended_early": False, "eval_loss": None, "is_due": True,
}  # fmt: skip


def test_progress_survives_a_checkpoint():
    progress = Progress.from_json(json.loads(json.dumps(SAVED)))
    assert (progress.step, progress.train_loss, progress.is_checked) == (6, 2.0, False)
    assert progress.to_json(is_due=True) == SAVED


def test_the_fewest_values_that_can_be_resumed():
    assert Progress.from_json({"rows": "25b9", "step": 3, "ending": ""}) == Progress(rows="25b9", step=3)


def test_a_check_is_best_bad_or_due():
    progress = Progress(rows="25b9", step=2)
    assert progress.train_loss is None
    assert progress.to_json(is_due=True)["is_due"] and progress.to_json(is_due=True)["eval_loss"] is None
    assert progress.add_check(2, 1.5)
    assert progress.to_json(is_due=True) == progress.to_json(is_due=False)
    assert progress.to_json(is_due=True)["eval_loss"] == 1.5
    assert not progress.add_check(4, 1.5) and not progress.add_check(6, 2.0)
    assert (progress.best_loss, progress.best_step, progress.bad_checks) == (1.5, 2, 2)
    assert progress.add_check(8, 1.0) and progress.bad_checks == 0
    progress.add_loss(3.0)
    progress.add_loss(1.0)
    assert progress.train_loss == pytest.approx(2.0)
