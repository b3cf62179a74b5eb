"""A full disk: the run waits and says so, what was saved stays, and it goes on when there is room."""

import errno
import os
import shutil
import subprocess
from contextlib import suppress

import pytest

from core.runs.run_folder import find_run
from core.workbench.workbench import Workbench
from tests.conftest import small_config

SETTINGS = ["training.max_steps=40", "training.eval_steps=10", "training.save_steps=5", "training.save_total_limit=3"]


class SmallDisk:
    """A file system of its own, of 48 MiB; `fill` leaves nothing of it."""

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with suppress(OSError), open(self._ballast, "ab", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def free(self) -> None:
        self._ballast.unlink()


class FullByDecree(SmallDisk):
    """Where nothing can be mounted: bringing anything to the disk fails while it is said to be full."""

    is_full = False

    def fill(self) -> None:
        self.is_full = True

    def free(self) -> None:
        self.is_full = False


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(folder)], capture_output=True
    )
    if mounted and mounted.returncode == 0:
        yield SmallDisk(folder)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    import core.disk.atomic

    disk, sync = FullByDecree(folder), core.disk.atomic._sync

    def refused(path) -> None:
        if disk.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path)

    monkeypatch.setattr(core.disk.atomic, "_sync", refused)
    yield disk


@pytest.fixture(scope="module")
def config(unsloth, stories, rows):
    return small_config(stories, rows, *SETTINGS)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> bytes:
    """The adapter of the run on a disk with room."""
    bench = Workbench(tmp_path_factory.mktemp("roomy") / "runs")
    run = bench.start(config, "roomy")
    assert bench.wait(120).status == "completed", bench.snapshot.message
    return adapter_of(run)


def adapter_of(run) -> bytes:
    return (run.adapter_dir / "adapter_model.safetensors").read_bytes()


def paused(bench: Workbench, disk: SmallDisk, config, wait_until):
    """A run that waits for room, and its checkpoints as they stood then."""
    run = bench.start(config, "full")
    wait_until(lambda: bench.snapshot.checkpoints, "the first checkpoint", 120)
    disk.fill()
    wait_until(lambda: bench.snapshot.message.startswith("Paused"), "the pause", 120)
    assert bench.snapshot.status == "training" and bench.snapshot.is_paused
    assert bench.snapshot.message == (
        f"Paused: the disk is full. Free some space for {run.folder} and the run continues by itself."
    )
    return run, {checkpoint.step for checkpoint in run.checkpoints()}


def test_it_waits_for_room_and_goes_on_as_if_nothing_had_been(small_disk, config, whole, wait_until):
    bench = Workbench(small_disk.folder / "runs")
    run, kept = paused(bench, small_disk, config, wait_until)
    assert kept and max(kept) < 40
    assert not [*run.checkpoints_dir.glob(".part-*")]
    small_disk.free()
    assert bench.wait(120).status == "completed", bench.snapshot.message
    assert adapter_of(run) == whole
    told = find_run(bench.runs_dir, run.id).snapshot()
    assert [step.step for step in told.steps] == list(range(1, 41))  # also of the time when nothing could be written
    assert told == bench.snapshot and bench.trouble == ""


def test_a_stop_while_it_waits_leaves_the_older_checkpoint_to_go_on_from(small_disk, config, whole, wait_until):
    bench = Workbench(small_disk.folder / "runs")
    run, kept = paused(bench, small_disk, config, wait_until)
    bench.stop()
    snapshot = bench.wait(120)
    assert (snapshot.status, snapshot.message) == (
        "failed",
        "The disk is full, so the adapter could not be saved: free some space and resume the run; "
        f"its checkpoint of step {max(kept)} is kept.",
    )
    assert {checkpoint.step for checkpoint in run.checkpoints()} == kept
    small_disk.free()
    bench.resume(run.id)
    assert bench.wait(120).status == "completed", bench.snapshot.message
    assert adapter_of(run) == whole
