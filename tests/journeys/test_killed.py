"""A program killed at any moment loses no run: it is found interrupted, resumed, and ends the same."""

import json
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from core.runs.checkpoint_list import list_checkpoints
from core.runs.run_folder import list_runs
from tests.conftest import small_config
from tests.journeys.runs_in_children import RunInChild

STEPS = 8
SEED = 20261127
SETTINGS = [
    f"training.max_steps={STEPS}", "training.eval_steps=4", "training.save_steps=2", "adapter.lora_dropout=0.1",
    "training.sample_prompts=[Say red.]",
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(stories, rows) -> str:
    return small_config(stories, rows, *SETTINGS).to_yaml()


@pytest.fixture(scope="module")
def whole(stories, settings, tmp_path_factory):
    """The run that nobody kills: its snapshot, its adapter, and the seconds it took from its start on."""
    runs_dir = tmp_path_factory.mktemp("whole") / "runs"
    ended = RunInChild(runs_dir, start=settings).wait()["ended"]
    assert ended["status"] == "completed", ended["message"]
    (run,) = list_runs(runs_dir)
    return ended, adapter_of(run), ended["ended"] - ended["started"]


def adapter_of(run) -> bytes:
    return (run.adapter_dir / "adapter_model.safetensors").read_bytes()


def what_it_told(snapshot: dict) -> dict:
    """All that must not depend on whether a run was interrupted: no times, no memory."""
    kept = {
        key: [{k: v for k, v in e.items() if k not in ("time", "elapsed")} for e in snapshot[key]]
        for key in ("steps", "evaluations", "samples")
    }
    loss = {key: snapshot["heldout"][key] for key in ("rows", "base_loss", "tuned_loss")}
    return kept | {"heldout": loss, "train_loss": round(snapshot["finished"]["train_loss"], 12)}


def is_saving(folder: Path) -> bool:
    """Whether a checkpoint or the adapter is being written right now."""
    return any(folder.glob(".part-adapter")) or any((folder / "checkpoints").glob(".part-step-*"))


def kill_at(runs_dir: Path, pid: int, moment, wait_until) -> bool:
    """Kills the program at `moment`: seconds after its run began, or the number of a save. Whether it was saving."""
    wait_until(lambda: list_runs(runs_dir), "the run's folder", 120)
    (run,) = list_runs(runs_dir)
    if isinstance(moment, float):
        time.sleep(moment)  # the moment itself, not a wait for something
    else:
        saves = 0
        while saves < moment:
            # On a busy machine a save may be over before it was seen, and the run with it.
            while not is_saving(run.folder) and not run.says_it_is_over():
                time.sleep(0.0002)
            saves += 1
            while saves < moment and is_saving(run.folder) and not run.says_it_is_over():
                time.sleep(0.0002)
    with suppress(ProcessLookupError):  # it was quicker than the one that nobody killed, and is over
        os.kill(pid, signal.SIGKILL)
    return is_saving(run.folder)


def test_killed_at_any_moment_no_run_is_lost_and_each_ends_equal(settings, whole, tmp_path, wait_until, long):
    """Twenty moments with `--long`, six without; the moments follow from the seed and from how fast the machine is."""
    ended, adapter, seconds = whole
    draw = random.Random(SEED)
    at_random, at_saves = (14, 6) if long else (4, 2)
    moments = [draw.uniform(0.0, seconds) for _ in range(at_random)]
    moments += [number % 5 + 1 for number in range(at_saves)]  # at the first save, the second …
    in_a_save = number = 0
    # On a busy machine a save may be over before it was seen: then others are aimed at, until one kill came within one.
    while moments or (in_a_save == 0 and number < 30):
        moment = moments.pop(0) if moments else number % 5 + 1
        number += 1
        runs_dir = tmp_path / str(number) / "runs"
        told = f"moment {moment}"
        child = RunInChild(runs_dir, start=settings)
        in_a_save += kill_at(runs_dir, child.pid, moment, wait_until)
        result = child.wait()
        (run,) = list_runs(runs_dir)
        if result is not None:  # it was over before the kill came
            assert result["ended"]["status"] == "completed", told
            continue
        before = run.snapshot()
        whole_ones = [checkpoint.step for checkpoint in list_checkpoints(run.checkpoints_dir)]
        result = RunInChild(runs_dir, resume=run.id).wait()
        found, after = result["found"], result["ended"]
        assert found["status"] == "interrupted", told
        assert (
            [s["step"] for s in found["steps"]] == [s.step for s in before.steps] == list(range(1, before.step + 1))
        ), told
        assert len(found["samples"]) == len(before.samples), told
        assert after["status"] == "completed", f"{told}: {after['message']}"
        assert what_it_told(after) == what_it_told(ended), told
        assert adapter_of(run) == adapter, told
        resumed = [
            json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines() if '"resumed"' in line
        ]
        assert [event["step"] for event in resumed] == [max(whole_ones, default=0)], told
        assert not [*run.folder.glob(".part-*"), *run.checkpoints_dir.glob(".part-*")], told
        assert [checkpoint.step for checkpoint in list_checkpoints(run.checkpoints_dir)] == ended["checkpoints"], told
    assert in_a_save >= 1, "no kill came within a save"
