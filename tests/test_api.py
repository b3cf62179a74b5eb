"""The page's actions by their stable names, through the real gradio_client and a page in a process of its own."""

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from core.runs import find_run
from tests.app_process import running_app

NAMES = {"/load_model", "/start", "/stop", "/snapshot", "/compare"}
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
    with pytest.raises(AppError, match="did you mean training.max_steps"):
        client.predict(settings=["training.max_stps=1"], api_name="/start")


def test_a_model_that_is_not_there_is_a_sentence_and_the_next_load_works(client):
    with pytest.raises(AppError, match="There is no folder ./nowhere"):
        client.predict(settings=["model.model_name=./nowhere"], api_name="/load_model")
    assert client.predict(api_name="/load_model")["name"] == "presets/demo-llama"


def test_one_run_at_a_time_and_stop_keeps_the_adapter(app, client, wait_until):
    first = client.predict(settings=["training.max_steps=5000"], api_name="/start")["run_id"]
    wait_until(lambda: len(run_of(client)["steps"]) >= 2, "two steps", timeout=120)
    with pytest.raises(AppError, match="This must wait: a run is going on"):
        client.predict(api_name="/start")
    with pytest.raises(AppError, match="This must wait: a run is going on"):
        client.predict("Hello", api_name="/compare")
    assert run_of(client)["run_id"] == first
    assert client.predict(api_name="/stop") == {"stopping": True}
    wait_until(lambda: run_of(client)["status"] == "stopped", "the run to stop", timeout=60)
    assert find_run(app.runs_dir, first).has_adapter
    assert client.predict(api_name="/stop") == {"stopping": False}


def test_a_whole_run_then_both_answer(client, wait_until):
    client.predict(settings=QUICK, api_name="/start")
    wait_until(lambda: run_of(client)["status"] == "completed", "the run to end", timeout=180)
    assert run_of(client)["finished"]["steps"] == 4
    sentence = "The old man reads a book."
    answer = client.predict(sentence, max_new_tokens=32, api_name="/compare")
    assert answer["base"] == sentence
    assert answer["max_logit_difference"] > 0


def test_nothing_went_wrong_unseen(app):
    assert app.warnings_of_ours() == []
