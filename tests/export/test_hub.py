"""Pushing a folder to a hub on this machine, through the real client in its own process."""

import hashlib
import random
import threading
from pathlib import Path

import pytest

from core.export.export import write_export
from core.export.hub import NO_TOKEN, NOT_A_NAME, Repository, push_folder
from core.export.hub_worker import BAD_TOKEN, BROKEN, FULL, NOT_THE_OWNER, READ_ONLY, REFUSED
from core.export.wanted import Wanted
from core.problems import ConfigError, ExportError
from core.threads import Stopped
from tests.hub_uploads import Repository as Stored
from tests.hub_uploads import UploadHub, commit_of, uploading_processes

pytestmark = pytest.mark.slow  # each push starts a process for the hub's client

NAME = "ada/tiny"
LARGE = {"model-1.safetensors": 3 << 20, "model-2.safetensors": 2 << 20, "model.gguf": 1 << 20}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub to which this machine's client sends large files as Git LFS does."""
    with UploadHub() as hub:
        for name, value in hub.environment(tmp_path / "home").items():
            monkeypatch.setenv(name, value)
        yield hub


@pytest.fixture
def folder(tmp_path) -> Path:
    """What an export looks like: a card, small files and large ones; nobody loads them."""
    folder, noise = tmp_path / "export", random.Random(3407)
    folder.mkdir()
    (folder / "README.md").write_text("---\ntags:\n- lora\n---\n\n# Tiny\n")
    (folder / "config.json").write_text("{}\n")
    for name, size in LARGE.items():
        (folder / name).write_bytes(noise.randbytes(size))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def push(folder: Path, hub: UploadHub, name: str = NAME, *, token="hf_may_write", **more):
    to = Repository(name, more.pop("revision", None), more.pop("is_private", True))
    return push_folder(folder, to, "A tiny model", token, **more)


def refused(folder: Path, hub: UploadHub, *args, **more) -> ExportError:
    """The error of a push; it never shows the token."""
    with pytest.raises(ExportError) as caught:
        push(folder, hub, *args, **more)
    assert hub.token not in str(caught.value) + repr(caught.value.values)
    return caught.value


def test_every_byte_arrives_in_a_private_repository(hub, folder):
    told = []
    pushed = push(folder, hub, report=lambda words, share: told.append((words, share)))
    (stored,) = hub.repositories.values()
    assert stored == Stored(True, {"main": digests(folder)}, ["A tiny model"])
    assert (pushed.url, pushed.commit, pushed.is_private) == (f"{hub.address}/{NAME}", commit_of(stored), True)
    assert {digest: hashlib.sha256(content).hexdigest() for digest, content in hub.objects.items()} == {
        digests(folder)[name]: digests(folder)[name] for name in LARGE
    }
    shares = [share for _, share in told[1:]]
    assert told[0] == (f"Uploading to {NAME}", None) and told[-1] == (f"Uploading to {NAME}", 1.0)
    assert shares == sorted(shares) and len(set(shares)) > 5
    assert told[-2][0] == f"Uploading to {NAME}: 6 of 6 MB"


@pytest.mark.parametrize("store", ["memory", "local"])
def test_the_client_s_own_storage_gets_every_byte_too(hub, folder, monkeypatch, tmp_path, store):
    """hf_xet, which is what people have: it counts the bytes elsewhere."""
    monkeypatch.delenv("HF_HUB_DISABLE_XET")
    hub.xet = "memory://" if store == "memory" else f"local://{tmp_path / 'xet'}"
    told = []
    push(folder, hub, report=lambda words, share: told.append(words))
    assert hub.repositories[NAME].branches == {"main": digests(folder)}
    assert f"Uploading to {NAME}: 6 of 6 MB" in told and hub.count("PUT", "") == 0


def test_public_only_when_asked(hub, folder):
    assert not push(folder, hub, is_private=False).is_private
    assert not hub.repositories[NAME].is_private


@pytest.mark.parametrize("was_private", [True, False])
def test_an_existing_repository_is_updated_and_stays_as_visible_as_it_is(hub, folder, was_private):
    hub.repositories[NAME] = Stored(was_private, {"main": {"README.md": "old", "mine.txt": "kept"}})
    assert push(folder, hub, is_private=not was_private).is_private == was_private
    assert hub.repositories[NAME] == Stored(
        was_private, {"main": {"mine.txt": "kept"} | digests(folder)}, ["A tiny model"]
    )


def test_a_branch_is_made_and_the_others_are_left_alone(hub, folder):
    for _ in range(2):
        pushed = push(folder, hub, revision="dev/step 4")
    assert hub.repositories[NAME].branches == {"main": {}, "dev/step 4": digests(folder)}
    assert pushed.url == f"{hub.address}/{NAME}/tree/dev/step%204"


def test_what_has_not_changed_is_not_sent_again(hub, folder):
    push(folder, hub)
    (folder / "model.gguf").write_bytes(b"changed")
    push(folder, hub)
    assert hub.repositories[NAME].branches["main"] == digests(folder)
    assert sorted(hub.arrivals.values()) == [1, 1, 1, 1]


def test_a_short_break_is_bridged(hub, folder):
    hub.cut_after = 1 << 19
    push(folder, hub)
    assert hub.repositories[NAME].branches["main"] == digests(folder)
    assert list(hub.arrivals.values()) == [1, 1, 1] and hub.count("PUT", "") == 4


def test_cut_off_and_taken_up_again(hub, folder):
    hub.cut_after, hub.cuts = (2 << 20) + 1, 99  # the largest file never arrives
    error = refused(folder, hub)
    assert (error.template, error.values) == (BROKEN, {"name": NAME})
    assert len(hub.arrivals) == 2 and hub.repositories[NAME].messages == []
    hub.cuts = 0
    push(folder, hub)
    assert hub.repositories[NAME].branches["main"] == digests(folder)
    assert list(hub.arrivals.values()) == [1, 1, 1]


def test_cut_off_at_the_commit(hub, folder):
    hub.cut_commits = 1
    assert refused(folder, hub).template == BROKEN
    push(folder, hub)
    assert hub.repositories[NAME].branches["main"] == digests(folder)
    assert list(hub.arrivals.values()) == [1, 1, 1]


def test_no_hub_at_all(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert refused(folder, hub).template == BROKEN


def test_stop_in_the_middle_of_a_file(hub, folder):
    hub.stall_after = 1 << 20  # from there on it reads nothing, so only a killed upload can end
    with pytest.raises(Stopped):
        push(folder, hub, should_stop=hub.stalled.is_set)
    assert uploading_processes() == []
    assert [thread.name for thread in threading.enumerate() if "_read" in thread.name] == []


def test_without_a_token(hub, folder):
    for token in (None, False, ""):
        assert refused(folder, hub, token=token).template == NO_TOKEN
    assert hub.requests == []


def test_a_token_that_the_hub_does_not_know(hub, folder):
    assert refused(folder, hub, token="hf_else").template == BAD_TOKEN


@pytest.mark.parametrize("exists", [False, True])
def test_a_token_that_may_only_read(hub, folder, exists):
    hub.role = "read"
    if exists:
        hub.repositories[NAME] = Stored(False)
    error = refused(folder, hub)
    assert error.template == READ_ONLY and error.values["name"] == NAME


def test_an_owner_that_the_token_cannot_write_to(hub, folder):
    error = refused(folder, hub, "bob/tiny")
    assert (error.template, error.values) == (NOT_THE_OWNER, {"name": "bob/tiny", "accounts": "ada"})


def test_no_room_left(hub, folder):
    hub.is_full = True
    error = refused(folder, hub)
    assert error.template == FULL and error.values["reason"].startswith("Private repository storage limit reached")


@pytest.mark.parametrize("status", [400, 422])
def test_an_error_that_quotes_the_token(hub, folder, status):
    hub.echo_status = status
    error = refused(folder, hub)
    assert (error.template, error.values["reason"]) == (REFUSED, "Something is wrong with the token")


@pytest.mark.parametrize("name", ["tiny", "ada/", "/tiny", "ada/ti ny", "a/b/c", "https://huggingface.co/ada/tiny", ""])
def test_what_is_not_owner_slash_name(hub, folder, name):
    with pytest.raises(ConfigError) as caught:
        push(folder, hub, name)
    assert (caught.value.template, caught.value.values) == (NOT_A_NAME, {"name": name})
    assert hub.requests == []


def test_a_real_adapter(hub, source, tmp_path):
    write_export(source, Wanted("adapter", tmp_path / "adapter"))
    push(tmp_path / "adapter", hub)
    stored = hub.repositories[NAME].branches["main"]
    assert stored == digests(tmp_path / "adapter")
    weights = source.weights.read_bytes()
    assert hub.objects[stored["adapter_model.safetensors"]] == weights
