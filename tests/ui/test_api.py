"""The page's actions by their stable names, through the real gradio_client and a page in a process of its own."""

import hashlib
import json
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from core.runs.events import Evaluated, MemorySampled, Sampled, StepDone
from core.runs.run_folder import find_run, list_runs
from core.runs.snapshot import Snapshot
from tests.app_process import running_app
from ui.api import told_to_clients

NAMES = {"/load_model", "/start", "/stop", "/resume", "/snapshot", "/compare", "/export", "/push"}
QUICK = ["training.max_steps=4"]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("api")) as app:
        yield app


@pytest.fixture(scope="module")
def client(app):
    return Client(app.url, verbose=False)


def run_of(client) -> dict:
    return client.predict(api_name="/snapshot")["run"]


def test_these_names_and_no_others(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == NAMES


def test_load_model_tells_what_was_loaded(client):
    report = client.predict(api_name="/load_model")
    assert report["name"] == "presets/demo-llama"
    assert report["linear_layers_4bit"] == report["linear_layers"] - 1, "all but the head"
    assert report["tied_embeddings"] is True


def test_a_bad_setting_is_a_sentence(client):
    with pytest.raises(AppError, match=r"training\.max_steps"):
        client.predict(settings=["training.max_stps=1"], api_name="/start")


def test_a_model_that_is_not_there_is_a_sentence_and_the_next_load_works(client):
    with pytest.raises(AppError, match=r"\./nowhere"):
        client.predict(settings=["model.model_name=./nowhere"], api_name="/load_model")
    assert client.predict(api_name="/load_model")["name"] == "presets/demo-llama"


def test_one_run_at_a_time_and_stop_keeps_the_adapter(app, client, wait_until):
    first = client.predict(settings=["training.max_steps=5000"], api_name="/start")["run_id"]
    wait_until(lambda: len(run_of(client)["steps"]) >= 2, "two steps", timeout=120)
    with pytest.raises(AppError, match="wait"):
        client.predict(api_name="/start")
    other = Client(app.url, verbose=False)  # as from another browser
    with pytest.raises(AppError, match="wait"):
        other.predict(api_name="/start")
    with pytest.raises(AppError, match="wait"):
        other.predict(first, api_name="/resume")
    with pytest.raises(AppError, match="wait"):
        client.predict("Hello", api_name="/compare")
    assert [run.id for run in list_runs(app.runs_dir)] == [first]
    assert run_of(client)["run_id"] == first
    assert client.predict(api_name="/stop") == {"stopping": True}
    wait_until(lambda: run_of(client)["status"] == "stopped", "the run to stop", timeout=60)
    assert find_run(app.runs_dir, first).has_adapter
    assert client.predict(api_name="/stop") == {"stopping": False}


def test_a_stopped_run_is_resumed(app, client, wait_until):
    run_id = run_of(client)["run_id"]
    assert run_of(client)["status"] == "stopped"
    assert client.predict(run_id, api_name="/resume")["run_id"] == run_id
    before = run_of(client)["steps"][-1]["step"] if run_of(client)["steps"] else 0
    wait_until(
        lambda: run_of(client)["steps"] and run_of(client)["steps"][-1]["step"] > before, "a step more", timeout=120
    )
    client.predict(api_name="/stop")
    wait_until(lambda: run_of(client)["status"] == "stopped", "the run to stop", timeout=60)
    assert [run.id for run in list_runs(app.runs_dir)] == [run_id]


def test_what_cannot_be_resumed_is_a_sentence(client):
    with pytest.raises(AppError, match="nowhere"):
        client.predict("nowhere", api_name="/resume")


def test_a_whole_run_then_both_answer(client, wait_until):
    client.predict(settings=QUICK, api_name="/start")
    wait_until(lambda: run_of(client)["status"] == "completed", "the run to end", timeout=180)
    assert run_of(client)["finished"]["steps"] == 4
    sentence = "The old man reads a book."
    answer = client.predict(sentence, max_new_tokens=32, api_name="/compare")
    assert answer["base"] == sentence
    assert answer["max_logit_difference"] > 0


def test_the_run_is_exported(app, client):
    run = run_of(client)["run_id"]
    made = client.predict(run, to="merged", dtype="float32", api_name="/export")
    assert (made["to"], made["base"], made["check"]["passed"]) == ("merged", "trained", True)
    assert made["out"] == str(app.runs_dir.resolve() / run / "exports" / "merged")
    sha256 = {Path(file["file"]): file["sha256"] for file in made["files"]}
    assert {path.name for path in sha256} >= {"model.safetensors", "README.md"}
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sha256} == sha256
    with pytest.raises(AppError, match="'tar' for to"):
        client.predict(run, to="tar", api_name="/export")
    with pytest.raises(AppError, match="no checkpoint at step 3"):
        client.predict(run, checkpoint=3, check=False, api_name="/export")


def test_a_run_of_a_hundred_thousand_steps_is_told_in_less_than_100_kb():
    def step(number):
        return StepDone(
            step=number, max_steps=100_000, epoch=number / 7, loss=9e9 if number == 333 else 1 / 3,
            learning_rate=1 / 3e4, grad_norm=1 / 7, tokens=number * 5000, elapsed=number / 3,
        )  # fmt: skip

    prompts = tuple("가" * 2000 for _ in range(20))
    memory = (
        MemorySampled(used_by_us_gib=n / 7, in_use_gib=n / 3, total_gib=8, available_gib=1 / 3) for n in range(1200)
    )
    run = Snapshot(
        steps=tuple(map(step, range(1, 1201))),
        evaluations=tuple(Evaluated(step=n, eval_loss=0.5 if n == 777 else n / 3 + 1) for n in range(1, 1201)),
        memory=tuple(memory),
        samples=tuple(
            Sampled(step=n, by="tuned" if n else "base", prompts=prompts, answers=prompts) for n in range(40)
        ),
    )
    told = told_to_clients(run)
    assert len(json.dumps(told, ensure_ascii=False).encode()) < 100_000
    assert [told["steps"][place]["step"] for place in (0, -1)] == [1, 1200]
    assert any(step["loss"] == 9e9 for step in told["steps"])
    assert any(check["step"] == 777 for check in told["evaluations"]), "the best check"
    assert [sampled["step"] for sampled in told["samples"]] == [0, 39]


def test_nothing_went_wrong_unseen(app):
    assert app.own_warnings() == []
