"""A run survives a kill at any moment: it is listed as interrupted, can be resumed, and ends with equal results."""

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

pytestmark = pytest.mark.slow

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
def uninterrupted(stories, settings, tmp_path_factory):
    """A run that is not killed: its final snapshot, its adapter, and how many seconds it took."""
    runs_dir = tmp_path_factory.mktemp("whole") / "runs"
    ended = RunInChild(runs_dir, start=settings).wait()["ended"]
    assert ended["status"] == "completed", ended["message"]
    (run,) = list_runs(runs_dir)
    return ended, adapter_of(run), ended["ended"] - ended["started"]


def adapter_of(run) -> bytes:
    return (run.adapter_dir / "adapter_model.safetensors").read_bytes()


def comparable(snapshot: dict) -> dict:
    """Everything that an interruption must not change; without times and memory."""
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
    """Kill the program `moment` seconds after its run began (float) or at save number `moment` (int).

    Returns whether it was saving at that time.
    """
    wait_until(lambda: list_runs(runs_dir), "the run's folder", 120)
    (run,) = list_runs(runs_dir)
    if isinstance(moment, float):
        time.sleep(moment)  # a moment in time, not a wait for a condition
    else:
        saves = 0
        while saves < moment:
            # On a busy machine a save, or even the run, may end before it is noticed.
            while not is_saving(run.folder) and not run.says_it_is_over():
                time.sleep(0.0002)
            saves += 1
            while saves < moment and is_saving(run.folder) and not run.says_it_is_over():
                time.sleep(0.0002)
    with suppress(ProcessLookupError):  # it was faster than the uninterrupted run and has already ended
        os.kill(pid, signal.SIGKILL)
    return is_saving(run.folder)


def test_runs_killed_at_any_moment_resume_and_end_with_equal_results(
    settings, uninterrupted, tmp_path, wait_until, long
):
    """Twenty moments with `--long`, six without. They depend on the seed and on the speed of the machine."""
    expected, adapter, seconds = uninterrupted
    draw = random.Random(SEED)
    at_random, at_saves = (14, 6) if long else (4, 2)
    moments = [draw.uniform(0.0, seconds) for _ in range(at_random)]
    moments += [number % 5 + 1 for number in range(at_saves)]  # at the first save, the second …
    in_a_save = number = 0
    # On a busy machine a save may end before it is noticed, so try more saves until one kill has hit one.
    while moments or (in_a_save == 0 and number < 30):
        moment = moments.pop(0) if moments else number % 5 + 1
        number += 1
        runs_dir = tmp_path / str(number) / "runs"
        label = f"moment {moment}"
        child = RunInChild(runs_dir, start=settings)
        in_a_save += kill_at(runs_dir, child.pid, moment, wait_until)
        result = child.wait()
        (run,) = list_runs(runs_dir)
        if result is not None:  # it ended before the kill
            assert result["ended"]["status"] == "completed", label
            continue
        before = run.snapshot()
        complete_checkpoints = [checkpoint.step for checkpoint in list_checkpoints(run.checkpoints_dir)]
        result = RunInChild(runs_dir, resume=run.id).wait()
        found, after = result["found"], result["ended"]
        assert found["status"] == "interrupted", label
        assert (
            [s["step"] for s in found["steps"]] == [s.step for s in before.steps] == list(range(1, before.step + 1))
        ), label
        assert len(found["samples"]) == len(before.samples), label
        assert after["status"] == "completed", f"{label}: {after['message']}"
        assert comparable(after) == comparable(expected), label
        assert adapter_of(run) == adapter, label
        resumed = [
            json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines() if '"resumed"' in line
        ]
        assert [event["step"] for event in resumed] == [max(complete_checkpoints, default=0)], label
        assert not [*run.folder.glob(".part-*"), *run.checkpoints_dir.glob(".part-*")], label
        assert [checkpoint.step for checkpoint in list_checkpoints(run.checkpoints_dir)] == expected["checkpoints"], (
            label
        )
    assert in_a_save >= 1, "no kill happened during a save"
