"""Runs on disk, with a real process that dies."""

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from core.disk.tolerant_reading import Unreadable
from core.problems import RunError
from core.runs.adapter_to_continue import find_adapter
from core.runs.events import Evaluated, StatusChanged, to_line
from core.runs.owner import is_alive, this_process
from core.runs.run_folder import create_run, find_run, list_runs, mark_interrupted, open_run
from core.runs.run_list import RunList
from core.settings.run_config import RunConfig
from tests.conftest import PROJECT

CONFIG = RunConfig().with_settings(["training.max_steps=7", "data.path=rows.json"])
OWNER = """
import sys
from pathlib import Path
from core.settings.run_config import RunConfig
from core.runs.events import StatusChanged
from core.runs.run_folder import create_run

run = create_run(Path(sys.argv[1]), "left alone", RunConfig())
run.append(StatusChanged(status="training"))
print(run.id, flush=True)
sys.stdin.read()
"""


def finish(run, status: str = "completed", adapter: bool = True):
    if adapter:
        run.adapter_dir.mkdir()
        (run.adapter_dir / "adapter_config.json").write_text("{}")
    run.append(StatusChanged(status=status))
    return run


def test_a_run_is_a_folder_that_tells_all(runs_dir):
    run = create_run(runs_dir, "My first: Yoda!", CONFIG)
    assert re.fullmatch(r"\d{8}-\d{6}-my-first-yoda", run.id)
    assert run.config() == CONFIG and not run.has_adapter
    events = [StatusChanged(status="training", message="“so”"), Evaluated(step=1, eval_loss=0.5)]
    for event in events:
        run.append(event)
    assert (run.folder / "events.jsonl").read_text(encoding="utf-8") == "".join(to_line(e) + "\n" for e in events)
    found = find_run(runs_dir, run.id)
    assert (found.folder, found.name) == (run.folder, "My first: Yoda!")
    snapshot = found.snapshot()
    assert (snapshot.run_id, snapshot.name, snapshot.status) == (run.id, "My first: Yoda!", "training")
    assert snapshot.evaluations == (events[1],)
    assert find_run(runs_dir, str(run.folder)).id == run.id


def test_runs_of_one_second_and_name_do_not_share_a_folder(runs_dir):
    runs = [create_run(runs_dir, "same", CONFIG) for _ in range(5)]
    assert len({run.id for run in runs}) == 5


@pytest.mark.parametrize(("name", "slug"), [("../../etc", "etc"), ("한국어", "run"), ("", "run"), ("x" * 99, "x" * 40)])
def test_any_name_makes_a_folder_inside(runs_dir, name, slug):
    run = create_run(runs_dir, name, CONFIG)
    assert run.folder.parent == runs_dir and run.id.endswith(f"-{slug}")
    assert open_run(run.folder).name == (name or CONFIG.run_name)


def test_the_newest_run_is_listed_first_and_other_folders_not_at_all(runs_dir):
    assert list_runs(runs_dir) == []
    create_run(runs_dir, "one", CONFIG).folder.rename(runs_dir / "20250101-000000-one")
    create_run(runs_dir, "two", CONFIG).folder.rename(runs_dir / "20260101-000000-two")
    (runs_dir / "20270101-000000-no-run").mkdir()
    (runs_dir / "note.txt").write_text("")
    assert [run.name for run in list_runs(runs_dir)] == ["two", "one"]


def test_a_line_cut_off_by_a_crash_is_passed_over(runs_dir):
    run = create_run(runs_dir, "cut", CONFIG)
    run.append(StatusChanged(status="training"))
    with open(run.folder / "events.jsonl", "a", encoding="utf-8") as file:
        file.write(to_line(Evaluated(step=1, eval_loss=0.5))[:30])
    assert run.snapshot().status == "training" and run.snapshot().evaluations == ()


def test_what_comes_after_a_cut_off_line_is_read(runs_dir):
    run = create_run(runs_dir, "cut", CONFIG)
    with open(run.folder / "events.jsonl", "a", encoding="utf-8") as file:
        file.write(to_line(Evaluated(step=1, eval_loss=0.5))[:30])
    run.append(StatusChanged(status="interrupted"))
    assert run.snapshot().status == "interrupted"


def test_damaged_runs_are_refused_in_a_sentence_or_read_as_far_as_they_go(runs_dir):
    run = create_run(runs_dir, "hurt", CONFIG)
    (run.folder / "run.json").write_text("{")
    (run.folder / "events.jsonl").write_bytes(b"\xff\xfe\n")
    assert [found.name for found in list_runs(runs_dir)] == [run.id]
    assert run.snapshot().status == "preparing"
    (run.folder / "config.yaml").write_text("training: {learning_rat: 1}")
    with pytest.raises(RunError) as caught:
        run.config()
    assert caught.value.values["run"] == run.id
    assert caught.value.values["reason"].values["near"] == "training.learning_rate"
    (run.folder / "config.yaml").unlink()
    with pytest.raises(RunError) as caught:
        run.config()
    assert caught.value.values["run"] == run.id and isinstance(caught.value.values["reason"], Unreadable)
    with pytest.raises(RunError) as caught:
        find_run(runs_dir, "nobody")
    assert caught.value.values == {"run": "nobody", "folder": str(runs_dir)}


def test_a_place_where_no_run_can_be_kept(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        create_run(tmp_path / "file" / "runs", "x", CONFIG)
    assert caught.value.values["folder"] == str(tmp_path / "file" / "runs") and caught.value.values["reason"]


def test_a_step_without_a_checkpoint(runs_dir):
    run = create_run(runs_dir, "x", CONFIG)
    with pytest.raises(RunError) as caught:
        run.checkpoint(1000)
    assert caught.value.values == {"run": run.id, "step": 1000}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (
            ["model.model_name=unsloth/Llama-3.2-1B-Instruct-bnb-4bit", "data.path=/home/ada/reviews.csv"],
            "Llama 3.2 1B Instruct · reviews.csv · 60 steps",
        ),
        (["model.model_name=unsloth/Meta-Llama-3.1-8B-bnb-4bit", "data.path=owner/alpaca-cleaned"],
         "Llama 3.1 8B · alpaca-cleaned · 60 steps"),
        (["model.model_name=unsloth/llama-3-8b-unsloth-bnb-4bit", "data.path=[a.csv, b.csv, c.csv]"],
         "Llama 3 8B · a.csv + 2 more · 60 steps"),
        (["model.model_name=presets/demo-llama", "training.max_steps=1"], "Demo Llama · yoda.jsonl · 1 step"),
        (["model.model_name=C:\\models\\my_llama\\", "data.path=C:\\rows\\", "training.max_steps=-1"],
         "My Llama · rows · 1 epoch"),
        (["model.model_name=./", "data.path=/", "training.max_steps=-1", "training.num_train_epochs=2.5"],
         ". · / · 2.5 epochs"),
        ([f"model.model_name={'m' * 50}", f"data.path={'d' * 50}", "training.max_steps=12000"],
         f"M{'m' * 38}… · {'d' * 39}… · 12,000 steps"),
    ],
)  # fmt: skip
def test_a_run_without_a_name_is_called_after_what_it_does(runs_dir, settings, name):
    config = RunConfig().with_settings(["training.max_steps=60", *settings])
    run = create_run(runs_dir, "", config, preset="demo-yoda")
    found = open_run(run.folder)
    assert (run.name, found.name, found.preset, found.is_renamed) == (name, name, "demo-yoda", False)
    assert run.id.endswith("-demo-yoda") and found.short_name == "demo-yoda"


def test_a_name_that_a_person_gave_wins(runs_dir):
    run = create_run(runs_dir, "", CONFIG, preset="demo-yoda")
    RunList(runs_dir).describe(run.id, run.name, "only a note")
    assert not open_run(run.folder).is_renamed
    RunList(runs_dir).describe(run.id, "Best", "")
    found = open_run(run.folder)
    assert (found.name, found.preset, found.short_name, found.is_renamed) == ("Best", "demo-yoda", "Best", True)
    assert RunList(runs_dir).preset_of(run.id) == "demo-yoda" and RunList(runs_dir).preset_of("other") == ""


def test_a_run_that_an_earlier_version_named_after_its_preset(runs_dir):
    run = create_run(runs_dir, "", CONFIG)
    about = run.folder / "run.json"
    about.write_text('{"name": "demo-yoda"}')
    found = open_run(run.folder)
    assert (found.name, found.preset, found.short_name) == (CONFIG.run_name, "demo-yoda", "demo-yoda")
    assert RunList(runs_dir).rows()[0].name == CONFIG.run_name
    about.write_text('{"name": "demo-yoda", "is_renamed": true}')
    assert (open_run(run.folder).name, open_run(run.folder).preset) == ("demo-yoda", "")
    about.write_text('{"name": "my own"}')
    assert open_run(run.folder).name == "my own"
    about.write_text('{"name": "demo-yoda"}')
    (run.folder / "config.yaml").unlink()
    assert open_run(run.folder).name == "demo-yoda"


def test_going_on_from_a_run(runs_dir):
    first = finish(create_run(runs_dir, "korean-cpt", CONFIG))
    first.folder.rename(runs_dir / "20250101-000000-a")
    second = finish(create_run(runs_dir, "", CONFIG, preset="korean-cpt"))
    second.folder.rename(runs_dir / "20250102-000000-b")
    stopped = finish(create_run(runs_dir, "korean-cpt", CONFIG), "stopped")
    bare = finish(create_run(runs_dir, "bare", CONFIG), adapter=False)
    newest = runs_dir / "20250102-000000-b" / "adapter"
    assert find_adapter(runs_dir, "korean-cpt") == newest  # the newest that was completed, not the stopped one
    assert find_adapter(runs_dir, "20250101-000000-a") == runs_dir / "20250101-000000-a" / "adapter"
    assert find_adapter(runs_dir, stopped.id) == stopped.adapter_dir
    assert find_adapter(runs_dir, str(newest)) == newest
    assert find_adapter(runs_dir, str(newest.parent)) == newest
    with pytest.raises(RunError) as caught:
        find_adapter(runs_dir, bare.id)
    assert caught.value.values == {"run": bare.id}
    with pytest.raises(RunError) as caught:
        find_adapter(runs_dir, "nobody")
    assert caught.value.values == {"wanted": "nobody"}


def test_a_run_whose_program_was_killed_is_interrupted(runs_dir):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(runs_dir)],
        cwd=PROJECT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with owner:
        run_id = owner.stdout.readline().strip()
        run = find_run(runs_dir, run_id)
        mine = create_run(runs_dir, "mine", CONFIG)
        over = finish(create_run(runs_dir, "over", CONFIG))
        assert mark_interrupted(runs_dir) == []  # all of their owners live
        assert run.snapshot().status == "training"
        with pytest.raises(RunError) as caught:
            run.take_over()
        assert caught.value.values == {"run": run_id}
        owner.kill()
    assert [found.id for found in mark_interrupted(runs_dir)] == [run_id]
    snapshot = run.snapshot()
    assert (snapshot.status, snapshot.message) == ("interrupted", "The program ended before the run did.")
    assert mark_interrupted(runs_dir) == []
    (run.folder / ".part-summary.json").write_text("half")
    run.take_over()
    assert json.loads((run.folder / "run.json").read_text())["pid"] == os.getpid()
    assert not list(run.folder.glob(".part-*"))
    assert (mine.snapshot().status, over.snapshot().status) == ("preparing", "completed")


def test_a_run_that_is_being_made_is_not_taken_for_interrupted(runs_dir):
    """By a program that starts at the same time: it would also remove the file that is just being written."""
    is_made, taken = threading.Event(), []

    def keep_starting() -> None:
        while not is_made.is_set():
            taken.extend(run.id for run in mark_interrupted(runs_dir))

    other = threading.Thread(target=keep_starting)
    other.start()
    try:
        for _ in range(40):
            # The newest are listed first, so the other program gets to it at once.
            finish(create_run(runs_dir, "new", CONFIG), adapter=False)
    finally:
        is_made.set()
        other.join()
    assert taken == [] and {run.snapshot().status for run in list_runs(runs_dir)} == {"completed"}


@pytest.mark.parametrize("about", ["{", "[]", '{"pid": "x"}', '{"name": "no owner"}'])
def test_a_run_without_a_known_owner_is_interrupted(runs_dir, about):
    run = create_run(runs_dir, "lost", CONFIG)
    (run.folder / "run.json").write_text(about)
    assert [found.id for found in mark_interrupted(runs_dir)] == [run.id]


def test_another_process_with_the_old_number_is_not_the_owner(runs_dir):
    run = create_run(runs_dir, "old number", CONFIG)
    path = Path(run.folder / "run.json")
    about = json.loads(path.read_text())
    assert about["pid"] == os.getpid()
    path.write_text(json.dumps(about | {"pid_started": about["pid_started"] - 100}))
    assert [found.id for found in mark_interrupted(runs_dir)] == [run.id]


def test_a_process_is_still_the_owner_after_the_clock_was_changed():
    """Such as when a laptop sleeps: on Linux the times of all processes move with the clock."""
    ours = this_process()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        created = psutil.Process(other.pid).create_time()
        about = {"pid": other.pid, "pid_started": created, "pid_since_boot": created - psutil.boot_time()}
        assert is_alive(about) and is_alive(about | {"pid_started": created - 3600})
        assert not is_alive(about | {"pid_started": created - 3600, "pid_since_boot": about["pid_since_boot"] - 3600})
        assert not is_alive({"pid": other.pid, "pid_started": created - 3600})  # as earlier versions wrote it
        other.stdin.close()
        other.wait()
    assert not is_alive(about)
    assert is_alive(ours) and not is_alive(ours | {"pid_started": ours["pid_started"] - 3600})
