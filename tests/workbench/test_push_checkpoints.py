"""Pushing the checkpoints of a run while it trains: real runs, and a hub on this machine."""

import shutil
from pathlib import Path

import pytest

from core.export.hub import NO_TOKEN, NOT_A_NAME, Repository
from core.export.hub_worker import BROKEN, READ_ONLY, TOKENS
from core.problems import ConfigError, ExportError
from core.runs.events import AdapterPushed, CheckpointSaved, from_line
from core.runs.run_folder import Run, find_run
from core.settings.run_config import RunConfig
from core.workbench import push_checkpoints
from core.workbench.push_checkpoints import NOT_IN_TIME, STOPPED, _Pusher, perform_and_push
from core.workbench.workbench import Workbench
from tests.conftest import small_config
from tests.hub_uploads import UploadHub, uploading_processes
from ui.train.run_state_text import state_text

pytestmark = pytest.mark.slow

NAME = "ada/stories"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with UploadHub() as hub:
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield hub


@pytest.fixture(scope="module")
def config(stories, rows) -> RunConfig:
    settings = ["training.max_steps=6", "training.save_steps=2", "training.save_total_limit=9"]
    return small_config(stories, rows, *settings, "data.validation_share=0")


@pytest.fixture(scope="module")
def pushing(config) -> RunConfig:
    return config.with_settings([f"training.hub_model_id={NAME}"])


@pytest.fixture(scope="module")
def unpushed(unsloth, config, tmp_path_factory) -> Run:
    """A finished run of the same settings without pushing."""
    return trained(Workbench(tmp_path_factory.mktemp("unpushed") / "runs"), config, None)


def trained(bench: Workbench, config: RunConfig, token: str | None = "hf_may_write") -> Run:
    run = bench.start(config, "Stories", token)
    assert bench.wait(120).status == "completed", bench.snapshot.message
    return run


def pushes(run: Run) -> list[AdapterPushed]:
    events = map(from_line, (run.folder / "events.jsonl").read_text().splitlines())
    return [event for event in events if isinstance(event, AdapterPushed)]


def weights_of(folder: Path) -> bytes:
    return (folder / WEIGHTS).read_bytes()


def test_a_repository_is_public_only_if_that_was_asked_for(hub, pushing, unpushed):
    public = pushing.with_settings(["training.hub_private_repo=no"])
    events, is_done = [], ("completed", "")
    assert perform_and_push(unpushed, public, "hf_may_write", events.append, bool, lambda emit: is_done) == is_done
    assert (events[-1].trouble, hub.repositories[NAME].is_private) == ("", False)


def test_a_run_pushes_what_it_saves(hub, pushing, unpushed, tmp_path):
    bench = Workbench(tmp_path / "runs")
    run = trained(bench, pushing)
    stored = hub.repositories[NAME]
    assert stored.is_private
    assert (stored.messages[0], stored.messages[-1]) == (
        "Checkpoint at step 2 of Stories", "The trained adapter of Stories"
    )  # fmt: skip
    assert weights_of(run.adapter_dir) == weights_of(unpushed.adapter_dir), "pushing changes nothing"
    assert hub.objects[stored.branches["main"][WEIGHTS]] == weights_of(run.adapter_dir)
    url, told = f"{hub.address}/{NAME}", pushes(run)
    assert [event.step for event in told if event.step is not None] == [
        int(message.split()[3]) for message in stored.messages[:-1]
    ]
    assert {event.url for event in told} == {url} and told[-1].step is None
    assert bench.snapshot.pushed == told[-1] and f"The adapter is at {url}." in state_text(bench.snapshot)
    assert uploading_processes() == []


@pytest.mark.parametrize("fault", ["absent", "refuses"])
def test_a_hub_that_takes_nothing_leaves_the_run_as_it_is(hub, pushing, unpushed, tmp_path, monkeypatch, fault):
    if fault == "absent":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        trouble = BROKEN.format(name=NAME)
    else:
        hub.role = "read"
        trouble = READ_ONLY.format(name=NAME, tokens=TOKENS)
    bench = Workbench(tmp_path / "runs")
    run = trained(bench, pushing)
    assert [(event.url, event.trouble) for event in pushes(run)] == [("", trouble)]
    assert bench.snapshot.message == unpushed.snapshot().message
    assert weights_of(run.adapter_dir) == weights_of(unpushed.adapter_dir)
    assert str(state_text(bench.snapshot)).count('class="notice warning"') == 1


@pytest.mark.parametrize(
    ("name", "token", "kind", "template"),
    [("ada/", "hf_may_write", ConfigError, NOT_A_NAME), (NAME, None, ExportError, NO_TOKEN)],
    ids=["name", "token"],
)
def test_what_cannot_work_is_said_before_anything_is_loaded(hub, config, tmp_path, name, token, kind, template):
    bench = Workbench(tmp_path / "runs")
    bench.start(config.with_settings([f"training.hub_model_id={name}"]), "Stories", token)
    assert bench.wait(60).status == "failed" and bench.model_state.report is None
    assert (type(bench.failure), bench.failure.template) == (kind, template)


def test_while_one_is_pushed_only_the_newest_waits(hub, pushing, unpushed, tmp_path, wait_until):
    """The training is played: it announces the checkpoints of a real run at chosen moments."""
    run, told = find_run(tmp_path, str(shutil.copytree(unpushed.folder, tmp_path / "run"))), []
    emits = []

    def saved(step: int) -> None:
        emits[0](CheckpointSaved(step=step, kept=(2, 4, 6)))

    def tell(event) -> None:
        told.append(event)
        if isinstance(event, AdapterPushed) and event.step == 2:  # in the thread that pushes, before it looks for more
            saved(4)
            saved(6)

    def train(emit) -> tuple[str, str]:
        emits.append(emit)
        saved(2)
        wait_until(lambda: 6 in [event.step for event in told if isinstance(event, AdapterPushed)], "the second push")
        return "completed", "Finished."

    assert perform_and_push(run, pushing, hub.token, tell, lambda: False, train) == ("completed", "Finished.")
    assert hub.repositories[NAME].messages == [
        "Checkpoint at step 2 of Stories", "Checkpoint at step 6 of Stories", "The trained adapter of Stories",
    ]  # fmt: skip


def test_after_a_push_that_failed_the_next_one_is_tried(hub, pushing, unpushed, tmp_path, wait_until):
    run, told = find_run(tmp_path, str(shutil.copytree(unpushed.folder, tmp_path / "run"))), []
    hub.role = "read"

    def pushed() -> list[AdapterPushed]:
        return [event for event in told if isinstance(event, AdapterPushed)]

    def train(emit) -> tuple[str, str]:
        emit(CheckpointSaved(step=2, kept=(2, 4)))
        wait_until(lambda: len(pushed()) == 1, "the refusal")
        hub.role = "write"
        emit(CheckpointSaved(step=4, kept=(2, 4)))
        wait_until(lambda: len(pushed()) == 2, "the push")
        return "completed", "Finished."

    perform_and_push(run, pushing, hub.token, told.append, lambda: False, train)
    url, trouble = f"{hub.address}/{NAME}", READ_ONLY.format(name=NAME, tokens=TOKENS)
    assert [(event.step, event.url, event.trouble) for event in pushed()] == [
        (None, "", trouble), (4, url, ""), (None, url, "")
    ]  # fmt: skip


def test_the_same_trouble_is_told_once(unpushed):
    told = []
    pusher = _Pusher(unpushed, Repository(NAME), None, told.append, lambda: False)
    for trouble in ("a", "a", "b", "b", "a"):
        pusher._tell(trouble=trouble)
    for url in ("u", "u"):
        pusher._tell(url=url)
    pusher._tell(trouble="a")
    pusher.close()
    pusher._tell(trouble="too late")
    assert [event.trouble or event.url for event in told] == ["a", "b", "a", "u", "u", "a"]


def test_stop_ends_the_last_push(hub, pushing, tmp_path, wait_until):
    hub.stall_after = 0
    bench = Workbench(tmp_path / "runs")
    bench.start(pushing, "Stories", hub.token)
    wait_until(lambda: bench.snapshot.doing == f"Pushing the adapter to {NAME}", "the last push", timeout=120)
    assert bench.stop()
    snapshot = bench.wait(120)
    assert (snapshot.status, snapshot.pushed.trouble) == ("completed", STOPPED.format(name=NAME))
    assert bench.busy_with == "" and uploading_processes() == []


def test_stop_ends_a_run_that_is_pushing(hub, pushing, tmp_path, wait_until):
    hub.stall_after = 0
    bench = Workbench(tmp_path / "runs")
    bench.start(pushing.with_settings(["training.max_steps=100000"]), "Stories", hub.token)
    wait_until(hub.stalled.is_set, "a push that is under way", timeout=120)
    assert bench.stop()
    assert bench.wait(120).status == "stopped" and bench.snapshot.pushed is None
    assert uploading_processes() == []


def test_the_last_push_has_a_limit(hub, pushing, tmp_path, monkeypatch):
    hub.stall_after = 0
    monkeypatch.setattr(push_checkpoints, "SECONDS_AT_THE_END", 0.5)
    bench = Workbench(tmp_path / "runs")
    run = trained(bench, pushing)
    assert [event.trouble for event in pushes(run)] == [NOT_IN_TIME.format(name=NAME, minutes=0.5 / 60)]
    assert uploading_processes() == []
