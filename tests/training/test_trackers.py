"""Trackers through the trainer's own integrations: TensorBoard's files contain the run's figures; off by default."""

import pytest

from core.problems import TrainingError
from core.runs.events import Evaluated, StepDone
from core.settings.training_section import TrainingConfig
from core.training.trackers import check_tracker
from tests.conftest import small_config, train_for


def test_tensorboard_gets_the_figures_of_the_run(unsloth, stories, rows, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = small_config(
        stories, rows, "training.report_to=tensorboard", "training.max_steps=4", "training.eval_steps=2"
    )
    _, events, _ = train_for(config, tmp_path / "adapter")
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    record = EventAccumulator(str(file))
    record.Reload()
    losses = {scalar.step: scalar.value for scalar in record.Scalars("train/loss")}
    checks = {scalar.step: scalar.value for scalar in record.Scalars("eval/loss")}
    assert losses == pytest.approx({event.step: event.loss for event in events if isinstance(event, StepDone)})
    assert checks == pytest.approx({event.step: event.eval_loss for event in events if isinstance(event, Evaluated)})


def test_no_tracker_unless_it_is_chosen(trained):
    assert TrainingConfig().report_to == "none"
    assert [*trained.adapter_dir.parent.rglob("*tfevents*")] == []


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr("core.training.trackers.find_spec", lambda name: None)
    with pytest.raises(TrainingError) as refused:
        check_tracker("trackio")
    assert refused.value.values == {"name": "trackio"}


def test_wandb_without_an_account_is_refused(tmp_path, monkeypatch):
    """A stand-in package, because the real one would prompt for the key on a terminal."""
    (tmp_path / "wandb.py").write_text("class api:\n    api_key = None\nrun = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(TrainingError, match="wandb login"):
        check_tracker("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_tracker("wandb")
