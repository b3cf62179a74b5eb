"""A run as a script: it trains the same adapter, bit for bit, without this app."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import tomllib

import pytest

from core.problems import ExportError
from core.runs.run_folder import create_run
from core.training.script_export import CONTINUES, NO_BATCH, SINGLE_ROWS, write_script
from tests.conftest import small_config
from tests.warm_process import warm_python


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    """The shared training run as a run's folder."""
    return create_run(tmp_path_factory.mktemp("script") / "runs", "Stories", trained.config)


@pytest.fixture(scope="module")
def script(run):
    return write_script(run, run.folder / "exports" / "script")


def execute(script, *arguments: str) -> subprocess.CompletedProcess:
    """Runs the script alone in a folder of its own, where nothing of this app can be imported."""
    code = "import runpy, sys; sys.path[:] = [p for p in sys.path if 'site-packages' in p or 'lib/python' in p]; "
    code += f"sys.argv = {[str(script), *arguments]!r}; runpy.run_path({str(script)!r}, run_name='__main__')"
    return subprocess.run([warm_python(), "-c", code], cwd=script.parent, capture_output=True, text=True)


def test_it_trains_the_same_adapter_bit_for_bit(script, trained, tmp_path):
    folder = tmp_path / "alone"
    shutil.copytree(script[0].parent, folder)
    done = execute(folder / "train.py")
    assert done.returncode == 0, done.stderr[-3000:]
    made, ours = folder / "adapter", trained.adapter_dir
    assert (made / "adapter_model.safetensors").read_bytes() == (ours / "adapter_model.safetensors").read_bytes()
    settings, expected = [json.loads((place / "adapter_config.json").read_text()) for place in (made, ours)]
    for name in ("r", "lora_alpha", "use_rslora", "modules_to_save"):
        assert settings[name] == expected[name]


def test_uv_runs_it_from_nothing(script, trained, tmp_path, long):
    if not long:
        pytest.skip("installs 2 GB of packages with uv; --long runs it")
    folder = tmp_path / "alone"
    shutil.copytree(script[0].parent, folder)
    command = ["uv", "run", "--cache-dir", str(tmp_path / "cache"), "--python", sys.executable, "train.py"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    made, ours = folder / "adapter", trained.adapter_dir
    assert (made / "adapter_model.safetensors").read_bytes() == (ours / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def short(script, tmp_path_factory):
    """What two steps alone make."""
    folder = tmp_path_factory.mktemp("short") / "alone"
    shutil.copytree(script[0].parent, folder)
    done = execute(folder / "train.py", "--steps", "2", "--out", str(folder / "made"))
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "made" / "adapter_model.safetensors"


def test_fewer_steps_train_another_adapter(short, trained):
    assert short.read_bytes() != (trained.adapter_dir / "adapter_model.safetensors").read_bytes()


@pytest.mark.slow  # two programs that each import everything
def test_two_processes_train_what_one_does(script, short, tmp_path):
    """With gloo, as with two cards, each takes half of the rows of every step.

    Two steps: the end of an epoch, where rows are too few to be divided evenly, comes later.
    """
    from safetensors.torch import load_file

    folder = tmp_path / "alone"
    shutil.copytree(script[0].parent, folder)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "train.py",
        "--steps",
        "2",
    ]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made, one = load_file(folder / "adapter" / "adapter_model.safetensors"), load_file(short)
    assert made.keys() == one.keys()
    changes = {name: weight for name, weight in one.items() if "lora_B" in name}  # all of it was trained
    differ = {name: float((made[name] - weight).norm() / weight.norm()) for name, weight in changes.items()}
    assert changes and max(differ.values()) < 0.05, differ  # 0.4 if each takes as many rows as one would alone


def test_a_step_is_divided_among_processes(script):
    namespace = runpy.run_path(str(script[0]))
    share = namespace["share_of_each"]
    assert [share(8, 4, 2), share(8, 1, 2), share(2, 3, 1), share(6, 3, 3)] == [(8, 2), (4, 1), (2, 3), (6, 1)]
    with pytest.raises(SystemExit, match="1 x 3 rows cannot be divided among 2 processes"):
        share(3, 1, 2)


def test_other_rows_are_refused(script, tmp_path):
    other = tmp_path / "rows.parquet"
    other.write_bytes(script[1].read_bytes()[:-1] + b"x")
    done = execute(script[0], "--rows", str(other), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{other} is not the file of rows that was exported with this script."


def test_its_dependencies_can_be_read(script):
    """As PEP 723 has it: a block of TOML in comments."""
    lines = script[0].read_text(encoding="utf-8").splitlines()
    block = lines[lines.index("# /// script") + 1 : lines.index("# ///")]
    found = tomllib.loads("\n".join(line.removeprefix("# ") for line in block))
    from importlib.metadata import version

    assert f"unsloth=={version('unsloth')}" in found["dependencies"] and len(found["dependencies"]) == 13
    assert [one["name"] for one in found["tool"]["uv"]["dependency-metadata"]] == ["unsloth", "unsloth_zoo"]


REFUSED = {
    "adapter.continue_from=other": CONTINUES,
    "adapter.trainable_tokens=new": SINGLE_ROWS,
    "training.per_device_train_batch_size=auto": NO_BATCH,
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_a_script_cannot_do_is_refused(stories, rows, tmp_path, setting):
    run = create_run(tmp_path / "runs", "Other", small_config(stories, rows, setting))
    with pytest.raises(ExportError) as caught:
        write_script(run, tmp_path / "out")
    assert (caught.value.template, caught.value.values) == (REFUSED[setting], {"run": run.id})
    assert not (tmp_path / "out").exists()
