"""A program that is killed at any moment loses no run: it is found interrupted, is resumed, and ends as if nothing had been."""

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
from tests.fork_server import fork_server

STEPS = 8
SETTINGS = [
    f"training.max_steps={STEPS}", "training.eval_steps=4", "training.save_steps=2", "adapter.lora_dropout=0.1",
    "training.sample_prompts=[Say red.]",
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(stories, rows) -> str:
    return small_config(stories, rows, *SETTINGS).to_yaml()


@pytest.fixture(scope="module")
def server(stories):
    with fork_server() as server:
        yield server


@pytest.fixture(scope="module")
def whole(server, settings, tmp_path_factory):
    """The run that nobody kills: its snapshot, its adapter, and the seconds it took from its start on."""
    runs_dir = tmp_path_factory.mktemp("whole") / "runs"
    server.order(runs_dir, start=settings)
    ended = server.wait()["ended"]
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


def kill_at(server, runs_dir: Path, settings: str, pid: int, moment, wait_until) -> bool:
    """Kills the program at `moment`: seconds after its run was there, or at its so-manieth save. Whether it was in one."""
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


def test_killed_at_20_moments_no_run_is_lost_and_each_ends_equal(server, settings, whole, tmp_path, wait_until):
    ended, adapter, seconds = whole
    seed = random.SystemRandom().randrange(10**6)
    draw = random.Random(seed)
    moments = [draw.uniform(0.0, seconds) for _ in range(14)] + [1, 2, 3, 4, 5, draw.randint(1, 5)]
    in_a_save = 0
    for number, moment in enumerate(moments):
        runs_dir = tmp_path / str(number) / "runs"
        told = f"seed {seed}, moment {moment}"
        pid = server.order(runs_dir, start=settings)
        in_a_save += kill_at(server, runs_dir, settings, pid, moment, wait_until)
        result = server.wait()
        (run,) = list_runs(runs_dir)
        if result is not None:  # it was over before the kill came
            assert result["ended"]["status"] == "completed", told
            continue
        before = run.snapshot()
        whole_ones = [checkpoint.step for checkpoint in list_checkpoints(run.checkpoints_dir)]
        server.order(runs_dir, resume=run.id)
        result = server.wait()
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
    assert in_a_save >= 1, f"no kill came within a save (seed {seed})"
