"""The queue on disk: changed by several programs at once, damaged, and written by another version."""

import json
import subprocess
import sys

import pytest

from core.problems import RunError
from core.runs.events import StatusChanged
from core.runs.queue_file import EMPTY, MOST_ENTRIES, QueueFile
from core.runs.run_folder import create_run
from core.runs.uploads import sweep_uploads
from core.settings.run_config import RunConfig
from tests.conftest import PROJECT

CONFIG = RunConfig().with_settings(["training.max_steps=7", "data.path=rows.json"])
ADDER = """
import sys
from pathlib import Path
from core.runs.queue_file import QueueFile
from core.settings.run_config import RunConfig

for number in range(10):
    QueueFile(Path(sys.argv[1])).add([(f"{sys.argv[2]}{number}", RunConfig())])
"""


@pytest.fixture
def file(runs_dir) -> QueueFile:
    return QueueFile(runs_dir)


def names(file: QueueFile) -> list[str]:
    return [entry.name for entry in file.read().entries]


def added(file: QueueFile, *names: str) -> dict[str, str]:
    """The ids of new entries by their names."""
    return {name: file.add([(name, CONFIG)])[0].id for name in names}


def test_what_is_added_is_read_by_another_program(file, runs_dir):
    assert file.read() is EMPTY
    one, two = file.add([("one", CONFIG), ("", CONFIG)], preset="demo-yoda")
    found = QueueFile(runs_dir).read()
    assert [(e.id, e.name, e.preset, e.config, e.run_id) for e in found.entries] == [
        (one.id, "one", "demo-yoda", CONFIG, ""), (two.id, "", "demo-yoda", CONFIG, "")
    ]  # fmt: skip
    assert one.id != two.id and found.entries[0].group == found.entries[1].group != ""
    assert (found.entries[1].title, found.next, found.is_paused) == (CONFIG.run_name, found.entries[0], False)
    (alone,) = file.add([("three", CONFIG)])
    assert alone.group == "" and names(file) == ["one", "", "three"]
    assert file.read() is file.read(), "nothing is read twice"


def test_runs_are_moved_and_dropped(file):
    ids = added(file, "a", "b", "c", "d")
    file.move(ids["d"], 1)
    assert names(file) == ["d", "a", "b", "c"]
    file.move(ids["d"], 3)
    assert names(file) == ["a", "b", "d", "c"]
    file.move(ids["a"], 99)
    file.move(ids["c"], 0)
    assert names(file) == ["c", "b", "d", "a"]
    file.drop([ids["b"], ids["a"]])
    assert names(file) == ["c", "d"]
    for wrong in (lambda: file.drop([ids["c"], ids["b"]]), lambda: file.move(ids["b"], 1)):
        with pytest.raises(RunError) as told:
            wrong()
        assert told.value.values == {"entry": ids["b"]} and names(file) == ["c", "d"]


def begin(file: QueueFile, entry_id: str, run) -> None:
    """As the queue's job does when the entry's turn comes."""
    path = file.path
    values = json.loads(path.read_text())
    next(entry for entry in values["entries"] if entry["id"] == entry_id)["run_id"] = run.id
    path.write_text(json.dumps(values))


def test_a_run_in_progress_is_neither_moved_nor_dropped(file, runs_dir):
    ids = added(file, "a", "b")
    run = create_run(runs_dir, "a", CONFIG)  # owned by this process
    begin(file, ids["a"], run)
    assert file.read().next.id == ids["a"]
    for wrong in (lambda: file.drop([ids["a"]]), lambda: file.move(ids["a"], 2)):
        with pytest.raises(RunError) as told:
            wrong()
        assert told.value.values == {"run": "a"}
    file.move(ids["b"], 1)
    assert names(file) == ["a", "b"], "what was begun stays first"
    run.append(StatusChanged(status="stopped"))
    file.drop([ids["a"]])
    assert names(file) == ["b"] and run.folder.is_dir()


def test_programs_that_add_at_the_same_time_lose_nothing(file, runs_dir):
    command = [sys.executable, "-c", ADDER, str(runs_dir)]
    programs = [subprocess.Popen([*command, name], cwd=PROJECT) for name in "xy"]
    added(file, *(f"z{number}" for number in range(10)))
    assert [program.wait(60) for program in programs] == [0, 0]
    assert sorted(names(file)) == [f"{name}{number}" for name in "xyz" for number in range(10)]
    for name in "xyz":
        assert [one for one in names(file) if one[0] == name] == [f"{name}{number}" for number in range(10)]
    ids = [entry.id for entry in file.read().entries]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("text", ["", '{"entries": [{"id"', "[1]", '{"entries": 5}', "\0", "x" * 1000])
def test_a_damaged_file_is_told_and_never_written_over(file, text):
    added(file, "a")
    file.path.write_text(text)
    for use in (file.read, lambda: added(file, "b"), lambda: file.pause(True), lambda: file.drop(["a"])):
        with pytest.raises(RunError) as told:
            use()
        assert told.value.values["file"] == str(file.path)
    assert file.path.read_text() == text
    file.path.rename(file.path.with_name("away.json"))
    added(file, "c")
    assert names(file) == ["c"]


def test_an_entry_of_another_version_waits_with_its_fault_and_stays_as_it_was(file):
    ids = added(file, "a")
    values = json.loads(file.path.read_text())
    strange = {"id": "9999", "name": "new", "settings": {"training": {"no_such": 1}}, "stage": [1]}
    values["entries"] = [strange, "scrap", {"settings": {}}, *values["entries"]]
    values["entries"][-1]["colour"] = "red"
    file.path.write_text(json.dumps(values))
    new, scrap, bare, whole = file.read().entries
    assert ("training.no_such" in new.fault, new.title, new.config) == (True, "new", None)
    assert scrap.fault and (scrap.id, bare.id, bare.fault) == ("entry-2", "entry-3", "")
    assert file.read().next is bare and whole.config == CONFIG
    file.pause(True)
    written = json.loads(file.path.read_text())["entries"]
    assert written[:2] == [strange, "scrap"] and written[3]["colour"] == "red"
    file.drop(["9999", "entry-2"])
    assert [entry.id for entry in file.read().entries] == ["entry-3", ids["a"]]


def test_a_pause_and_what_has_ended_are_kept(file, runs_dir):
    added(file, "a")
    file.pause(True)
    values = json.loads(file.path.read_text())
    file.path.write_text(json.dumps(values | {"ended": ["r1", "r2", 3]}))
    found = QueueFile(runs_dir).read()
    assert (found.is_paused, found.ended) == (True, ("r1", "r2"))
    added(file, "b")
    assert file.read().ended == ("r1", "r2"), "they belong to what is still in the queue"
    file.drop([entry.id for entry in file.read().entries])
    added(file, "c")
    assert file.read().ended == ()


def test_it_has_room_for_so_many(file):
    file.add([(str(number), CONFIG) for number in range(MOST_ENTRIES)])
    with pytest.raises(RunError) as told:
        file.add([("more", CONFIG)])
    assert told.value.values == {"most": MOST_ENTRIES} and len(file.read().entries) == MOST_ENTRIES


def test_uploads_that_the_queue_names_are_kept(file, runs_dir):
    for name in ("a" * 64, "b" * 64):
        (runs_dir / "uploads" / name).mkdir(parents=True)
    rows = runs_dir / "uploads" / ("a" * 64) / "rows.json"
    rows.write_text("[]")
    file.add([("", CONFIG.with_settings([f"data.path={rows}"]))])
    assert [path.name for path in sweep_uploads(runs_dir, days=-1)] == ["b" * 64]
