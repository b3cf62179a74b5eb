"""Every run at a glance, and the trash: from run folders that the real writer wrote, whole and damaged."""

import os
import subprocess
import sys

import pytest

import core.runs.run_list
from core.problems import RunError
from core.runs.events import (
    Evaluated,
    Finished,
    MemorySampled,
    Receipt,
    Resumed,
    Sampled,
    StatusChanged,
    StepDone,
    to_line,
)
from core.runs.overview import COLUMNS, Overview, search, sort
from core.runs.run_folder import create_run
from core.runs.run_list import RunList
from core.runs.trash import Trash
from core.settings.run_config import RunConfig
from tests.conftest import PROJECT

CONFIG = RunConfig().with_settings(["data.path=some/rows.csv", "training.max_steps=4"])


def step(number: int, loss: float = 1.0) -> StepDone:
    return StepDone(step=number, max_steps=4, epoch=0.1, loss=loss, learning_rate=1e-4, tokens=9, elapsed=number * 2.0)


def make_run(runs_dir, name="demo", *, status="completed", losses=(3.0, 2.0, 2.5), figures=True):
    """A run of a step and a check for each loss; its own program is this one."""
    run = create_run(runs_dir, name, CONFIG)
    run.append(StatusChanged(time=1000.0, status="training"))
    for number, loss in enumerate(losses, 1):
        run.append(step(number))
        run.append(MemorySampled(used_by_us_gib=1.0 + number, in_use_gib=2, total_gib=8, available_gib=6))
        run.append(Evaluated(step=number, eval_loss=loss))
    if figures:
        run.append(
            Finished(
                steps=3,
                eval_loss=2.5,
                runtime_s=7.5,
                tokens_per_s=1.0,
                peak_memory_gib=4.5,
                peak_memory_for_training_gib=1.0,
                total_memory_gib=8.0,
            )  # fmt: skip
        )
    if status:
        run.append(StatusChanged(status=status, message="So it ended."))
    return run


@pytest.fixture
def runs(runs_dir):
    return RunList(runs_dir, look_seconds=0)


def test_a_whole_run_at_a_glance(runs, runs_dir):
    assert runs.rows() == ()
    run = make_run(runs_dir)
    run.write_about(note="warm")
    (run.folder / "adapter").mkdir()
    (run.folder / "adapter" / "adapter_config.json").write_text("{}")
    assert runs.rows() == (
        Overview(
            id=run.id,
            folder=run.folder,
            name="demo",
            note="warm",
            status="completed",
            message="So it ended.",
            fault="",
            started=1000.0,
            model="unsloth/Llama-3.2-1B-Instruct-bnb-4bit",
            data="some/rows.csv",
            step=3,
            steps=4,
            best_loss=2.0,
            best_step=2,
            last_loss=2.5,
            seconds=7.5,
            peak_gib=4.5,
            has_adapter=True,
            checkpoints=(),
            base=("unsloth/Llama-3.2-1B-Instruct-bnb-4bit", None, True, "auto"),
            is_going_on=False,
        ),  # fmt: skip
    )


def test_a_run_that_goes_on_is_told_as_far_as_it_is(runs, runs_dir):
    make_run(runs_dir, status="", figures=False)
    (row,) = runs.rows()
    assert (row.status, row.is_going_on, row.step, row.steps) == ("training", True, 3, 4)
    assert (row.seconds, row.peak_gib, row.last_loss, row.best_loss) == (6.0, 4.0, 2.5, 2.0)


def test_a_run_whose_program_died_is_interrupted(runs, runs_dir):
    run = make_run(runs_dir, status="", figures=False)
    assert runs.rows()[0].is_going_on
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run.write_about(pid=dead.pid)
    (row,) = runs.rows()
    assert (row.status, row.is_going_on, row.message) == ("interrupted", False, "The program ended before the run did.")


def test_a_program_that_dies_without_a_trace_is_noticed(runs, runs_dir):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(runs_dir)], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with owner:
        owner.stdout.readline()
        (row,) = runs.rows()
        assert row.is_going_on
        assert runs.rows()[0] is row
        owner.kill()
    assert runs.rows()[0].status == "interrupted", "though no file has changed"


OWNER = """
import sys
from pathlib import Path
from core.settings.run_config import RunConfig
from core.runs.events import StatusChanged
from core.runs.run_folder import create_run
run = create_run(Path(sys.argv[1]), "owned", RunConfig())
run.append(StatusChanged(status="training"))
print(run.id, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parsed(monkeypatch):
    """The lines that were parsed, in order."""
    lines = []

    def looking(line):
        lines.append(line)
        return from_line(line)

    from_line = core.runs.run_list.from_line
    monkeypatch.setattr(core.runs.run_list, "from_line", looking)
    return lines


def test_nothing_is_parsed_twice(runs, runs_dir, parsed):
    old, new = make_run(runs_dir, "old"), make_run(runs_dir, "new", status="", figures=False)
    first = runs.rows()
    assert len(parsed) == 12 + 10
    parsed.clear()
    assert runs.rows() is first and parsed == []
    new.append(step(4))
    new.append(Evaluated(step=4, eval_loss=1.5))
    rows = {row.name: row for row in runs.rows()}
    assert [line.split('"type": ')[1][:6] for line in parsed] == ['"step"', '"evalu']
    assert (rows["new"].step, rows["new"].best_loss, rows["new"].best_step) == (4, 1.5, 4)
    assert rows["old"] is next(row for row in first if row.id == old.id)


def test_half_a_line_is_read_when_it_is_whole(runs, runs_dir):
    run = make_run(runs_dir, status="", figures=False)
    line = to_line(Evaluated(step=4, eval_loss=0.5))
    with open(run.folder / "events.jsonl", "a", encoding="utf-8") as file:
        file.write(line[:30])
        file.flush()
        assert (runs.rows()[0].best_loss, runs.rows()[0].fault) == (2.0, "")
        file.write(line[30:] + "\n")
    assert runs.rows()[0].best_loss == 0.5


def test_a_history_that_was_replaced_is_read_anew(runs, runs_dir):
    run = make_run(runs_dir, status="", figures=False)
    assert runs.rows()[0].step == 3
    (run.folder / "events.jsonl").write_text(to_line(StatusChanged(status="training")) + "\n" + to_line(step(1)) + "\n")
    assert (runs.rows()[0].step, runs.rows()[0].best_loss) == (1, None)


def test_a_resumed_run_counts_from_where_it_went_on(runs, runs_dir):
    run = make_run(runs_dir, status="interrupted", figures=False)
    assert runs.rows()[0].step == 3
    run.append(Resumed(step=1))
    run.append(StatusChanged(status="training"))
    (row,) = runs.rows()
    assert (row.step, row.best_loss, row.status, row.is_going_on) == (1, 3.0, "training", True)


def test_answers_with_line_marks_of_their_own_are_one_event(runs, runs_dir):
    run = make_run(runs_dir)
    run.append(Sampled(step=3, by="tuned", prompts=("a",), answers=("one\u2028two\x85three",)))
    assert runs.rows()[0].fault == ""


def add_bytes(file, added: bytes) -> None:
    file.write_bytes(file.read_bytes() + added)


# What is done to a run's folder, and a word of what is then said about it.
DAMAGES = {
    "no settings": (lambda f: (f / "config.yaml").unlink(), "config.yaml"),
    "unknown setting": (lambda f: (f / "config.yaml").write_text("model: {x: 1}"), "model.x"),
    "settings of bytes": (lambda f: (f / "config.yaml").write_bytes(b"\xff\x00"), "config.yaml"),
    "run.json cut off": (lambda f: (f / "run.json").write_text('{"na'), "run.json"),
    "run.json a list": (lambda f: (f / "run.json").write_text("[1]"), "run.json"),
    "no run.json": (lambda f: (f / "run.json").unlink(), "run.json"),
    "no events": (lambda f: (f / "events.jsonl").unlink(), "events.jsonl"),
    # The last status is cut off, as after a crash: nothing else is lost.
    "half an event": (lambda f: os.truncate(f / "events.jsonl", (f / "events.jsonl").stat().st_size - 9), ""),
    "a line of bytes": (lambda f: add_bytes(f / "events.jsonl", b"\xff\xfe{}\n"), "One line"),
    "two lines of bytes": (lambda f: add_bytes(f / "events.jsonl", b"\xff\xfe{}\n{}\n"), "2 lines"),
    "half a line after the end": (lambda f: add_bytes(f / "events.jsonl", b'{"type": "st'), "One line"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_listed_with_what_can_be_known(runs, runs_dir, damage):
    make_run(runs_dir, "whole")
    hurt = make_run(runs_dir, "hurt")
    do, word = DAMAGES[damage]
    do(hurt.folder)
    rows = {row.id: row for row in runs.rows()}
    assert len(rows) == 2
    row = rows.pop(hurt.id)
    assert [left.fault for left in rows.values()] == [""]
    assert word in row.fault and bool(row.fault) == bool(word)
    assert row.name == ("hurt" if "run.json" not in damage else hurt.id)
    assert row.last_loss == (None if damage == "no events" else 2.5)


def test_other_folders_are_no_runs(runs, runs_dir):
    make_run(runs_dir)
    (runs_dir / "prepared").mkdir()
    (runs_dir / "note.txt").write_text("")
    assert len(runs.rows()) == 1


def test_a_look_is_shared_for_a_while(runs_dir):
    runs = RunList(runs_dir, look_seconds=3600)
    assert runs.rows() == ()
    make_run(runs_dir)
    assert runs.rows() == ()
    assert len(runs.rows(fresh=True)) == 1


def test_search_takes_all_words_from_anywhere(runs, runs_dir):
    make_run(runs_dir, "Yoda one", status="failed").write_about(note="too hot")
    make_run(runs_dir, "yoda two")
    make_run(runs_dir, "한국어")

    def found(text):
        return sorted(row.name for row in search(runs.rows(), text))

    assert found("") == ["Yoda one", "yoda two", "한국어"]
    assert found("YODA") == ["Yoda one", "yoda two"]
    assert found("yoda hot") == ["Yoda one"]
    assert found("failed") == ["Yoda one"]
    assert found("rows.csv 국") == ["한국어"]
    assert found("llama-3.2 two nothing") == []


def test_sorting_by_every_column_puts_the_unknown_last():
    def row(name, **values):
        return Overview(id=name, folder=None, name=name, **values)

    low = row(
        "a", best_loss=1.0, last_loss=1.0, seconds=1.0, peak_gib=1.0, started=1.0, step=1, model="A", data="A", note="A"
    )
    high = row(
        "B", best_loss=2.0, last_loss=2.0, seconds=2.0, peak_gib=2.0, started=2.0, step=2, model="b", data="b", note="b"
    )
    none = row("C", started=3.0)
    for column in set(COLUMNS) - {"name", "started", "status", "step"}:
        assert sort([none, high, low], column, is_down=False) == [low, high, none], column
        assert sort([none, low, high], column, is_down=True) == [high, low, none], column
    assert sort([none, high, low], "name", is_down=False) == [low, high, none]
    assert sort([low, none, high], "started", is_down=True) == [none, high, low]
    assert sort([low, none, high], "step", is_down=False) == [none, low, high]


def test_name_and_note_are_kept_in_the_run(runs, runs_dir):
    run = make_run(runs_dir)
    runs.describe(run.id, "  <b>new</b> ", "two\nlines ")
    (row,) = RunList(runs_dir).rows()
    assert (row.name, row.note) == ("<b>new</b>", "two\nlines")
    assert runs.open(run.id).folder == run.folder
    with pytest.raises(RunError, match="name"):
        runs.describe(run.id, " ", "x")
    assert runs.find(run.id).name == "<b>new</b>"


@pytest.mark.parametrize("run_id", ["..", "../x", "/etc", "", "a\0b", "trash", "x" * 400])
def test_what_is_asked_for_is_never_used_as_a_path(runs, runs_dir, run_id):
    make_run(runs_dir)
    (runs_dir.parent / "x").mkdir()
    (runs_dir.parent / "x" / "run.json").write_text("{}")
    with pytest.raises(RunError) as caught:
        runs.find(run_id)
    assert caught.value.values == {"run": run_id} and len(str(caught.value)) < 200


def test_deleted_and_put_back(runs, runs_dir):
    run, trash = make_run(runs_dir), Trash(runs_dir)
    before = sorted((file.name, file.read_bytes()) for file in run.folder.iterdir())
    deleted = trash.take(run.folder)
    assert runs.rows() == () and not run.folder.exists()
    assert (deleted.run_id, deleted.name) == (run.id, "demo")
    assert deleted.size == sum(len(content) for _, content in before)
    assert trash.runs() == [deleted]
    assert trash.put_back(deleted.id) == run.id
    assert sorted((file.name, file.read_bytes()) for file in run.folder.iterdir()) == before
    assert trash.runs() == [] and list(trash.folder.iterdir()) == []
    with pytest.raises(RunError, match="trash"):
        trash.put_back(deleted.id)


def test_the_same_name_twice_in_the_trash_and_taken_outside(runs_dir):
    trash, places = Trash(runs_dir), []
    for note in ("one", "two", "three"):
        run = make_run(runs_dir)
        run.write_about(note=note)
        same = run.folder.rename(runs_dir / "same")
        places.append(same if note == "three" else trash.take(same))
    one, two = places[:2]
    assert [run.id for run in trash.runs()] == [two.id, one.id], "the last deleted first"
    assert [trash.put_back(two.id), trash.put_back(one.id)] == ["same-2", "same-3"]
    rows = {row.id: row.note for row in RunList(runs_dir).rows()}
    assert rows == {"same": "three", "same-2": "two", "same-3": "one"}


def test_emptying_the_trash_frees_what_it_says_and_leaves_the_rest(runs_dir, tmp_path):
    trash, kept = Trash(runs_dir), make_run(runs_dir, "kept")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("dear")
    deleted = make_run(runs_dir, "gone")
    (deleted.folder / "checkpoints").mkdir()
    (deleted.folder / "checkpoints" / "big").write_bytes(b"x" * 100_000)
    (deleted.folder / "elsewhere").symlink_to(mine)
    size = trash.take(deleted.folder).size
    assert size > 100_000
    linked = runs_dir / "20260101-000000-linked"
    linked.symlink_to(mine)
    trash.take(linked)
    assert trash.empty() >= size
    assert trash.runs() == [] and kept.folder.is_dir()
    assert (mine / "letter.txt").read_text() == "dear", "what a link names is not the run's own"


@pytest.mark.parametrize("deleted_id", ["", "..", "../..", "/", "*", "a\0"])
def test_the_trash_gives_back_only_what_it_holds(runs_dir, deleted_id):
    trash = Trash(runs_dir)
    trash.take(make_run(runs_dir).folder)
    with pytest.raises(RunError, match="trash"):
        trash.put_back(deleted_id)
    assert len(trash.runs()) == 1


def test_receipts_before_the_first_step_tell_how_many_there_will_be(runs, runs_dir):
    run = create_run(runs_dir, "x", CONFIG)
    run.append(StatusChanged(status="training"))
    run.append(
        Receipt(
            trainable_parameters=1,
            total_parameters=2,
            groups=(),
            precision="",
            optimizer="",
            max_steps=4,
            train_rows=1,
            validation_rows=0,
            trained_tokens_share=1.0,
        )  # fmt: skip
    )
    assert (runs.rows()[0].step, runs.rows()[0].steps, runs.rows()[0].peak_gib) == (0, 4, None)
