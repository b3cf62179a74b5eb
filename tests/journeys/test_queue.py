"""The queue on the command line and at the page's start: two programs at once, Ctrl-C, a kill, and what comes after."""

import json
import os
import re
import shlex
import signal
import sys

import pytest

from core.runs.queue_file import QueueFile
from core.runs.run_folder import list_runs
from tests.app_process import run_app, running_app, start

pytestmark = pytest.mark.slow

SMALL = [
    "--set=data.validation_share=0.01", "--set=training.sample_prompts=[]", "--set=training.eval_steps=0",
]  # fmt: skip


def queue(runs_dir, *arguments: str):
    return run_app("queue", *arguments, "--runs-dir", str(runs_dir))


def add(runs_dir, *arguments: str) -> list[dict]:
    done = queue(runs_dir, "add", "demo-yoda", *SMALL, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def appending(file, text: str) -> str:
    """A command that appends a line to a file."""
    return shlex.join([sys.executable, "-c", f"open({str(file)!r}, 'a').write({text!r} + chr(10))"])


def test_runs_are_added_varied_listed_moved_and_dropped(runs_dir):
    assert queue(runs_dir, "list").stdout == "The queue is empty.\n"
    (one,) = add(runs_dir, "--set=training.max_steps=3")
    assert one["name"] == "Demo Llama · yoda.jsonl · 3 steps"
    varied = add(
        runs_dir, "--set=training.max_steps=4", "--vary=training.learning_rate=1e-4,2e-4", "--vary=adapter.r=8"
    )
    name = "Demo Llama · yoda.jsonl · 4 steps · learning_rate"
    assert [entry["name"] for entry in varied] == [f"{name} 1e-4, r 8", f"{name} 2e-4, r 8"]
    first, second = (entry["id"] for entry in varied)
    assert queue(runs_dir, "move", second, "1").returncode == 0
    assert queue(runs_dir, "drop", one["id"]).returncode == 0
    lines = queue(runs_dir, "list").stdout.splitlines()
    assert lines == [
        f"{second}  {name} 2e-4, r 8: unknown time",
        f"{first}  {name} 1e-4, r 8: unknown time",
        "2 runs; how long they take is not known.",
    ]
    listed = json.loads(queue(runs_dir, "list", "--json").stdout)
    assert [entry["id"] for entry in listed["entries"]] == [second, first] and listed["is_paused"] is False
    (group,) = {entry["group"] for entry in listed["entries"]}
    assert group and [entry["seconds"] for entry in listed["entries"]] == [None, None]


def test_the_stages_of_a_recipe_are_queued_on_each_of_its_models(runs_dir):
    done = queue(runs_dir, "add", "korean-two-stages", "--small", "--set=reading.training.max_steps=3", "--json")
    assert done.returncode == 0, done.stderr
    entries = QueueFile(runs_dir).read().entries
    assert [entry["id"] for entry in json.loads(done.stdout)] == [entry.id for entry in entries]
    found = [
        (e.name, e.config.model.load_in_4bit, e.config.training.max_steps, e.config.adapter.continue_from)
        for e in entries
    ]
    assert found == [
        ("reading", True, 3, None), ("instructions", True, 8, "reading"),
        ("reading", False, 3, None), ("instructions", False, 8, "reading"),
    ]  # fmt: skip
    groups = [entry.group for entry in entries]
    assert all(groups) and groups[0] == groups[1] != groups[2] == groups[3]
    for wrong in (["yoda", "--vary=adapter.r=8,16"], ["demo-yoda", "--small"]):
        assert queue(runs_dir, "add", *wrong).returncode == 2
    assert QueueFile(runs_dir).read().entries == entries


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "demo-yoda", "--vary", "adapter.r"], "'adapter.r' does not say what to vary"),
        (["add", "demo-yoda", "--vary", "adapter.r=8"], "Give at least two different values of adapter.r"),
        (["add", "demo-yoda", "--vary", "adapter.rank=8,9"], "adapter.rank is not a setting"),
        (["add", "demo-yoda", "--set", "data.path=./gone.json"], "There is no file ./gone.json"),
        (["drop", "beef"], "'beef' is no longer in the queue"),
        (["move", "beef", "0"], "0 is not in the range x>=1"),
    ],
)
def test_bad_input_is_one_sentence(runs_dir, arguments, message):
    done = queue(runs_dir, *arguments)
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr and "Traceback" not in done.stderr
    assert QueueFile(runs_dir).read().entries == ()


def test_two_programs_work_off_one_queue_and_begin_nothing_twice(runs_dir, tmp_path):
    told = tmp_path / "told"
    add(runs_dir, "--set=training.max_steps=3", "--set=model.model_name=./nowhere")
    add(runs_dir, "--set=training.max_steps=3", "--vary=training.learning_rate=1e-3,1e-4")
    command = ["queue", "run", "--runs-dir", str(runs_dir), "--when-empty", appending(told, "empty"), "--json"]
    programs = [start(*command), start(*command)]
    codes = [program.wait(300) for program in programs]
    errors = [program.stderr_file.read_text() for program in programs]
    assert set(codes) <= {0, 1}, errors
    results = [json.loads(program.stdout_file.read_text()) for program in programs]
    runs = [run for result in results for run in result["runs"]]
    assert sorted(run["run_id"] for run in runs) == sorted(run.id for run in list_runs(runs_dir))
    assert sorted(run["status"] for run in runs) == ["completed", "completed", "failed"], errors
    # A program that has trained none of them, or none that failed, has nothing to report.
    assert codes == [int(any(run["status"] == "failed" for run in result["runs"])) for result in results]
    assert told.read_text() == "empty\n" and "Traceback" not in "".join(errors)
    (group,) = {run.group for run in list_runs(runs_dir) if run.group}
    tables = [table for result in results for table in result["groups"]]
    assert tables and all(table["titles"][0] == "Learning rate" and table["varied"] == 1 for table in tables)
    assert {tuple(row[0] for row in table["rows"]) for table in tables} <= {("1e-3", "1e-4"), ("1e-4", "1e-3")}
    queued = QueueFile(runs_dir).read()
    assert queued.entries == () and sorted(queued.ended) == sorted(run.id for run in list_runs(runs_dir))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")
def test_ctrl_c_a_kill_and_a_restart_lose_nothing(tmp_path, wait_until):
    """The first run is stopped, resumed, killed, and resumed again by the page, which then trains the second."""
    runs_dir, told = tmp_path / "runs", tmp_path / "told"
    add(runs_dir, "--set=training.max_steps=60", "--set=training.save_steps=2")
    add(runs_dir, "--set=training.max_steps=2")

    def stopped_after(steps: int, number: signal.Signals) -> int:
        process = start("queue", "run", "--runs-dir", str(runs_dir))
        wait_until(lambda: list_runs(runs_dir) and list_runs(runs_dir)[0].snapshot().step >= steps, "steps", 180)
        os.kill(process.pid, number)
        return process.wait(120)

    assert stopped_after(4, signal.SIGINT) == 130
    file, (run,) = QueueFile(runs_dir), list_runs(runs_dir)
    assert (run.snapshot().status, file.read().is_paused, file.read().next.run_id) == ("stopped", True, run.id)
    listed = queue(runs_dir, "list").stdout.splitlines()
    assert re.search(rf": stopped after {run.snapshot().step} steps; resumed first$", listed[0])
    assert listed[2].startswith("2 runs, paused; about ")

    before = run.snapshot().step
    assert stopped_after(before + 3, signal.SIGKILL) == -signal.SIGKILL
    assert (run.snapshot().status, file.read().is_paused, file.read().next.run_id) == ("training", False, run.id)
    with running_app(tmp_path, "--when-queue-empty", appending(told, "empty")) as app:
        wait_until(lambda: told.exists(), "the end of the queue", 300)
        assert app.own_warnings() == []
    last, first = list_runs(runs_dir)
    assert first.id == run.id and file.read().ended == (first.id, last.id) and told.read_text() == "empty\n"
    assert [(one.snapshot().status, one.snapshot().step) for one in (first, last)] == [
        ("completed", 60),
        ("completed", 2),
    ]
    assert [step.step for step in first.snapshot().steps] == list(range(1, 61))
    resumed = [line for line in (first.folder / "events.jsonl").read_text().splitlines() if '"resumed"' in line]
    assert len(resumed) == 2 and all(json.loads(line)["step"] > 0 for line in resumed)
