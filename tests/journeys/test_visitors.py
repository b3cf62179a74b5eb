"""A demo for strangers, attacked over HTTP: each action by name and by number, files, uploads, what pages are told.

One program for all of it. "ann" has a run in progress and an upload, both with a marked name; "bob" is another visitor.
"""

import json
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from core.runs.run_folder import open_run
from tests.app_process import running_app

pytestmark = pytest.mark.slow  # trains on a page of its own

SECRET = "the-heron-knows-4711"
# Long ones, so that Ann's run is in progress until all tests are over.
ROWS = b'{"instruction": "Say red.", "output": "%s"}\n' % (f"{SECRET}{' The heron reads a book.' * 40}".encode()) * 20
# What the buttons inside the page's texts ask for, with every name that they carry.
ASKS = ("open", "load", "continue", "put-back", "empty-now", "delete", "data", "fetch")
get = partial(httpx.get, timeout=60)  # its own five seconds are too few on a busy machine


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    owner_s = {"HEARTHTUNE_DEMO": "1", "HF_TOKEN": SECRET, "WANDB_API_KEY": SECRET}
    with running_app(tmp_path_factory.mktemp("visitors"), environment=owner_s) as app:
        (app.runs_dir.parent / "private.jsonl").write_bytes(ROWS)
        yield app


class Visitor:
    """A client, with requests of its own that carry the same cookie."""

    def __init__(self, url: str):
        self.client = Client(url, verbose=False)
        self.http = httpx.Client(base_url=url, cookies=self.client.cookies, timeout=60)

    def do(self, name: str, *values):
        return self.client.predict(*values, api_name=f"/{name}")

    def start(self, *settings: str):
        quick = ["training.max_steps=100", "training.eval_steps=0", "training.save_steps=0"]
        return self.do("start", "demo-yoda", [*quick, *settings], "")

    def handled(self, name: str) -> str:
        """What a handler of the page answers that takes nothing but the page's own state."""
        action = next(action for action in self.client.config["dependencies"] if action["api_name"] == name)
        return called(self, action, [None, "step"], None)

    def run(self) -> dict | None:
        return self.do("snapshot")["run"]

    def upload(self, name: str, content: bytes) -> httpx.Response:
        return self.http.post("/gradio_api/upload", files={"files": (name, content)})

    def told(self) -> str:
        """All that this visitor's page is told: what is drawn for it, and the state."""
        return self.http.get("/live?fresh").text + json.dumps(self.do("snapshot"))


@pytest.fixture(scope="module")
def ann(app) -> Visitor:
    return Visitor(app.url)


@pytest.fixture(scope="module")
def bob(app) -> Visitor:
    return Visitor(app.url)


@pytest.fixture(scope="module")
def uploaded(ann) -> str:
    return ann.upload(f"{SECRET}.jsonl", ROWS).json()[0]


@pytest.fixture(scope="module")
def run(app, ann, uploaded, wait_until) -> Iterator[str]:
    """Ann's run on her upload, in progress until all tests are over."""
    run = ann.start(f"data.path={uploaded}", "data.validation_share=0", "training.max_steps=200")["run_id"]
    wait_until(lambda: ann.run()["steps"], "a step", timeout=120)
    open_run(app.runs_dir / run).write_about(note=SECRET)
    yield run
    ann.do("stop")
    wait_until(lambda: ann.run()["status"] in ("stopped", "completed"), "the end")


def test_each_page_is_told_of_its_own_run(ann, bob, run):
    assert run in ann.told() and ann.run()["run_id"] == run
    told = bob.told()
    assert run not in told and SECRET not in told and bob.run() is None


def test_a_second_run_waits_and_says_its_place(bob, run):
    waiting = bob.start()["run_id"]
    shown = bob.run()
    assert (shown["run_id"], shown["status"]) == (waiting, "preparing") and "place 1" in shown["message"]
    assert "place 1" in bob.http.get("/live?fresh").text
    with pytest.raises(AppError):
        bob.start()
    assert bob.do("stop") == {"stopping": True} and bob.run()["status"] == "stopped"
    table = bob.handled("runs_changed")
    assert waiting in table and run not in table and SECRET not in table


def test_nobody_stops_or_resumes_another_s_run(ann, bob, run):
    assert bob.do("stop") == {"stopping": False}
    with pytest.raises(AppError):
        bob.do("resume", run, "")
    assert ann.run()["status"] == "training"


@pytest.mark.parametrize(
    "settings",
    [["model.model_name=evil/model", "model.trust_remote_code=evil/model"], ["model.model_name=evil/model"],
     ["model.model_name=/etc"], ["data.path=PRIVATE"], ["data.path=/proc/self/environ"], ["data.path=UPLOADED"],
     ["data.validation_path=UPLOADED"], ["data.path=RUNS"], ["data.path=owner/private"], ["adapter.continue_from=RUN"],
     ["training.max_steps=10000000"], ["training.report_to=wandb"], ["training.hub_model_id=bob/yoda"],
     ["training.per_device_train_batch_size=1024"]],
    ids=str,
)  # fmt: skip
def test_no_way_around_through_the_settings(app, bob, uploaded, run, settings):
    names = {"PRIVATE": app.runs_dir.parent / "private.jsonl", "UPLOADED": uploaded, "RUNS": app.runs_dir, "RUN": run}
    for word, value in names.items():
        settings = [setting.replace(f"={word}", f"={value}") for setting in settings]
    with pytest.raises(AppError) as told:
        bob.start(*settings)
    assert "wait" not in str(told.value).lower()
    if settings[0].startswith("model"):
        with pytest.raises(AppError):
            bob.do("load_model", "demo-yoda", settings, "")


def test_uploads_are_small_and_their_visitor_s(app, ann, bob, uploaded):
    assert ann.http.get(f"/gradio_api/file={uploaded}").content == ROWS
    for route in ("file=", "file/"):
        assert bob.http.get(f"/gradio_api/{route}{uploaded}").status_code == 403
        assert get(f"{app.url}/gradio_api/{route}{uploaded}").status_code == 403
        for name in ("prepared", "private.jsonl"):
            assert bob.http.get(f"/gradio_api/{route}{app.runs_dir}/{name}").status_code == 403
    assert ann.upload("rows.jsonl", b"x" * (1 << 20)).status_code == 200
    assert ann.upload("rows.jsonl", b"x" * ((1 << 20) + 1)).status_code == 413
    assert ann.upload("rows.jsonl", b"x" * 3_000_000).status_code == 413


def test_no_action_by_its_number_gives_or_changes_what_is_another_s(app, bob, uploaded, run):
    """Every handler of the page, with another's names in place of whatever it takes."""
    before = open_run(app.runs_dir / run)
    config = bob.client.config
    files = {component["id"] for component in config["components"] if component["type"] == "file"}
    actions = [action for action in config["dependencies"] if action["backend_fn"]]
    assert len(actions) > 60 and len(files) == 3
    private = str(app.runs_dir.parent / "private.jsonl")
    for action in actions:
        asks = ASKS if "asked" in (event for _, event in action["targets"]) else (None,)
        for file in (uploaded, private) if files.intersection(action["inputs"]) else (None,):
            data = [[{"path": file}] if place in files else run for place in action["inputs"]]
            for ask in asks:
                event = {"ask": ask, "run": run, "deleted": run, "by": "name", "step": "", "settings": "[]"}
                told = called(bob, action, data, event if ask else None)
                assert SECRET not in told.replace(uploaded, ""), (action["api_name"], ask, file)
    after = open_run(app.runs_dir / run)
    assert (after.name, after.note) == (before.name, before.note)
    assert after.snapshot().status in ("training", "completed")


def test_a_question_without_a_model_says_what_to_do(bob, run):
    """As the page asks it, with all its fields as they are at the start but one."""
    config = bob.client.config
    values = {component["id"]: component["props"].get("value") for component in config["components"]}
    ids = {component["props"].get("elem_id"): component["id"] for component in config["components"]}
    (action,) = [action for action in config["dependencies"] if [ids["ask"], "click"] in action["targets"]]
    values[ids["prompt"]] = "Who are you?"
    told = called(bob, action, [values[place] for place in action["inputs"]], None)
    assert "You have no model loaded, or another visitor has loaded one since" in told


def called(visitor: Visitor, action: dict, data: list, event: dict | None) -> str:
    """What an action answers, by the route of those that wait for nothing or by the queue."""
    sent = {"data": data, "fn_index": action["id"], "session_hash": "bobs", "event_data": event}
    if action["queue"] is False:
        return visitor.http.post("/gradio_api/run/predict", json=sent).text
    if visitor.http.post("/gradio_api/queue/join", json=sent).status_code != 200:
        return ""
    with visitor.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": "bobs"}) as told:
        return "\n".join(told.iter_lines())


def test_a_visitor_is_slowed_down(app):
    eve = Visitor(app.url)
    statuses = [eve.upload("a.txt", b"a").status_code for _ in range(31)]
    assert statuses == [200] * 30 + [429]


def test_a_cookie_that_is_no_key_is_replaced(app):
    for cookie in ("", "hearthtune-visitor=", "hearthtune-visitor=ann", "hearthtune-visitor=" + "g" * 64):
        answer = get(f"{app.url}/config", headers={"Cookie": cookie})
        (given,) = answer.headers.get_list("set-cookie")
        assert given.startswith("hearthtune-visitor=") and "HttpOnly" in given and "SameSite=Lax" in given
