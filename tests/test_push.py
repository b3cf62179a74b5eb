"""`app.py push` as a user or a script sees it: real commands, and a hub on this machine."""

import hashlib
import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.app_process import run_app, start
from tests.hub_server import Hub
from tests.hub_uploads import Repository as Stored
from tests.hub_uploads import UploadHub

pytestmark = pytest.mark.slow

NAME, TOKEN = "ada/yoda", "hf_TheMarkedHeronMayWrite"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The folder of a short run of the demo preset."""
    runs_dir = tmp_path_factory.mktemp("push") / "runs"
    settings = ["--set", "training.max_steps=4", "--set", "training.save_steps=2"]
    done = run_app("train", "demo-yoda", *settings, "--runs-dir", str(runs_dir), "--json")
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["run_dir"])


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with UploadHub(token=TOKEN) as server:
        server.home = tmp_path_factory.mktemp("home")
        yield server


@pytest.fixture
def hub(server):
    server.reset()
    return server


def surroundings(hub: UploadHub, token: str = TOKEN) -> dict[str, str]:
    """The environment of each program, the same every time, so that they start quickly."""
    return hub.environment(hub.home, token)


def push(hub: UploadHub, run: Path, *options: str, name: str = NAME, token: str = TOKEN):
    done = run_app("push", str(run), name, *options, environment=surroundings(hub, token), often=True)
    assert "Traceback" not in done.stderr and TOKEN not in done.stdout + done.stderr
    return done


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_the_adapter_is_pushed_to_a_private_repository(hub, run):
    done = push(hub, run, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    result, exported = json.loads(done.stdout), run / "exports" / "adapter"
    check = result.pop("check")
    assert check["passed"] and [row["file"] for row in check["rows"]] == ["adapter_model.safetensors"]
    assert {file["path"]: file["sha256"] for file in result["files"]} == digests(exported)
    assert {file["path"]: file["bytes"] for file in result.pop("files")} == {
        file.name: file.stat().st_size for file in exported.iterdir()
    }
    assert result == {"repo": NAME, "url": f"{hub.address}/{NAME}", "private": True, "revision": "main"}
    name = json.loads((run / "run.json").read_text())["name"]
    assert hub.repositories == {NAME: Stored(True, {"main": digests(exported)}, [f"Push {name} as adapter"])}


def test_a_checkpoint_as_a_merged_model_on_a_public_branch(hub, run):
    options = ["--what", "merged", "--dtype", "float32", "--checkpoint", "2", "--no-check"]
    done = push(hub, run, *options, "--public", "--revision", "step-2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.address}/{NAME}/tree/step-2\n"
    (stored,) = hub.repositories.values()
    assert (stored.is_private, stored.branches["main"]) == (False, {})
    assert stored.branches["step-2"] == digests(run / "exports" / "merged-step-2")
    assert stored.messages[0].endswith(" at step 2 as merged")


def test_what_fails_its_test_is_not_pushed(hub, run):
    """The adapter's weights are so large that the merged ones are infinite in float16."""
    from safetensors.torch import load_file, save_file

    file = run / "adapter" / "adapter_model.safetensors"
    weights = {name: weight * 1e11 if "lora_B" in name else weight for name, weight in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    done = push(hub, run, "--what", "merged", "--dtype", "float16", "--json")
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert (result["url"], result["private"], result["check"]["passed"]) == (None, None, False)
    assert done.stderr.splitlines()[-1] == f"Nothing was pushed to {NAME}."
    assert hub.requests == [] and (run / "exports" / "merged-failed").is_dir()


@pytest.mark.parametrize(
    ("name", "token", "code", "word"),
    [("yoda", TOKEN, 2, "OWNER/NAME"), (NAME, "", 1, "HF_TOKEN"), ("bob/yoda", TOKEN, 1, "ada")],
    ids=["name", "no token", "owner"],
)
def test_what_is_wrong_is_one_sentence(hub, run, name, token, code, word):
    done = push(hub, run, "--no-check", name=name, token=token)
    assert (done.returncode, done.stdout) == (code, "")
    assert word in done.stderr.splitlines()[-1]
    assert (run / "exports").exists() == (name == "bob/yoda"), "nothing is exported in vain"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to a single process")
def test_ctrl_c_in_the_middle_of_a_file(hub, run, tmp_path, wait_until):
    hub.stall_after = 1 << 16
    process = start("push", str(run), NAME, "--no-check", environment=surroundings(hub), often=True)
    wait_until(hub.stalled.is_set, "half of the weights", 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert process.stdout_file.read_text() == ""
    assert process.stderr_file.read_text().endswith("Stopped; nothing was pushed.\n")
    assert hub.repositories[NAME].messages == []


def test_the_options_are_those_of_export():
    shown = {name: run_app(name, "--help").stdout for name in ("export", "push")}
    for option in ("--dtype", "--base", "--checkpoint", "--quant", "--no-check", "--json", "--runs-dir"):
        lines = {name: text[text.index(option) :].split("\n  -", 1)[0] for name, text in shown.items()}
        assert " ".join(lines["export"].split()) == " ".join(lines["push"].split())


def test_training_pushes_its_checkpoints_and_its_adapter(hub, tmp_path):
    settings = ["training.max_steps=4", "training.save_steps=2", f"training.hub_model_id={NAME}"]
    options = [word for setting in settings for word in ("--set", setting)]
    runs_dir = str(tmp_path / "runs")
    done = run_app("train", "demo-yoda", *options, "--runs-dir", runs_dir, environment=surroundings(hub), often=True)
    assert done.returncode == 0 and TOKEN not in done.stdout + done.stderr, done.stderr
    assert f"The adapter is at {hub.address}/{NAME}.\n" in done.stdout
    stored = hub.repositories[NAME]
    assert stored.is_private and stored.messages[0].startswith("Checkpoint at step 2 of ")
    assert stored.messages[-1].startswith("The trained adapter of ")
    (weights,) = tmp_path.glob("runs/*/adapter/adapter_model.safetensors")
    assert stored.branches["main"]["adapter_model.safetensors"] == digests(weights.parent)[weights.name]
    assert TOKEN not in "".join(file.read_text() for file in tmp_path.glob("runs/*/*.*"))


def test_what_was_pushed_to_a_branch_comes_back_as_a_run(hub, run, tmp_path):
    """Pushed to one hub; from another, which has the same files on that branch and other ones on main."""
    pushed = push(hub, run, "--no-check", "--revision", "hm")
    assert pushed.returncode == 0, pushed.stderr
    adapter, other = run / "exports" / "adapter", tmp_path / "other"
    shutil.copytree(adapter, other)
    (other / "adapter_config.json").write_text("{}")
    with Hub({NAME: other}, branches={NAME: {"hm": adapter}}) as downloads:
        env = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": downloads.address, "NO_PROXY": "127.0.0.1"}
        asked = ["bring-in", NAME, "--base", "presets/demo-llama", "--runs-dir", str(tmp_path / "new"), "--json"]
        done = run_app(*asked, "--revision", "hm", environment=env)
    assert done.returncode == 0, done.stderr
    new = Path(json.loads(done.stdout)["run_dir"])
    weights = "adapter_model.safetensors"
    assert (new / "adapter" / weights).read_bytes() == (run / "adapter" / weights).read_bytes()
    assert "ada/yoda at hm" in (new / "events.jsonl").read_text()
