"""Datasets by name, from a hub on this machine to the real `datasets` library, each with a cache of its own."""

import json
import socket
from pathlib import Path

import pytest

from tests.data.hub_client import NAME, Client, hub_processes
from tests.hub_server import Hub, commit_of

pytestmark = pytest.mark.slow  # each test starts a process for the hub's client

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
CACHED = "from this machine's cache, because Hugging Face cannot be reached"


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
def processes():
    with hub_processes() as running:
        yield running


@pytest.fixture(scope="module")
def sets(tmp_path_factory, processes):
    """A client of a hub with datasets of many kinds, for tests that change neither."""
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
        yield Client(processes, home / "home", hub.address)


def write_media(home: Path) -> None:
    """Images and sounds as the library writes them; their bytes are invalid, so opening one would fail."""
    import pyarrow.parquet
    from datasets import Audio, Features, Image, List, Value

    media_value = {"bytes": b"no picture and no sound", "path": None}
    row = {"image": media_value, "sound": media_value, "pages": [media_value], "text": "words"}
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


def test_rows_are_numbered_and_the_share_grows_to_one(sets):
    (answer,) = sets.ask({"path": "kinds/jsonl"})
    assert [row[:2] for row in answer["rows"]] == [[n, f"row {n} of kinds/jsonl"] for n in range(1, 9)]
    assert answer["shares"] == [n / 8 for n in range(1, 9)]
    assert (answer["again"], answer["splits"]) == (8, False)


def test_an_error_names_what_exists_instead(sets):
    name = {"path": "kinds/jsonl"}
    splits = "train (8 rows), test (2 rows)"
    assert sets.errors(
        name | {"name": "german"}, {"path": "some/undecided"}, {"path": "some/plain", "name": "german"},
        name | {"split": "validation"}, name | {"split": "train[100:]"}, name | {"split": "train[:3"},
        name | {"revision": "v9"}, {"path": "nobody/nothing"}, {"path": "json"}, {"path": "no--body/x"},
    ) == [
        {"dataset": "kinds/jsonl", "configuration": "german", "names": "english, korean"},
        {"dataset": "some/undecided", "names": "english, korean"},
        {"dataset": "some/plain"},
        {"dataset": "kinds/jsonl", "split": "validation", "splits": "train, test"},
        {"dataset": "kinds/jsonl", "split": "train[100:]", "splits": splits},
        {"dataset": "kinds/jsonl", "split": "train[:3", "splits": splits},
        {"dataset": "kinds/jsonl", "revision": "v9"},
        {"dataset": "nobody/nothing"},
        {"dataset": "json"},
        {"path": "no--body/x"},
    ]  # fmt: skip


def test_datasets_that_cannot_be_read(sets):
    parquet = "Parquet magic bytes not found in footer. Either the file is corrupted or this is not a parquet file"
    expected = [
        ("some/script", "script", {"revision": "refs/convert/parquet"}),
        ("bad/empty", "no files", {}),
        ("bad/documents", "no files", {}),
        ("bad/json", "cannot be read", {"reason": "JSON parse error: Missing a name for object member. in row 1"}),
        ("bad/parquet", "cannot be read", {"reason": parquet}),
        ("bad/columns", "different columns", {}),
        ("bad/readme", "do not exist", {}),
        ("bad/yaml", "cannot be read", {"reason": "while parsing a flow node"}),
        ("bad/promise", "README", {}),
        ("bad/rowless", "no rows", {"split": "train", "splits": "train (0 rows)"}),
    ]
    answers = sets.ask(*({"path": name} for name, _, _ in expected))
    for answer, (name, words, values) in zip(answers, expected, strict=True):
        assert answer["values"] == {"dataset": name, **values}
        assert words in answer["error"]


def test_the_way_out_of_a_script_leads_to_its_rows(sets):
    (answer,) = sets.ask({"path": "some/script", "revision": "refs/convert/parquet"})
    assert values(answer) == sayings("english", "test")


def test_nested_columns_stay_nested(sets):
    (answer,) = sets.ask({"path": "some/nested"})
    assert values(answer) == [
        {"translation": {"en": "one", "ko": "하나"}, "turns": [{"role": "user", "content": "hi"}]},
        {"translation": {"en": "two", "ko": None}, "turns": []},
    ]


def test_images_and_sounds_are_skipped_unopened(sets):
    images, only = sets.ask({"path": "media/images"}, {"path": "media/only"})
    assert values(images) == [{"text": "words"}, {"text": "words"}]
    assert images["notes"] == [
        "2 rows of the split train from Hugging Face",
        "skipped: image, sound, pages, because images and audio are not read",
    ]
    assert only["values"] == {"dataset": "media/only", "columns": "image"}


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


def test_a_revision_by_branch_and_by_commit(tmp_path, processes, versions):
    with Hub(datasets={NAME: versions}) as hub:
        client = Client(processes, tmp_path / "home", hub.address)
        answers = client.ask({}, {"revision": "old"}, {"revision": commit_of(NAME, "old")}, {"revision": "main"})
    new, old = sayings("english", "train", " (new)"), sayings("english", "train", " (old)")
    assert [values(answer) for answer in answers] == [new, old, old, new]


def test_the_cache_is_used_when_nothing_changed_and_without_a_hub(tmp_path, processes, versions):
    with Hub(datasets={NAME: versions}) as hub:
        client = Client(processes, tmp_path / "home", hub.address)
        # The revision loaded last, and so the newest in the cache, is not the newest on the hub.
        client.ask({"split": "test"}, {"name": "korean"}, {"revision": "old"})
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
        assert [answer["values"] for answer in missing] == [{"dataset": NAME}] * 2


def test_a_newer_version_that_cannot_be_read_is_not_replaced_by_the_older_one(tmp_path, processes, versions):
    branches = {NAME: {"main": versions["old"]}}
    with Hub(datasets=branches) as hub:
        client = Client(processes, tmp_path / "home", hub.address)
        client.ask({})
        before = commit_of(NAME)
        broken = write(tmp_path / "broken", README_md="---\nconfigs: [: {\n---\n", train_jsonl=lines({"a": 1}))
        branches[NAME] = {"main at first": versions["old"], "main": broken}
        hub.commits[NAME, "main"], hub.commits[NAME, "main at first"] = commit_of(NAME, "broken"), before
        assert client.errors({}) == [{"dataset": NAME, "revision": before}]
        (answer,) = client.ask({"revision": before})
        assert values(answer) == sayings("english", "train", " (old)")


def test_a_cache_that_is_not_writable(tmp_path, processes):
    (tmp_path / "file").write_text("")
    with Hub(datasets={NAME: {"main": write_sayings(tmp_path / "repository")}}) as hub:
        client = Client(processes, tmp_path / "home", hub.address)
        errors = client.errors({}, HF_DATASETS_CACHE=str(tmp_path / "file" / "datasets"))
    assert errors == [{"dataset": NAME, "reason": "Not a directory"}]


def test_no_hub_and_nothing_cached(tmp_path, processes, closed_address):
    (answer,) = Client(processes, tmp_path, closed_address).ask({})
    assert answer["values"] == {"dataset": NAME} and "network" in answer["error"]


@pytest.fixture
def closed_address():
    with socket.socket() as closed:  # bound, not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


def test_a_closed_dataset_needs_the_right_token_which_is_saved_nowhere(tmp_path, processes):
    repository = write_sayings(tmp_path / "repository")
    closed = {"a/gated": {"main": repository}, "a/private": {"main": repository}, "an/open": {"main": repository}}
    both, refused = [{"path": "a/gated"}, {"path": "a/private"}], [{"dataset": "a/gated"}, {"dataset": "a/private"}]
    loud = {"HF_HUB_VERBOSITY": "debug", "DATASETS_VERBOSITY": "debug"}
    with Hub(datasets=closed, gated=frozenset({"a/gated"}), private=frozenset({"a/private"}), token="hf_right_secret",
             invalid_token="hf_unknown") as hub:  # fmt: skip
        client = Client(processes, tmp_path / "home", hub.address)
        assert client.errors(*both) == refused
        gated, private = client.ask(*both, token="hf_wrong_secret", **loud)
        assert [gated["values"], private["values"]] == refused
        assert "gated" in gated["error"] and "private" in private["error"]
        for config, token in (({"path": "an/open"}, "hf_unknown"), (both[0], "hf_half secret")):
            (answer,) = client.ask(config, token=token)
            assert answer["values"] == {} and "token" in answer["error"]
        answers = client.ask(*both, token=" hf_right_secret ", **loud)
        assert [values(answer) for answer in answers] == [sayings("english", "train")] * 2
        assert {request.token for request in hub.requests} >= {None, "hf_right_secret", "hf_wrong_secret"}
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()) + client.printed.encode()
    assert b"Generating train split" in written and b"secret" not in written and b"hf_unknown" not in written


def test_an_interrupted_download_continues(tmp_path, processes):
    repository = write_sayings(tmp_path / "repository", "parquet")
    with Hub(datasets={NAME: {"main": repository}}, cut_after=100) as hub:
        (answer,) = Client(processes, tmp_path / "home", hub.address).ask({})
        assert hub.cut_after is None
    assert values(answer) == sayings("english", "train")
