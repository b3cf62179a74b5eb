"""Files that could run code when they are read: none of them does. Each would create a file if it did."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.model.load import NEEDS_CODE, load
from core.model.model_files import locate
from core.problems import ConfigError, ModelError
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT, next_logits, small_config
from tests.hub_server import Hub
from tests.model.test_download import NAME, Client

DEMO = PROJECT / "presets" / "demo-llama"
PICKLES = [
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "consolidated.00.pth",
    "model.pt",
    "model.ckpt",
    "model.pkl",
]
LOAD = """
import json, sys
from core.settings.sections import ModelConfig
from core.problems import ModelError
from core.model.load import load
answers = []
for config in json.loads(sys.argv[1]):
    answer = {"template": None, "values": None, "report": None}
    try:
        answer["report"] = load(ModelConfig(max_seq_length=128, **config)).report.model_dump()
    except ModelError as error:
        answer |= {"template": error.template, "values": error.values}
    answers.append(answer)
print(json.dumps(answers))
"""
LOOK = """
import json, sys
from core.settings.sections import DataConfig
from core.problems import DataError
from core.data.prepared.prepare import open_rows
answers = []
for path in sys.argv[1:]:
    try:
        answers.append(next(iter(open_rows(DataConfig(path=path)))).values)
    except DataError as error:
        answers.append("refused")
print(json.dumps(answers))
"""


class Evil:
    """Makes the file when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "code-ran"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(DEMO, tmp_path / "model"))


def put_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(mark)))


def change(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def asked(script: str, *arguments: str, **kwargs) -> str:
    """The last line that a process of its own prints, with someone at its keyboard who says yes to everything."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=PROJECT,
        text=True,
        capture_output=True,
        input="y\n" * 20,
        timeout=120,
        **kwargs,
    )
    assert done.stdout, done.stderr
    return done.stdout.splitlines()[-1]


def test_the_traps_of_these_tests_do_spring(tmp_path, mark):
    put_pickle(tmp_path / "trap.bin", mark)
    pickle.loads((tmp_path / "trap.bin").read_bytes()).close()
    assert mark.exists()


@pytest.mark.parametrize("name", PICKLES)
def test_a_folder_of_pickles_is_refused_by_their_name(folder, mark, name):
    (folder / "model.safetensors").unlink()
    put_pickle(folder / name, mark)
    with pytest.raises(ModelError) as caught:
        locate(ModelConfig(model_name=str(folder)))
    assert caught.value.values == {"name": str(folder), "file": name}
    assert not mark.exists()


def test_safetensors_that_are_not_the_weights_do_not_let_pickles_in(folder, mark):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    put_pickle(folder / "pytorch_model.bin", mark)
    with pytest.raises(ModelError, match="pickle|run code") as caught:
        locate(ModelConfig(model_name=str(folder)))
    assert caught.value.values == {"name": str(folder), "file": "pytorch_model.bin"}


@pytest.mark.parametrize(
    ("shard", "word", "file"),
    [
        ("pytorch_model-1.bin", "run code", "pytorch_model-1.bin"),
        ("../outside.safetensors", "lists", "../outside.safetensors"),
        ("/etc/passwd", "lists", "/etc/passwd"),
        ("model-2.safetensors", "missing", "model-2.safetensors"),
        (7, "cannot be read", "model.safetensors.index.json"),
    ],
)
def test_a_list_of_shards_may_only_list_safetensors_in_its_folder(folder, shard, word, file):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=word) as caught:
        locate(ModelConfig(model_name=str(folder)))
    assert caught.value.values == {"name": str(folder), "file": file}


def test_of_both_the_safetensors_are_loaded(unsloth, folder, mark, rows):
    for name in ("pytorch_model.bin", "consolidated.00.pth", "model.pt"):
        put_pickle(folder / name, mark)
    both, clean = (load(small_config(model, rows).model, use_gradient_checkpointing=False) for model in (folder, DEMO))
    assert next_logits(both, prompt="Hello").equal(next_logits(clean, prompt="Hello"))
    assert not mark.exists()


@pytest.mark.parametrize("keeps_safetensors", [False, True])
def test_an_adapter_of_pickles(trained, tmp_path, mark, keeps_safetensors):
    adapter = Path(shutil.copytree(trained.adapter_dir, tmp_path / "adapter"))
    put_pickle(adapter / "adapter_model.bin", mark)
    put_pickle(adapter / "training_args.bin", mark)
    if keeps_safetensors:
        loaded = load(trained.config.model, None, adapter, use_gradient_checkpointing=False)
        assert next_logits(loaded).equal(trained.logits["trained tuned"])
    else:
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(ModelError, match="run code") as caught:
            load(trained.config.model, None, adapter, use_gradient_checkpointing=False)
        assert caught.value.values == {"folder": str(adapter), "file": "adapter_model.bin"}
    assert not mark.exists()


def test_pickles_on_a_hub_are_not_even_fetched(tmp_path, folder, mark):
    (folder / "model.safetensors").unlink()
    put_pickle(folder / "pytorch_model.bin", mark)
    with Hub({NAME: folder}) as hub:
        answer = Client(tmp_path / "home", hub.address).ask()
        assert answer["values"] == {"name": NAME, "file": "pytorch_model.bin"}
        assert hub.downloads("config.json") == [None] and hub.downloads("pytorch_model.bin") == []
        assert [r.method for r in hub.requests if r.path.endswith(".bin")] == []
    assert list((tmp_path / "home").rglob("*.bin")) == []


CODE = """open({mark!r}, "w").close()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
MODEL_CLASSES = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel", "AutoModel": "own.OwnModel"}
TOKENIZER_CLASSES = {"AutoTokenizer": [None, "own.OwnTokenizer"]}


def add_code(folder: Path, mark: Path) -> None:
    """A model of a kind that transformers does not know, whose classes are in its own folder."""
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    change(folder / "config.json", model_type="own", architectures=["OwnModel"], auto_map=MODEL_CLASSES)


@pytest.fixture
def with_code(folder, mark):
    add_code(folder, mark)
    return folder


@dataclass(frozen=True)
class Loaded:
    """What came of loading a model: its report, or the template and the values of the ModelError."""

    name: str
    report: dict | None
    template: str | None
    values: dict | None
    code_ran: bool = False


# Each changes the files of a model that is fine and brings code; the one whose code may run comes last.
CASES: dict[str, Callable[[Path], None]] = {
    "tokenizer of its own": lambda f: change(
        f / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=TOKENIZER_CLASSES
    ),
    "known tokenizer": lambda f: change(f / "tokenizer_config.json", auto_map=TOKENIZER_CLASSES),
    "known model": lambda f: change(f / "config.json", auto_map=MODEL_CLASSES),
    "unknown model": lambda f: add_code(f, f / "code-ran"),
    "trusted model": lambda f: add_code(f, f / "code-ran"),
}


@pytest.fixture(scope="module")
def loads(stories, tmp_path_factory) -> dict[str, Loaded]:
    """All cases, and a model by its name on a hub, loaded in one process, because importing Unsloth takes long.

    It is a process of its own for the hub's address and for the models' code.
    """
    top = tmp_path_factory.mktemp("loads")
    configs: dict[str, dict] = {"on a hub": {"model_name": NAME}}
    for number, (case, prepare) in enumerate(CASES.items()):
        folder = Path(shutil.copytree(DEMO, top / f"model{number}"))
        (folder / "own.py").write_text(CODE.format(mark=str(folder / "code-ran")))
        prepare(folder)
        configs[case] = {"model_name": str(folder), "load_in_4bit": False}
    configs["trusted model"]["trust_remote_code"] = configs["trusted model"]["model_name"]
    with Hub({NAME: stories}) as hub:
        env = os.environ | {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(top / "home"),
            "HF_MODULES_CACHE": str(top / "modules"),
            "NO_PROXY": "127.0.0.1",
            "UNSLOTH_DISABLE_STATISTICS": "1",
        }
        answers = json.loads(asked(LOAD, json.dumps(list(configs.values())), env=env))
        assert hub.downloads("model.safetensors") == [None]
    return {
        case: Loaded(**answer, name=config["model_name"], code_ran=(Path(config["model_name"]) / "code-ran").exists())
        for (case, config), answer in zip(configs.items(), answers, strict=True)
    }


def test_a_model_by_name_is_loaded_in_4_bit(loads):
    report = loads["on a hub"].report
    assert (report["name"], report["parameters"]) == (NAME, 260032)
    assert (report["linear_layers"], report["linear_layers_4bit"], report["tied_embeddings"]) == (36, 35, True)


@pytest.mark.parametrize("case", ["unknown model", "tokenizer of its own"])
def test_code_of_a_model_or_its_tokenizer_does_not_run_and_is_named_as_the_reason(loads, case):
    loaded = loads[case]
    assert (loaded.template, loaded.values, loaded.code_ran) == (NEEDS_CODE, {"name": loaded.name}, False)


@pytest.mark.parametrize("case", ["known model", "known tokenizer"])
def test_a_known_kind_is_loaded_without_the_code_it_brings(loads, case):
    assert loads[case].report["name"] == loads[case].name and not loads[case].code_ran


def test_code_runs_for_the_one_model_that_is_trusted(loads):
    assert loads["trusted model"].report["name"] == loads["trusted model"].name and loads["trusted model"].code_ran


def test_trust_does_not_include_code_of_another_repository(with_code, mark, tmp_path):
    change(with_code / "config.json", auto_map={"AutoConfig": "other/place--own.OwnConfig"})
    with pytest.raises(ModelError) as caught:
        locate(ModelConfig(model_name=str(with_code), trust_remote_code=str(with_code)))
    assert caught.value.values == {"name": str(with_code), "repository": "other/place"}


def test_trust_is_in_one_model_by_its_name():
    config = RunConfig().with_settings(["model.model_name=a/b", "model.trust_remote_code=a/b"])
    assert config.model.trust_remote_code == "a/b"
    for wrong in ("a/c", "yes", "a/b-bnb-4bit"):
        with pytest.raises(ConfigError) as caught:
            config.with_settings([f"model.trust_remote_code={wrong}"])
        assert "a/b" in str(caught.value)
    with pytest.raises(ConfigError):
        config.with_settings(["model.model_name=a/c"])


def test_a_model_s_code_is_fetched_only_where_it_is_trusted(tmp_path, with_code, mark):
    with Hub({NAME: with_code}) as hub:
        client = Client(tmp_path / "home", hub.address)
        client.ask()
        assert hub.downloads("own.py") == []
        client.ask(trust_remote_code=NAME)
        assert hub.downloads("own.py") == [None]
    assert not mark.exists()


def test_a_data_set_s_script_is_not_run(tmp_path, mark):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "set.py").write_text(f"open({str(mark)!r}, 'w')")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a row"}\n')
    with Hub(datasets={"somebody/set": {"main": folder}}) as hub:
        env = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "home"),
            "PATH": "",
            "HF_DATASETS_TRUST_REMOTE_CODE": "1",
        }
        said = json.loads(asked(LOOK, str(folder), "somebody/set", str(rows), env=env))
        assert said == ["refused", "refused", {"text": "a row"}]
        assert [r.path for r in hub.requests if "/resolve/" in r.path and r.path.endswith(".py")] == []
    assert not mark.exists()
