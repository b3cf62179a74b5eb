"""Data sets by name, from a hub on this machine to the real `datasets` loader.

The loader reads HF_ENDPOINT and HF_HOME when it is imported, so each test asks in a process of its own, with a cache of
its own.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.hub_server import Hub, commit_of

NAME = "somebody/OldSayings"
OPEN = """
import json, sys
from core.settings.sections import DataConfig
from core.problems import DataError
from core.data.prepared.prepare import open_rows
answers = []
for config in json.loads(sys.argv[1]):
    try:
        rows = open_rows(DataConfig(**config), sys.stdin.readline().strip("\\n") or None)
        seen = [(list(row), rows.share) for row in rows]
        answers.append({"rows": [row for row, _ in seen], "shares": [share for _, share in seen],
                        "notes": rows.notes, "again": len(list(rows)), "splits": rows.wants_splitting})
    except DataError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
"""
CONFIGS = """---
configs:
- config_name: english
  {default}data_files:
  - split: train
    path: english/train.{kind}
  - split: test
    path: english/test.{kind}
- config_name: korean
  data_files:
  - split: train
    path: korean/train.{kind}
  - split: test
    path: korean/test.{kind}
---
# Sayings
"""
PROMISE = """---
dataset_info:
  features:
  - name: question
    dtype: string
  - name: answer
    dtype: string
  splits:
  - name: train
    num_bytes: 10
    num_examples: 99
---
"""
CACHED = "taken from the cache of this machine, as Hugging Face cannot be reached"
NOT_KEPT = (
    "could not be fetched: Hugging Face does not answer, and this machine has not kept what is asked for; check the "
    "network and try again."
)

MISSING = (
    "Hugging Face has no data set {}, or it is private; check the name, or give a token under More on the Model tab."
)


@dataclass
class Client:
    """A person's machine: a cache of its own, and this hub."""

    home: Path
    address: str
    said: str = ""

    def ask(self, *configs: dict, token: str = "", **more: str) -> list[dict]:
        """What becomes of each data set. Everything that was printed is added to `said`."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        env |= {"HF_ENDPOINT": self.address, "HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1",
                "NO_PROXY": "127.0.0.1", **more}  # fmt: skip
        command = [sys.executable, "-c", OPEN, json.dumps([{"path": NAME} | config for config in configs])]
        done = subprocess.run(command, cwd=PROJECT, env=env, text=True, capture_output=True, timeout=120,
                              input=f"{token}\n" * len(configs), check=False)  # fmt: skip
        self.said += done.stdout + done.stderr
        assert done.stdout, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def errors(self, *configs: dict, **more: str) -> list[str]:
        return [answer["error"] for answer in self.ask(*configs, **more)]


def values(answer: dict) -> list[dict]:
    return [row[2] for row in answer["rows"]]


def write(folder: Path, **files: str) -> Path:
    """A repository; `__` in a name stands for a folder, `_` before its end for the dot."""
    for name, text in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def sayings(language: str, split: str, version: str = "") -> list[dict]:
    count = 8 if split == "train" else 2
    return [{"question": f"{language} {split} {n}{version}", "answer": f"답 {n}"} for n in range(count)]


def write_sayings(folder: Path, kind: str = "jsonl", version: str = "", default: bool = True) -> Path:
    """Two configurations of two splits each."""
    import pandas

    folder.mkdir()
    (folder / "README.md").write_text(CONFIGS.format(kind=kind, default="default: true\n  " * default))
    for language in ("english", "korean"):
        (folder / language).mkdir()
        for split in ("train", "test"):
            path, table = folder / language / f"{split}.{kind}", pandas.DataFrame(sayings(language, split, version))
            if kind == "parquet":
                table.to_parquet(path)
            elif kind == "csv":
                table.to_csv(path, index=False)
            else:
                table.to_json(path, orient="records", lines=True, force_ascii=False)
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A hub with data sets of many kinds, for tests that do not disturb it, and a client."""
    home = tmp_path_factory.mktemp("sets")
    pair = lines({"question": "q", "answer": "a"})
    branches = {
        "kinds/jsonl": {"main": write_sayings(home / "jsonl")},
        "kinds/csv": {"main": write_sayings(home / "csv", "csv")},
        "kinds/parquet": {"main": write_sayings(home / "parquet", "parquet")},
        "some/undecided": {"main": write_sayings(home / "undecided", default=False)},
        "some/versions.v2": {
            "main": write(home / "new", README_md="# new", train_jsonl=lines({"text": "new"})),
            "old": write(home / "old", README_md="# old", train_jsonl=lines({"text": "old"})),
        },
        "some/plain": {"main": write(home / "plain", train_jsonl=pair)},
        "some/script": {
            "main": write(home / "script", README_md="# x", script_py="import datasets"),
            "refs/convert/parquet": home / "parquet_of_script",
        },
        "some/nested": {
            "main": write(
                home / "nested",
                train_jsonl=lines(
                    {"translation": {"en": "one", "ko": "하나"}, "turns": [{"role": "user", "content": "hi"}]},
                    {"translation": {"en": "two", "ko": None}, "turns": []},
                ),
            )
        },
        "bad/empty": {"main": write(home / "empty", README_md="# x")},
        "bad/documents": {"main": write(home / "documents", README_md="# x", a_docx="x")},
        "bad/json": {"main": write(home / "json", train_jsonl=pair + "{oops\n")},
        "bad/parquet": {"main": write(home / "pq", train_parquet="PAR1 and no more")},
        "bad/columns": {"main": write(home / "columns", train__a_jsonl=pair, train__b_jsonl=lines({"other": 1}))},
        "bad/readme": {"main": write(home / "readme", README_md=CONFIGS.format(kind="jsonl", default=""))},
        "bad/yaml": {"main": write(home / "yaml", README_md="---\nconfigs: [: {\n---\n", train_jsonl=pair)},
        "bad/promise": {"main": write(home / "promise", README_md=PROMISE, train_jsonl=pair)},
        "bad/rowless": {"main": write(home / "rowless", train_csv="question,answer\n")},
        "media/images": {"main": home / "images"},
        "media/only": {"main": home / "only"},
    }
    write_media(home)
    (home / "parquet_of_script" / "default" / "train").mkdir(parents=True)
    (home / "parquet_of_script" / "default" / "train" / "0000.parquet").write_bytes(
        (home / "parquet" / "english" / "test.parquet").read_bytes()
    )
    with Hub(datasets=branches, moved={"plain": "some/plain"}) as hub:
        yield Client(home / "home", hub.address)


def write_media(home: Path) -> None:
    """Pictures and sounds as the library writes them; the bytes are none, so opening one would fail."""
    import pyarrow.parquet
    from datasets import Audio, Features, Image, List, Value

    thing = {"bytes": b"no picture and no sound", "path": None}
    row = {"image": thing, "sound": thing, "pages": [thing], "text": "words"}
    media = {"image": Image(), "sound": Audio(), "pages": List(Image())}
    for name, features in {"images": media | {"text": Value("string")}, "only": {"image": Image()}}.items():
        (home / name).mkdir()
        table = pyarrow.Table.from_pylist([row] * 2, Features(features).arrow_schema)
        pyarrow.parquet.write_table(table, home / name / "train.parquet")


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_configurations_and_splits(sets, kind):
    name = {"path": f"kinds/{kind}"}
    answers = sets.ask(name, name | {"name": "korean"}, name | {"split": "test"}, name | {"split": "train[:3]"},
                       name | {"split": "train[:50%]", "name": "korean"}, name | {"split": "test+train[-1:]"},
                       name | {"split": "all"})  # fmt: skip
    train, test, korean = sayings("english", "train"), sayings("english", "test"), sayings("korean", "train")
    expected = [train, korean, test, train[:3], korean[:4], test + train[-1:], train + test]
    assert [values(answer) for answer in answers] == expected
    assert [answer["notes"] for answer in answers[:4]] == [
        ["8 rows of the split train from Hugging Face", "configuration english"],
        ["8 rows of the split train from Hugging Face", "configuration korean"],
        ["2 rows of the split test from Hugging Face", "configuration english"],
        ["3 rows of the split train[:3] from Hugging Face", "configuration english"],
    ]


def test_rows_are_numbered_and_the_share_grows_to_one_and_begins_anew(sets):
    (answer,) = sets.ask({"path": "kinds/jsonl"})
    assert [row[:2] for row in answer["rows"]] == [[n, f"row {n} of kinds/jsonl"] for n in range(1, 9)]
    assert answer["shares"] == [n / 8 for n in range(1, 9)]
    assert (answer["again"], answer["splits"]) == (8, False)


def test_what_is_not_there_is_said_with_what_there_is(sets):
    name = {"path": "kinds/jsonl"}
    assert sets.errors(
        name | {"name": "german"}, {"path": "some/undecided"}, {"path": "some/plain", "name": "german"},
        name | {"split": "validation"}, name | {"split": "train[100:]"}, name | {"split": "train[:3"},
        name | {"revision": "v9"}, {"path": "nobody/nothing"}, {"path": "json"}, {"path": "no--body/x"},
    ) == [
        "kinds/jsonl has no configuration 'german'; choose one of english, korean.",
        "some/undecided has several configurations; choose one of english, korean.",
        "some/plain has no configurations to choose from; leave it empty.",
        "kinds/jsonl has no split 'validation'; choose one of train, test.",
        "kinds/jsonl has no rows in 'train[100:]'; it has train (8 rows), test (2 rows), and a part is written train[:10%].",
        "kinds/jsonl has no rows in 'train[:3'; it has train (8 rows), test (2 rows), and a part is written train[:10%].",
        "kinds/jsonl has no revision 'v9'; leave it empty for the newest.",
        MISSING.format("nobody/nothing"),
        MISSING.format("json"),
        "'no--body/x' is neither a file nor a name like owner/name.",
    ]  # fmt: skip


def test_what_the_loader_cannot_read(sets):
    by_hand = "download its files and choose their folder."
    script = (
        "some/script is read by a program of its own, which never runs here; try the revision refs/convert/parquet, where "
        "Hugging Face may keep its rows."
    )
    parquet = "Parquet magic bytes not found in footer. Either the file is corrupted or this is not a parquet file"
    bad = ["empty", "documents", "json", "parquet", "columns", "readme", "yaml", "promise", "rowless"]
    assert sets.errors({"path": "some/script"}, *({"path": f"bad/{name}"} for name in bad)) == [
        script,
        "bad/empty holds no files that rows can be read from; choose another data set.",
        "bad/documents holds no files that rows can be read from; choose another data set.",
        f"bad/json cannot be read (JSON parse error: Missing a name for object member. in row 1); {by_hand}",
        f"bad/parquet cannot be read ({parquet}); {by_hand}",
        f"The files of bad/columns differ in their columns, so are no one table; {by_hand}",
        f"The README of bad/readme names files that are not there; {by_hand}",
        f"bad/yaml cannot be read (while parsing a flow node); {by_hand}",
        f"bad/promise has other rows than its README promises; {by_hand}",
        "bad/rowless has no rows in 'train'; it has train (0 rows), and a part is written train[:10%].",
    ]


def test_the_way_out_of_a_script_leads_to_its_rows(sets):
    (answer,) = sets.ask({"path": "some/script", "revision": "refs/convert/parquet"})
    assert values(answer) == sayings("english", "test")


def test_nested_columns_stay_nested(sets):
    (answer,) = sets.ask({"path": "some/nested"})
    assert values(answer) == [
        {"translation": {"en": "one", "ko": "하나"}, "turns": [{"role": "user", "content": "hi"}]},
        {"translation": {"en": "two", "ko": None}, "turns": []},
    ]


def test_pictures_and_sounds_are_left_aside_unopened(sets):
    images, only = sets.ask({"path": "media/images"}, {"path": "media/only"})
    assert values(images) == [{"text": "words"}, {"text": "words"}]
    assert images["notes"] == [
        "2 rows of the split train from Hugging Face",
        "left aside: image, sound, pages, as pictures and sounds are not read",
    ]
    assert only["error"] == "media/only has pictures or sounds only (image); choose a data set with text."


def test_a_name_from_before_it_moved(sets):
    (answer,) = sets.ask({"path": "plain"})
    assert values(answer) == [{"question": "q", "answer": "a"}]
    assert answer["notes"] == ["1 row of the split train from Hugging Face", "plain is now called some/plain"]


@pytest.fixture
def versions(tmp_path) -> dict[str, Path]:
    return {
        "main": write_sayings(tmp_path / "new", version=" (new)"),
        "old": write_sayings(tmp_path / "old", version=" (old)"),
    }


def test_a_revision_by_branch_and_by_commit(tmp_path, versions):
    with Hub(datasets={NAME: versions}) as hub:
        client = Client(tmp_path / "home", hub.address)
        answers = client.ask({}, {"revision": "old"}, {"revision": commit_of(NAME, "old")}, {"revision": "main"})
    new, old = sayings("english", "train", " (new)"), sayings("english", "train", " (old)")
    assert [values(answer) for answer in answers] == [new, old, old, new]


def test_the_second_time_nothing_is_fetched_and_without_a_hub_only_what_was_asked_for(tmp_path, versions):
    with Hub(datasets={NAME: versions}) as hub:
        client = Client(tmp_path / "home", hub.address)
        client.ask(
            {"split": "test"}, {"name": "korean"}, {"revision": "old"}
        )  # the newest in the cache is not the newest on the hub
        before = len(hub.requests)
        (answer,) = client.ask({})
        assert values(answer) == sayings("english", "train", " (new)")
        again = [request for request in hub.requests[before:] if "/resolve/" in request.path]
        assert {request.method for request in again} == {"HEAD"}
    commit, german = commit_of(NAME, "old"), {"name": "german"}
    for offline in ({}, {"HF_HUB_OFFLINE": "1"}):
        newest, korean, old, by_commit, *missing = client.ask(
            {}, {"name": "korean"}, {"revision": "old"}, {"revision": commit}, {"revision": "v9"}, german, **offline
        )
        assert values(newest) == sayings("english", "train", " (new)")
        assert newest["notes"] == ["8 rows of the split train from Hugging Face", "configuration english", CACHED]
        assert values(korean) == sayings("korean", "train", " (new)")
        assert values(old) == values(by_commit) == sayings("english", "train", " (old)")
        assert missing == [{"error": f"{NAME} {NOT_KEPT}"}] * 2


def test_a_newer_version_that_cannot_be_read_is_not_replaced_by_the_one_before(tmp_path, versions):
    branches = {NAME: {"main": versions["old"]}}
    with Hub(datasets=branches) as hub:
        client = Client(tmp_path / "home", hub.address)
        client.ask({})
        before = commit_of(NAME)
        broken = write(tmp_path / "broken", README_md="---\nconfigs: [: {\n---\n", train_jsonl=lines({"a": 1}))
        branches[NAME] = {"main at first": versions["old"], "main": broken}
        hub.commits[NAME, "main"], hub.commits[NAME, "main at first"] = commit_of(NAME, "broken"), before
        assert client.errors({})[0] == (
            f"{NAME} cannot be loaded as it now stands on Hugging Face; this machine still has what it was, as the revision "
            f"{before}."
        )
        (answer,) = client.ask({"revision": before})
        assert values(answer) == sayings("english", "train", " (old)")


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with Hub(datasets={NAME: {"main": write_sayings(tmp_path / "repository")}}) as hub:
        answers = Client(tmp_path / "home", hub.address).errors(
            {}, HF_DATASETS_CACHE=str(tmp_path / "file" / "datasets")
        )
    assert answers == [
        f"{NAME} could not be kept on this disk: Not a directory; see that there is room and that the cache may be written."
    ]


def test_no_hub_and_nothing_kept(tmp_path, closed_address):
    assert Client(tmp_path, closed_address).errors({}) == [f"{NAME} {NOT_KEPT}"]


@pytest.fixture
def closed_address():
    with socket.socket() as closed:  # bound, not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


def test_a_closed_data_set_opens_with_the_right_token_only_and_the_token_is_kept_nowhere(tmp_path):
    repository = write_sayings(tmp_path / "repository")
    closed = {"a/gated": {"main": repository}, "a/private": {"main": repository}, "an/open": {"main": repository}}
    gated = (
        "a/gated is gated: ask for access on its Hugging Face page, then give a token of that account under More on the "
        "Model tab."
    )
    missing, both = MISSING.format("a/private"), [{"path": "a/gated"}, {"path": "a/private"}]
    loud = {"HF_HUB_VERBOSITY": "debug", "DATASETS_VERBOSITY": "debug"}
    with Hub(datasets=closed, gated=frozenset({"a/gated"}), private=frozenset({"a/private"}), token="hf_right_secret",
             unknown="hf_unknown") as hub:  # fmt: skip
        client = Client(tmp_path / "home", hub.address)
        assert client.errors(*both) == [gated, missing]
        assert client.errors(*both, token="hf_wrong_secret", **loud) == [gated, missing]
        assert client.errors({"path": "an/open"}, token="hf_unknown") == [
            "Hugging Face does not know the token; copy it again from its settings, or empty the field."
        ]
        strange = "The Hugging Face token holds characters that no token has; copy it again."
        assert client.errors(*both, token="hf_half secret") == [strange, strange]
        answers = client.ask(*both, token=" hf_right_secret ", **loud)
        assert [values(answer) for answer in answers] == [sayings("english", "train")] * 2
        assert {request.token for request in hub.requests} >= {None, "hf_right_secret", "hf_wrong_secret"}
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()) + client.said.encode()
    assert b"Generating train split" in kept and b"secret" not in kept and b"hf_unknown" not in kept


def test_a_download_that_breaks_off_goes_on_by_itself(tmp_path):
    repository = write_sayings(tmp_path / "repository", "parquet")
    with Hub(datasets={NAME: {"main": repository}}, cut_after=100) as hub:
        (answer,) = Client(tmp_path / "home", hub.address).ask({})
        assert hub.cut_after is None
    assert values(answer) == sayings("english", "train")
