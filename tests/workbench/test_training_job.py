"""The run of this program: each event on disk before it is shown, and shown all the same when it cannot be written."""

import threading

import pytest

from core.problems import DataError, RunError
from core.runs.events import StatusChanged
from core.runs.run_folder import Run, create_run, find_run
from core.workbench.workbench import Workbench
from tests.conftest import small_config


@pytest.fixture
def config(stories):
    """Settings of a run that fails before any model is loaded."""
    return small_config(stories, "./gone.json")


def test_nothing_is_shown_before_it_is_on_disk(runs_dir, config, monkeypatch):
    bench, append, seen = Workbench(runs_dir), Run.append, []

    def watched(run: Run, event: StatusChanged) -> None:
        append(run, event)
        on_disk, shown = run.snapshot(), bench._training._job.state
        seen.append((event.message, on_disk.message, shown.message))

    monkeypatch.setattr(Run, "append", watched)
    bench.start(config, "watched")
    snapshot = bench.wait(60)
    assert snapshot.status == "failed" and type(bench.failure) is DataError
    assert [event for event, _, _ in seen] == ["Getting ready", snapshot.message]
    assert all(on_disk == event for event, on_disk, _ in seen)
    assert [shown for _, _, shown in seen] == ["", "Getting ready"]  # what pages saw at that moment


def test_an_event_that_cannot_be_written_is_shown_and_written_later(runs_dir, config):
    bench = Workbench(runs_dir)
    run = bench.start(config, "away")
    bench.wait(60)
    away = runs_dir.parent / "away"
    run.folder.rename(away)
    bench._training.emit(StatusChanged(status="training", message="first"))
    assert (bench.snapshot.message, bench.snapshot.status) == ("first", "training")
    assert "No such file or directory" in bench.trouble and not run.folder.exists()
    away.rename(run.folder)
    assert find_run(runs_dir, run.id).snapshot().status == "failed"
    bench._training.emit(StatusChanged(status="training", message="second"))
    assert bench.trouble == "" and bench.snapshot.message == "second"
    lines = (run.folder / "events.jsonl").read_text().splitlines()
    assert ['"first"' in lines[-2], '"second"' in lines[-1]] == [True, True]
    assert find_run(runs_dir, run.id).snapshot() == bench.snapshot


def test_a_run_without_a_folder_still_ends(runs_dir, config, monkeypatch):
    """Its folder goes away while it is at work."""
    bench = Workbench(runs_dir)
    look = bench._preparation.look

    def look_without_a_folder(*args):
        bench._training._run.folder.rename(runs_dir.parent / "away")
        return look(*args)

    monkeypatch.setattr(bench._preparation, "look", look_without_a_folder)
    bench.start(config, "away")
    snapshot = bench.wait(60)
    assert snapshot.status == "failed" and type(bench.failure) is DataError
    assert bench.trouble and bench.busy_with == "" and not bench.is_training


def test_pages_do_not_wait_for_a_slow_disk(runs_dir, config):
    bench = Workbench(runs_dir)
    bench.start(config, "slow")
    bench.wait(60)
    held, done = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with bench._training._job.changed:
            held.set()
            done.wait(30)

    writing = threading.Thread(target=write_slowly)
    writing.start()
    held.wait(30)
    assert bench.snapshot.status == "failed" and not bench.is_training and bench.trouble == ""
    assert writing.is_alive()  # it still has the lock
    done.set()
    writing.join()


def test_a_run_of_another_program_is_followed_until_it_is_over(runs_dir, config):
    run = create_run(runs_dir, "elsewhere", config)  # owned by this process, which is alive
    run.append(StatusChanged(status="training", message="at work"))
    bench = Workbench(runs_dir)
    assert (bench.snapshot.message, bench.is_training, bench.stop()) == ("at work", False, False)
    with pytest.raises(RunError) as told:
        bench.resume(run.id)
    assert told.value.values == {"run": run.id} and bench.busy_with == ""
    run.append(StatusChanged(status="completed", message="Finished."))
    assert bench.snapshot.status in ("training", "completed")  # the list of runs is read again twice a second
    bench.runs.rows(fresh=True)
    assert bench.snapshot.status == "completed"
    with pytest.raises(RunError) as told:
        bench.resume(run.id)
    assert told.value.values == {"run": run.id} and bench.busy_with == ""
