"""A full disk: the run pauses with a message, keeps what was saved, and continues once there is space."""

import errno
import os
from contextlib import suppress

import pytest

from core.runs.events import CheckpointSaved
from core.runs.run_folder import find_run
from core.workbench.workbench import Workbench
from tests.conftest import small_config, tmpfs

pytestmark = pytest.mark.slow

SETTINGS = ["training.max_steps=40", "training.eval_steps=10", "training.save_steps=5", "training.save_total_limit=3"]


class SmallDisk:
    """A separate 48 MiB file system; `fill` uses up all of its free space."""

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        self._fill_with(self._ballast, b"x")

    def fill_history(self, run) -> None:
        """Blank lines, which say nothing, take what is left of the last block of the run's events."""
        self._fill_with(run.folder / "events.jsonl", b"\n")

    def _fill_with(self, place, byte: bytes) -> None:
        with suppress(OSError), open(place, "ab", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while file.write(byte * size):
                        pass

    def free(self) -> None:
        self._ballast.unlink()


class SimulatedDisk(SmallDisk):
    """For machines that cannot mount one: every sync to disk fails while `is_full` is set."""

    is_full = False

    def fill(self) -> None:
        self.is_full = True

    def fill_history(self, run) -> None:
        pytest.skip("nothing but a real file system keeps the events from being written")

    def free(self) -> None:
        self.is_full = False


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    folder = tmp_path / "disk"
    with tmpfs(folder, "size=48m") as reason:
        if not reason:
            yield SmallDisk(folder)
            return
    import core.disk.atomic

    disk, sync = SimulatedDisk(folder), core.disk.atomic._sync

    def sync_or_fail(path) -> None:
        if disk.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path)

    monkeypatch.setattr(core.disk.atomic, "_sync", sync_or_fail)
    yield disk


@pytest.fixture(scope="module")
def config(unsloth, stories, rows):
    return small_config(stories, rows, *SETTINGS)


@pytest.fixture(scope="module")
def expected_adapter(config, tmp_path_factory) -> bytes:
    """The adapter of the same run on a disk with enough space."""
    bench = Workbench(tmp_path_factory.mktemp("roomy") / "runs")
    run = bench.start(config, "roomy")
    assert bench.wait(120).status == "completed", bench.snapshot.message
    return adapter_of(run)


def adapter_of(run) -> bytes:
    return (run.adapter_dir / "adapter_model.safetensors").read_bytes()


def start_and_pause(bench: Workbench, disk: SmallDisk, config, wait_until):
    """Start a run and fill the disk; returns the paused run and the steps of its checkpoints."""
    emit, is_first = bench._training.emit, True

    def emit_and_fill(event) -> None:
        """In the training's own thread, which could otherwise end before the disk is full."""
        nonlocal is_first
        emit(event)
        if is_first and isinstance(event, CheckpointSaved):
            is_first = False
            disk.fill()

    bench._training.emit = emit_and_fill
    run = bench.start(config, "full")
    wait_until(lambda: bench.snapshot.message.startswith("Paused"), "the pause", 120)
    assert bench.snapshot.status == "training" and bench.snapshot.is_paused
    assert bench.snapshot.message == (
        f"Paused: the disk is full. Free some space for {run.folder} and the run continues by itself."
    )
    return run, {checkpoint.step for checkpoint in run.checkpoints()}


def test_a_paused_run_continues_and_ends_with_the_same_adapter(small_disk, config, expected_adapter, wait_until):
    bench = Workbench(small_disk.folder / "runs")
    run, kept = start_and_pause(bench, small_disk, config, wait_until)
    assert kept and max(kept) < 40
    assert not [*run.checkpoints_dir.glob(".part-*")]
    small_disk.free()
    assert bench.wait(120).status == "completed", bench.snapshot.message
    assert adapter_of(run) == expected_adapter
    snapshot = find_run(bench.runs_dir, run.id).snapshot()
    assert [step.step for step in snapshot.steps] == list(range(1, 41))  # including the steps while the disk was full
    assert snapshot == bench.snapshot and bench.trouble == ""


def test_a_run_stopped_while_paused_can_be_resumed_from_its_checkpoint(
    small_disk, config, expected_adapter, wait_until
):
    bench = Workbench(small_disk.folder / "runs")
    run, kept = start_and_pause(bench, small_disk, config, wait_until)
    bench.stop()
    snapshot = bench.wait(120)
    assert (snapshot.status, snapshot.message) == (
        "failed",
        "The disk is full, so the adapter could not be saved: free some space and resume the run; "
        f"its checkpoint at step {max(kept)} is kept.",
    )
    assert {checkpoint.step for checkpoint in run.checkpoints()} == kept
    small_disk.free()
    bench.resume(run.id)
    assert bench.wait(120).status == "completed", bench.snapshot.message
    assert adapter_of(run) == expected_adapter


def test_how_a_run_ended_is_written_once_there_is_room(small_disk, config, wait_until):
    """Until then it counts as in progress, so that nothing in the queue could begin."""
    bench = Workbench(small_disk.folder / "runs")
    run, _ = start_and_pause(bench, small_disk, config, wait_until)
    small_disk.fill_history(run)
    bench.stop()
    assert bench.wait(120).status == "failed" and "cannot be written" in bench.trouble
    assert not run.says_it_is_over()
    small_disk.free()
    bench.queue.look()
    assert not bench.trouble
    assert run.says_it_is_over() and find_run(bench.runs_dir, run.id).snapshot() == bench.snapshot
