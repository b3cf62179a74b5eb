"""Models by name, from a hub on this machine to the real client, and folders as people have them.

The client reads HF_ENDPOINT when it is imported, so each test asks in a process of its own, with a cache of its own.
"""

import json
import os
import random
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.model.download import BROKEN
from core.model.model_files import locate
from core.problems import ModelError
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT
from tests.hub_server import Hub, commit_of

pytestmark = pytest.mark.slow  # each test starts a process for the hub's client

NAME = "somebody/tiny-stories"
LOCATE = """
import json, sys
from core.settings.sections import ModelConfig
from core.problems import ModelError
from core.model.model_files import locate
told = []
try:
    place = locate(ModelConfig(**json.loads(sys.argv[1])), sys.argv[2] or None, lambda *report: told.append(report))
    print(json.dumps({"place": place.as_posix(), "told": told}))
except ModelError as error:
    print(json.dumps({"error": str(error), "template": error.template, "values": error.values, "told": told}))
"""


@dataclass
class Client:
    """A person's machine: a cache of its own, and this hub."""

    home: Path
    address: str

    def start(self, script: str, token: str = "", **config) -> subprocess.Popen:
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": self.address, "HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HUB_DOWNLOAD_TIMEOUT": "2", "NO_PROXY": "127.0.0.1"}  # fmt: skip
        config = {"model_name": NAME, "max_seq_length": 128} | config
        command = [sys.executable, "-c", script, json.dumps(config), token]
        return subprocess.Popen(
            command, cwd=PROJECT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def snapshot_of(self, name: str) -> str:
        """The one folder in the cache that holds this repository's files."""
        (folder,) = (self.home / "hub" / f"models--{name.replace('/', '--')}" / "snapshots").iterdir()
        return folder.as_posix()

    def ask(self, script: str = LOCATE, token: str = "", **config) -> dict:
        out, err = self.start(script, token, **config).communicate(timeout=120)
        assert out, err
        return json.loads(out.splitlines()[-1])

    def folder(self, name: str = NAME) -> Path:
        return self.home / "hub" / f"models--{name.replace('/', '--')}" / "snapshots" / commit_of(name)


def assert_all_there(client: Client, stories: Path) -> None:
    for file in stories.iterdir():
        assert (client.folder() / file.name).read_bytes() == file.read_bytes(), file.name


def test_only_safe_files_are_fetched_and_the_second_time_none(tmp_path, stories):
    repository = tmp_path / "repository"
    (repository / "original").mkdir(parents=True)
    for file in stories.iterdir():
        (repository / file.name).symlink_to(file)
    for name in ("pytorch_model.bin", "evil.py", "original/consolidated.safetensors"):
        (repository / name).write_text("never to be fetched")
    with Hub({NAME: repository}) as hub:
        client = Client(tmp_path / "home", hub.address)
        assert client.ask()["place"] == client.snapshot_of(NAME)
        assert_all_there(client, stories)
        assert not any("original" in r.path or r.path.endswith((".bin", ".py")) for r in hub.requests)
        fetched = [r for r in hub.requests if r.method == "GET" and "/resolve/" in r.path]
        assert client.ask() == {"place": client.snapshot_of(NAME), "told": []}
        assert [r for r in hub.requests if r.method == "GET" and "/resolve/" in r.path] == fetched


def test_the_share_of_a_slow_download_grows_to_one(tmp_path, stories):
    with Hub({NAME: stories}, chunk=4096) as hub:
        told = Client(tmp_path, hub.address).ask()["told"]
    shares = [share for _, share in told]
    assert shares and shares[-1] == 1.0 and all(0 <= share <= 1 for share in shares)
    assert told[-1][0] == f"Downloading {NAME}: 1 of 1 MB"


def test_no_such_model(tmp_path, stories):
    with Hub({NAME: stories}) as hub:
        answer = Client(tmp_path, hub.address).ask(model_name="nobody/nothing")
    assert answer["values"] == {"name": "nobody/nothing"} and "private" in answer["error"]


def test_no_such_revision(tmp_path, stories):
    with Hub({NAME: stories}) as hub:
        answer = Client(tmp_path, hub.address).ask(revision="v9")
    assert answer["values"] == {"name": NAME, "revision": "v9"} and "'v9'" in answer["error"]


def test_a_gated_model_opens_with_the_right_token_only(tmp_path, stories):
    with Hub({NAME: stories}, gated=frozenset({NAME}), token="hf_right_secret") as hub:
        client = Client(tmp_path, hub.address)
        for token in ("", "hf_wrong"):
            answer = client.ask(token=token)
            assert answer["values"] == {"name": NAME} and "gated" in answer["error"]
        assert client.ask(token="hf_right_secret")["place"] == client.snapshot_of(NAME)
        assert_all_there(client, stories)
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"hf_right_secret" not in kept and b"hf_wrong" not in kept


@pytest.fixture
def larger(tmp_path) -> Path:
    """A repository whose weights are more than one piece (10 MiB) of the client's downloads; nobody loads it."""
    folder = tmp_path / "larger"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    size = 24 << 20
    listed = json.dumps({"noise": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    noise = random.Random(3407).randbytes(size)
    (folder / "model.safetensors").write_bytes(len(listed).to_bytes(8, "little") + listed + noise)
    return folder


@pytest.mark.parametrize("misbehaviour", ["cut_after", "stall_after"])
def test_a_download_that_breaks_off_or_stands_still_goes_on_from_there(tmp_path, larger, misbehaviour):
    with Hub({NAME: larger}, **{misbehaviour: 22 << 20}) as hub:
        client = Client(tmp_path / "home", hub.address)
        answer = client.ask()
        assert answer["place"] == client.snapshot_of(NAME) and answer["told"][-1][1] == 1.0
        assert hub.downloads("model.safetensors") == [None, f"bytes={20 << 20}-"]
        assert_all_there(client, larger)


def test_after_the_program_was_killed_the_finished_files_are_not_fetched_again(tmp_path, larger, wait_until):
    with Hub({NAME: larger}, stall_after=22 << 20) as hub:
        client = Client(tmp_path / "home", hub.address)
        with client.start(LOCATE) as first:
            wait_until(
                lambda: hub.stalled.is_set() and (client.folder() / "config.json").exists(), "half of the weights"
            )
            first.kill()
        assert client.ask()["place"] == client.snapshot_of(NAME)
        assert_all_there(client, larger)
        assert len(hub.downloads("config.json")) == 1 and len(hub.downloads("model.safetensors")) == 2


def test_no_hub_at_all(tmp_path, stories):
    with socket.socket() as closed:  # bound, not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        client = Client(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}")
        answer = client.ask()
        assert (answer["template"], answer["values"]) == (BROKEN, {"name": NAME})


def test_a_model_that_was_fetched_needs_no_hub(tmp_path, stories):
    with Hub({NAME: stories}) as hub:
        client = Client(tmp_path, hub.address)
        client.ask()
    assert client.ask() == {"place": client.snapshot_of(NAME), "told": []}


def test_a_4bit_repository_gives_its_16bit_sister_when_asked_for_16_bit(tmp_path, stories):
    with Hub({NAME: stories}) as hub:
        for ending in ("-bnb-4bit", "-unsloth-bnb-4bit"):
            client = Client(tmp_path, hub.address)
            answer = client.ask(model_name=NAME + ending, load_in_4bit=False)
            assert answer["place"] == client.snapshot_of(NAME)


@pytest.mark.parametrize(
    ("files", "word", "values"),
    [
        ({}, "no model", {}),
        ({"adapter_config.json": "{}"}, "an adapter", {}),
        ({"config.json": "{"}, "damaged", {"file": "config.json"}),
        ({"config.json": "[]"}, "damaged", {"file": "config.json"}),
        ({"config.json": "{}"}, "model_type", {}),
        ({"config.json": '{"model_type": "llama"}', "training_args.bin": "pickle"}, "no weights", {}),
    ],
    ids=["empty", "adapter", "damaged", "list", "no kind", "no weights"],
)
def test_a_folder_that_is_no_model(tmp_path, files, word, values):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=word) as caught:
        locate(ModelConfig(model_name=str(tmp_path)))
    assert caught.value.values == {"name": str(tmp_path)} | values


def test_files_and_names_that_are_not_models(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_text("")
    words = {str(file): "is a GGUF model", "./nowhere": "no folder", "a/b/c": "no folder", "no such name": "neither"}
    for name, word in words.items():
        with pytest.raises(ModelError, match=word) as caught:
            locate(ModelConfig(model_name=name))
        assert caught.value.values == {"name": name}


def test_a_folder_is_used_where_it_is(stories):
    assert locate(ModelConfig(model_name=str(stories))) == stories.resolve()
