"""Models and datasets on Hugging Face: a visitor's own token or none, and nothing because it is on this machine."""

import shutil

import pytest

from tests.conftest import PROJECT
from tests.data.hub_client import Client, hub_processes
from tests.hub_server import Hub

OWNERS, VISITORS = "hf_TheOwnersToken", "hf_TheVisitorsToken"
ROWS = ("somebody/private-rows", "somebody/gated-rows")
MODELS = ("somebody/private-model", "somebody/gated-model")
OUTSIDE = """---
configs:
- config_name: default
  data_files: {file}
---
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Private, gated and public repositories; README files that name files of the machine."""
    home = tmp_path_factory.mktemp("hub")
    (home / "secret.jsonl").write_text('{"instruction": "Say it.", "output": "heron"}\n')
    (home / "rows").mkdir()
    shutil.copy(PROJECT / "presets/data/yoda.jsonl", home / "rows/train.jsonl")
    (home / "evil").mkdir()
    (home / "evil/README.md").write_text(OUTSIDE.format(file=home / "secret.jsonl"))
    model = PROJECT / "presets/demo-llama"
    repositories = dict.fromkeys((*MODELS, "somebody/public-model"), model)
    sets = {name: {"main": home / "rows"} for name in (*ROWS, "somebody/public-rows")}
    sets["somebody/evil-rows"] = {"main": home / "evil"}
    gated, private = frozenset({ROWS[1], MODELS[1]}), frozenset({ROWS[0], MODELS[0]})
    with Hub(repositories, sets, gated=gated, private=private, token=OWNERS) as hub, hub_processes() as processes:
        client = Client(processes, home / "hf", hub.address)
        # What the owner has fetched with the token of the machine is in its cache from now on.
        own = client.ask(*({"path": name} for name in ROWS), HF_TOKEN=OWNERS)
        assert [len(answer["rows"]) for answer in own] == [720, 720]
        assert all(request.token == OWNERS for request in hub.requests)
        hub.requests.clear()
        yield hub, client


def test_a_visitor_never_uses_the_machine_s_token_nor_what_it_fetched(hub):
    hub, client = hub
    asked = [*({"path": name} for name in ROWS), *({"model": name} for name in MODELS)]
    answers = client.ask(*(one | {"visitor": "ann"} for one in asked), HF_TOKEN=OWNERS)
    assert [answer["kind"] for answer in answers] == ["NotAllowed"] * 4
    assert [answer["values"]["name"] for answer in answers] == [*ROWS, *MODELS]
    assert hub.requests and {request.token for request in hub.requests} == {None}


def test_a_visitor_s_own_token_is_used(hub):
    hub, client = hub
    hub.requests.clear()
    hub.token = VISITORS  # now it is the visitor who may read them
    asked = [{"path": name, "visitor": "ann"} for name in ROWS] + [{"model": MODELS[0], "visitor": "ann"}]
    *rows, model = client.ask(*asked, token=VISITORS, HF_TOKEN=OWNERS)
    hub.token = OWNERS
    assert [len(answer["rows"]) for answer in rows] == [5, 5] and model["shape"]["num_hidden_layers"] > 0
    assert {request.token for request in hub.requests} == {VISITORS}


def test_public_repositories_need_no_token(hub):
    hub, client = hub
    hub.requests.clear()
    asked = {"path": "somebody/public-rows"}, {"model": "somebody/public-model"}
    rows, model = client.ask(*(one | {"visitor": "ann"} for one in asked), HF_TOKEN=OWNERS)
    assert len(rows["rows"]) == 5 and model["shape"]["num_hidden_layers"] > 0
    assert {request.token for request in hub.requests} == {None}


def test_without_the_hub_s_word_nothing_is_taken_from_the_cache(hub):
    client = hub[1]
    (answer,) = client.ask({"path": ROWS[0], "visitor": "ann"}, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=OWNERS)
    assert (answer["kind"], answer["values"]) == ("NotAllowed", {"name": ROWS[0]})


def test_a_readme_does_not_make_rows_of_the_machine_s_files(hub):
    """For visitors and for whoever runs the program."""
    client = hub[1]
    path = {"path": "somebody/evil-rows"}
    answers = client.ask(path, path | {"visitor": "ann"})
    for answer in answers:
        assert answer["values"]["dataset"] == path["path"] and "secret.jsonl" in answer["values"]["file"]
        assert "heron" not in answer["error"]
