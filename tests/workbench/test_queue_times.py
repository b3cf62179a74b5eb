"""How long the runs of a queue take: by runs of the same work, by probes, or not known."""

import pytest

from core.memory.probe_log import keep
from core.runs.events import StatusChanged, StepDone
from core.runs.queue_file import Entry, Queue
from core.runs.run_folder import create_run
from core.runs.run_list import RunList
from core.settings.presets import find_preset
from core.workbench.queue_times import QueueTimes, total
from tests.memory.test_probe_log import MACHINE, record_for

CONFIG = find_preset("demo-yoda").config.with_settings(["training.max_steps=100"])


def run_with(runs_dir, config, steps: int, of: int, seconds: float, status: str = "completed"):
    run = create_run(runs_dir, "earlier", config)
    run.append(StatusChanged(status="training"))
    for step in (1, steps):
        run.append(
            StepDone(
                step=step, max_steps=of, epoch=0.1, loss=1, learning_rate=1e-4, tokens=9, elapsed=seconds * step / steps
            )
        )
    if status:
        run.append(StatusChanged(status=status))
    return run


def left(runs_dir, config, run_id: str = "", snapshot=None):
    times = QueueTimes(RunList(runs_dir))
    entry = Entry("a", config, run_id=run_id)
    return times.left(Queue((entry,)), MACHINE, snapshot)["a"]


def test_without_a_like_run_or_a_probe_it_is_not_known(runs_dir):
    assert left(runs_dir, CONFIG) is None
    run_with(runs_dir, CONFIG.with_settings(["adapter.r=4"]), 20, 20, 40.0)
    run_with(runs_dir, CONFIG, 1, 20, 40.0)  # its first step says little
    assert left(runs_dir, CONFIG) is None and left(runs_dir, None) is None


def test_a_run_with_the_same_work_says_how_long_it_takes(runs_dir):
    other = ["training.learning_rate=1e-3", "training.max_steps=20", "training.seed=9", "adapter.lora_alpha=1"]
    run_with(runs_dir, CONFIG.with_settings(other), 20, 20, 40.0)
    assert left(runs_dir, CONFIG) == pytest.approx(200.0)


def test_epochs_are_counted_by_a_run_with_the_same_rows(runs_dir):
    one = CONFIG.with_settings(["training.max_steps=-1", "training.num_train_epochs=1"])
    assert left(runs_dir, one) is None
    run_with(runs_dir, one, 30, 30, 60.0)
    assert left(runs_dir, one.with_settings(["training.num_train_epochs=2.5"])) == pytest.approx(150.0)
    assert left(runs_dir, CONFIG) == pytest.approx(200.0)


def test_a_run_that_was_begun_takes_what_is_left(runs_dir):
    run = run_with(runs_dir, CONFIG, 25, 100, 50.0, status="")
    snapshot = run.snapshot()
    assert left(runs_dir, CONFIG, run.id, snapshot) == pytest.approx(snapshot.seconds_left)
    run.append(StatusChanged(status="stopped"))
    assert left(runs_dir, CONFIG, run.id, run.snapshot()) == pytest.approx(200.0 * 0.75)


def test_a_probe_of_these_settings_says_how_long_a_step_takes(runs_dir):
    keep(runs_dir, record_for(CONFIG, seconds_per_step=3.0))
    assert left(runs_dir, CONFIG) == pytest.approx(300.0)
    assert left(runs_dir, CONFIG.with_settings(["training.max_steps=-1"])) is None, "its steps are not known"
    assert left(runs_dir, CONFIG.with_settings(["adapter.r=4"])) is None
    run_with(runs_dir, CONFIG, 20, 20, 40.0)
    assert left(runs_dir, CONFIG) == pytest.approx(200.0), "a run says more than a probe"


def test_the_queue_takes_what_its_runs_take():
    assert total({"a": 10.0, "b": None, "c": 2.5}) == (12.5, 1)
    assert total({}) == (0, 0)
