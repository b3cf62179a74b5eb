"""A marked token is passed in every possible way; then every place where it could have leaked is searched."""

import json
import shutil
import time
from pathlib import Path

import httpx
import psutil
import pytest
from gradio_client import Client

from core.runs.run_folder import open_run
from tests.app_process import ENVIRONMENT, PROJECT, running_app, start
from tests.hub_server import Hub

pytestmark = pytest.mark.slow

TOKEN = "hf_TheMarkedHeronNests4711"
MODEL, ROWS, BROKEN = "somebody/gated-model", "somebody/gated-rows", "somebody/broken"
SHORT = ["training.max_steps=2", "data.validation_share=0"]


def places_with_the_token(folder: Path) -> list[str]:
    """Files in the folder with the token in their name or content, and links whose target contains it."""
    found = []
    for path in folder.rglob("*"):
        if (
            TOKEN in path.name
            or (path.is_symlink() and TOKEN in str(path.readlink()))
            or path.is_file()
            and TOKEN.encode() in path.read_bytes()
        ):
            found.append(str(path))
    return found


def command_lines(process: psutil.Process) -> str:
    """The command lines of the process and its descendants, which any user of the machine can read."""
    lines = []
    for one in [process, *process.children(recursive=True)]:
        try:
            lines += one.cmdline()
        except psutil.NoSuchProcess:
            continue
    return "\n".join(lines)


@pytest.fixture
def hub(tmp_path):
    """A hub with a model and rows that need the token."""
    rows = tmp_path / "hub-rows"
    rows.mkdir()
    shutil.copy(PROJECT / "presets" / "data" / "yoda.jsonl", rows / "train.jsonl")
    model = PROJECT / "presets" / "demo-llama"
    with Hub({MODEL: model}, {ROWS: {"main": rows}}, gated=frozenset({MODEL, ROWS}), token=TOKEN) as hub:
        yield hub


@pytest.fixture
def home(tmp_path, hub):
    """Environment variables that put all of the user's folders below this one."""
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    own = {
        "HOME": home,
        "HF_HOME": home / "hf",
        "TMPDIR": home / "tmp",
        "XDG_CACHE_HOME": home / "cache",
        "HF_ENDPOINT": hub.address,
    }
    return {name: str(value) for name, value in own.items()} | {
        "NO_PROXY": "127.0.0.1",
        "HF_DEBUG": "1",
        "HF_HUB_VERBOSITY": "debug",
    }


def train_with_token(tmp_path: Path, home: dict[str, str], *each: list[str]) -> list[tuple[int, str, str]]:
    """Train once with each of these settings, side by side, with the token in HF_TOKEN.

    The program starts cold, so that what libraries print while they are imported is captured too. Checks the process
    list meanwhile; returns exit codes, standard outputs and standard errors.
    """
    processes = []
    for number, settings in enumerate(each):
        options = [argument for setting in (*SHORT, *settings) for argument in ("--set", setting)]
        runs_dir = str(tmp_path / f"runs-{number}")
        environment = home | {"HF_TOKEN": TOKEN}
        processes.append(
            start("train", "demo-yoda", *options, "--runs-dir", runs_dir, "--json", environment=environment)
        )
    while going_on := [process for process in processes if process.poll() is None]:
        for process in going_on:
            assert TOKEN not in command_lines(psutil.Process(process.pid))
        time.sleep(0.1)
    ended = [
        (process.returncode, process.stdout_file.read_text(), process.stderr_file.read_text()) for process in processes
    ]
    (tmp_path / "printed.txt").write_text("".join(stdout + stderr for _, stdout, stderr in ended))
    return ended


def test_the_command_line_does_not_leak_it(tmp_path, hub, home):
    ((code, stdout, stderr),) = train_with_token(tmp_path, home, [f"model.model_name={MODEL}", f"data.path={ROWS}"])
    assert code == 0, stderr
    assert len(stdout.splitlines()) == 1 and json.loads(stdout)["status"] == "completed", "libraries print to stderr"
    assert {r.token for r in hub.requests if "/resolve/" in r.path and r.method == "GET"} == {TOKEN}, (
        "the token was actually used"
    )
    (run,) = (tmp_path / "runs-0").glob("*/run.json")
    assert open_run(run.parent).snapshot().status == "completed"
    assert places_with_the_token(tmp_path) == []


@pytest.mark.parametrize("status", [400, 403, 500])
def test_hub_errors_that_quote_it(tmp_path, hub, home, status):
    hub.echo_status = status
    ended = train_with_token(tmp_path, home, [f"model.model_name={MODEL}"], [f"data.path={ROWS}"])
    assert [code for code, *_ in ended] == [2, 2], ended
    assert TOKEN in {r.token for r in hub.requests if "/resolve/" in r.path}
    assert places_with_the_token(tmp_path) == []


@pytest.mark.parametrize("token", [f"{TOKEN}\nX: y", f"{TOKEN}é", f"{TOKEN} {TOKEN}"])
def test_an_invalid_token_is_refused_without_being_quoted(token):
    from core.model.model_files import locate
    from core.problems import ModelError
    from core.settings.sections import ModelConfig

    with pytest.raises(ModelError) as caught:
        locate(ModelConfig(model_name=MODEL), token)
    assert TOKEN not in str(caught.value) and caught.value.values == {}


def test_the_page_does_not_leak_it(tmp_path, hub, home, monkeypatch, wait_until):
    monkeypatch.delitem(ENVIRONMENT, "HF_TOKEN", raising=False)
    with running_app(tmp_path, environment=home) as app:
        client = Client(app.url, verbose=False, download_files=str(tmp_path))
        gated = [f"model.model_name={MODEL}", f"data.path={ROWS}", *SHORT]
        with pytest.raises(Exception, match="is gated") as refused:
            client.predict("demo-yoda", gated, TOKEN + "x", api_name="/load_model")
        assert TOKEN not in str(refused.value)
        assert client.predict("demo-yoda", gated, TOKEN, api_name="/load_model")["name"] == MODEL
        client.predict("demo-yoda", gated, TOKEN, api_name="/start")
        wait_until(
            lambda: client.predict(api_name="/snapshot")["run"]["status"] == "completed", "the run's end", timeout=120
        )
        hub.echo_status = 400
        shutil.rmtree(home["HF_HOME"])
        with pytest.raises(Exception) as broken:
            client.predict("demo-yoda", gated, TOKEN, api_name="/load_model")
        assert TOKEN not in str(broken.value)
        answers = [json.dumps(client.predict(api_name="/snapshot"))]
        answers += [
            httpx.get(f"{app.url}{path}", timeout=60).text
            for path in ("/", "/config", "/gradio_api/info", "/gradio_api/queue/status")
        ]
        assert all(answers) and TOKEN not in "".join(answers)
        assert TOKEN not in command_lines(psutil.Process(app.process.pid))
    assert app.printed() and TOKEN not in app.printed()
    assert TOKEN in {r.token for r in hub.requests}
    assert places_with_the_token(tmp_path) == []
