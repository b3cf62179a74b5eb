"""The queue is worked off with real small runs: failures, stops, pauses, other programs, and what comes at the end."""

import json
import shlex
import sys

import pytest

from core.problems import DataError
from core.runs.events import StatusChanged
from core.runs.run_folder import create_run, find_run, list_runs
from core.settings.variations import variations
from core.workbench.workbench import Workbench
from tests.conftest import small_config
from ui.runs.group_view import group_of, group_table, group_text

SECRET = "hf_secret_of_the_queue"


@pytest.fixture(scope="module")
def config(stories, rows):
    return small_config(stories, rows, "training.max_steps=4", "training.eval_steps=2", "training.save_steps=1")


@pytest.fixture
def bench(unsloth, runs_dir) -> Workbench:
    return Workbench(runs_dir)


def work_off(bench: Workbench) -> list[str]:
    """Until nothing can begin any more; returns the ids of the runs that were begun."""
    begun = []
    while run := bench.queue.look():
        begun.append(run.id)
        assert bench.wait(120) is not None
    return begun


def appends(file, text: str) -> str:
    """A command that appends a line to a file."""
    return shlex.join([sys.executable, "-c", f"open({str(file)!r}, 'a').write({text!r} + chr(10))"])


def test_a_failing_run_does_not_stop_the_rest_and_variations_are_compared(bench, config, tmp_path):
    told = tmp_path / "told"
    bench.queue.when_empty = appends(told, "empty")
    bench.queue.add([("lost", config.with_settings(["model.model_name=./nowhere"]))], preset="demo-yoda", token=SECRET)
    runs = variations(config, {"training.learning_rate": "0.01, 0.001"})
    bench.queue.add([(run.name, run.config) for run in runs])
    begun = work_off(bench)
    assert told.read_text() == "empty\n", "once, after the last run"
    queue = bench.queue.read()
    assert (queue.entries, queue.ended, queue.is_paused) == ((), tuple(begun), False)
    found = [find_run(bench.runs_dir, run) for run in begun]
    assert [run.snapshot().status for run in found] == ["failed", "completed", "completed"]
    assert [(run.name, run.preset) for run in found] == [("lost", "demo-yoda"), *((run.name, "") for run in runs)]
    assert found[0].group == "" != found[1].group == found[2].group
    assert [run.config() for run in found[1:]] == [run.config for run in runs]

    rows = group_of(bench.runs, found[1].group)
    assert [row.id for row in rows] == begun[1:] and group_of(bench.runs, "") == []
    table = group_table(bench.runs, rows)
    assert (table.titles[0], table.varied) == ("Learning rate", 1)
    ends = [run.snapshot() for run in found[1:]]
    assert [row[:6] for row in table.rows] == [
        [
            rate, "completed", f"{end.steps[-1].loss:.4f}", f"{end.finished.eval_loss:.4f}",
            f"{end.best.eval_loss:.4f}", str(end.best.step),
        ]
        for rate, end in zip(("1e-2", "1e-3"), ends, strict=True)
    ]  # fmt: skip
    assert table.best == min((end.best.eval_loss, place) for place, end in enumerate(ends))[1]
    assert group_text(bench.runs, found[1].group).count("<tr") == 3 and group_text(bench.runs, "") == ""
    for file in bench.runs_dir.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


def test_a_stop_pauses_the_queue_and_the_run_is_resumed_first(bench, config, wait_until):
    long = config.with_settings(["training.max_steps=100000", "training.save_steps=2"])
    bench.queue.add([("long", long)])
    bench.queue.add([("short", config)])
    run = bench.queue.look()
    wait_until(lambda: len(bench.snapshot.steps) >= 3, "three steps", 120)
    assert bench.queue.look() is None and bench.queue.read().entries[0].run_id == run.id
    assert bench.stop() and bench.wait(120).status == "stopped"
    assert bench.queue.look() is None
    queue = bench.queue.read()
    assert (queue.is_paused, [entry.name for entry in queue.entries], queue.ended) == (True, ["long", "short"], ())
    steps = run.snapshot().step
    config_file = run.folder / "config.yaml"
    config_file.write_text(long.with_settings([f"training.max_steps={steps + 1}"]).to_yaml())
    bench.queue.go_on()
    assert bench.queue.look().id == run.id, "it is resumed before the other begins"
    assert bench.wait(120).status == "completed", bench.snapshot.message
    assert [step.step for step in bench.snapshot.steps] == list(range(1, steps + 2))
    short = bench.queue.look()
    assert bench.wait(120).status == "completed" and bench.queue.look() is None
    assert bench.queue.read().ended == (run.id, short.id) and not bench.queue.read().is_paused


def test_what_a_closing_program_stops_goes_on_at_the_next_start(bench, config, runs_dir, wait_until):
    bench.queue.add([("cut", config.with_settings(["training.max_steps=100000"]))])
    run = bench.queue.look()
    wait_until(lambda: len(bench.snapshot.steps) >= 2, "two steps", 120)
    bench.queue.close()
    bench.stop()
    bench.wait(120)
    assert bench.queue.look() is None and not bench.queue.read().is_paused
    steps = run.snapshot().step
    config_file = run.folder / "config.yaml"
    config_file.write_text(config.with_settings([f"training.max_steps={steps + 1}"]).to_yaml())
    again = Workbench(runs_dir)
    assert work_off(again) == [run.id] and run.snapshot().status == "completed"
    assert again.queue.read().entries == () and [found.id for found in list_runs(runs_dir)] == [run.id]


def test_nothing_begins_while_another_run_is_in_progress_wherever_that_is(bench, config, runs_dir):
    other = create_run(runs_dir, "elsewhere", config)  # as of another program: this process lives
    bench.queue.add([("mine", config)])
    assert bench.queue.look() is None
    other.append(StatusChanged(status="completed"))
    with bench.desk.taken("an answer is being generated"):
        assert bench.queue.look() is None and len(list_runs(runs_dir)) == 1
    bench.queue.gives_way = lambda: True  # to a recipe
    assert bench.queue.look() is None
    bench.queue.gives_way = lambda: False
    bench.queue.hold()  # a person has stopped that run
    assert bench.queue.look() is None
    bench.queue.go_on()
    assert len(work_off(bench)) == 1
    bench.queue.hold()
    assert not bench.queue.read().is_paused, "nothing waits"


def test_a_run_that_was_deleted_or_ended_unseen_leaves_the_queue(bench, config, runs_dir):
    bench.queue.add([("gone", config), ("done", config), ("broken", config)])
    runs = [create_run(runs_dir, name, config) for name in ("gone", "done", "broken")]
    values = json.loads(bench.queue.file.path.read_text())
    for entry, run in zip(values["entries"], runs, strict=True):
        entry["run_id"] = run.id
    bench.queue.file.path.write_text(json.dumps(values))
    bench.trash.take(runs[0].folder)
    runs[1].append(StatusChanged(status="completed"))
    runs[2].append(StatusChanged(status="interrupted"))
    (runs[2].folder / "config.yaml").write_text("nothing: here")
    assert bench.queue.look() is None
    assert bench.queue.read().entries == () and bench.queue.read().ended == (runs[1].id, runs[2].id)


def test_a_stage_continues_from_an_earlier_one_of_its_group(bench, config):
    further = ["adapter.continue_from=stage 1", "training.max_steps=2"]
    stages = [("stage 1", config), ("stage 2", config.with_settings(further))]
    lost = config.with_settings(["adapter.continue_from=stage 0"])
    bench.queue.add([*stages, ("stage 3", lost)], group="recipe")
    first, second, third = (find_run(bench.runs_dir, run) for run in work_off(bench))
    ends = [run.snapshot() for run in (first, second, third)]
    assert [end.status for end in ends] == ["completed", "completed", "failed"]
    assert ends[1].steps[0].loss < ends[0].steps[0].loss
    assert {run.group for run in (first, second, third)} == {"recipe"}


def test_rows_that_cannot_be_read_are_refused_when_they_are_added(bench, config):
    with pytest.raises(DataError):
        bench.queue.add([("", config.with_settings(["data.path=./gone.json"]))])
    assert bench.queue.read().entries == ()


def test_in_the_background_it_goes_on_by_itself_and_says_what_keeps_it(bench, config, runs_dir, wait_until):
    bench.queue.work()
    try:
        bench.queue.add([("one", config)])
        wait_until(lambda: bench.queue.read().ended, "the run's end", 120)
        path = bench.queue.file.path
        text = path.read_text()
        path.write_text("{")
        wait_until(lambda: str(path) in bench.queue.trouble, "the trouble")
        path.write_text(text)
        wait_until(lambda: bench.queue.trouble == "", "the trouble's end")
    finally:
        bench.queue.close()
    assert len(list_runs(runs_dir)) == 1
