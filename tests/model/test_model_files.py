"""Files that could run code when they are read: none of them does. Each would leave a mark beside the test if it did."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.model.model_files import locate
from core.problems import ConfigError, ModelError
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT, load_for, next_logits, small_config
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
import sys
from core.settings.sections import ModelConfig
from core.problems import ModelError
from core.model.load import load
name, trusted = sys.argv[1:]
try:
    load(ModelConfig(model_name=name, max_seq_length=64, load_in_4bit=False, trust_remote_code=trusted or None))
    print("loaded")
except ModelError as error:
    print(error)
"""
LOOK = """
import sys
from core.settings.sections import DataConfig
from core.problems import DataError
from core.data.prepared.prepare import open_rows
try:
    print(next(iter(open_rows(DataConfig(path=sys.argv[1])))))
except DataError as error:
    print("refused:", error)
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
    assert str(caught.value) == (
        f"{folder} has its weights in {name}, a format that can run code when it is read; this program reads safetensors "
        "only, so choose another, or a copy of it with safetensors."
    )
    assert not mark.exists()


def test_safetensors_that_are_not_the_weights_do_not_let_pickles_in(folder, mark):
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    put_pickle(folder / "pytorch_model.bin", mark)
    with pytest.raises(ModelError, match="has its weights in pytorch_model.bin"):
        locate(ModelConfig(model_name=str(folder)))


@pytest.mark.parametrize(
    ("shard", "says"),
    [
        ("pytorch_model-1.bin", "has its weights in pytorch_model-1.bin, a format that can run code"),
        ("../outside.safetensors", "names '../outside.safetensors' among its weights, which is no file of its own"),
        ("/etc/passwd", "names '/etc/passwd' among its weights"),
        ("model-2.safetensors", "is damaged: model-2.safetensors is missing"),
        (7, "its model.safetensors.index.json cannot be read"),
    ],
)
def test_a_list_of_shards_names_safetensors_of_the_folder_alone(folder, shard, says):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError) as caught:
        locate(ModelConfig(model_name=str(folder)))
    assert says in str(caught.value)


def test_of_both_the_safetensors_are_loaded(unsloth, folder, mark, rows):
    for name in ("pytorch_model.bin", "consolidated.00.pth", "model.pt"):
        put_pickle(folder / name, mark)
    both, clean = (load_for(small_config(model, rows), with_adapter=False) for model in (folder, DEMO))
    assert next_logits(both, prompt="Hello").equal(next_logits(clean, prompt="Hello"))
    assert not mark.exists()


@pytest.mark.parametrize("keeps_safetensors", [False, True])
def test_an_adapter_of_pickles(trained, tmp_path, mark, keeps_safetensors):
    from core.model.load import load

    adapter = Path(shutil.copytree(trained.adapter_dir, tmp_path / "adapter"))
    put_pickle(adapter / "adapter_model.bin", mark)
    put_pickle(adapter / "training_args.bin", mark)
    if keeps_safetensors:
        loaded = load(trained.config.model, None, adapter, use_gradient_checkpointing=False)
        assert next_logits(loaded).equal(trained.logits["trained tuned"])
    else:
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(ModelError, match="has its weights in adapter_model.bin, a format that can run code"):
            load(trained.config.model, None, adapter, use_gradient_checkpointing=False)
    assert not mark.exists()


def test_pickles_on_a_hub_are_not_even_fetched(tmp_path, folder, mark):
    (folder / "model.safetensors").unlink()
    put_pickle(folder / "pytorch_model.bin", mark)
    with Hub({NAME: folder}) as hub:
        answer = Client(tmp_path / "home", hub.address).ask()
        assert answer["error"].startswith(f"{NAME} has its weights in pytorch_model.bin, a format that can run code")
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


@pytest.fixture
def with_code(folder, mark):
    """A model that transformers does not know, whose classes lie in its own folder."""
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel", "AutoModel": "own.OwnModel"}
    change(folder / "config.json", model_type="own", architectures=["OwnModel"], auto_map=classes)
    return folder


def modules_cache(tmp_path) -> dict:
    import os

    return os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "UNSLOTH_DISABLE_STATISTICS": "1"}


def test_code_of_a_model_is_not_run(with_code, mark, tmp_path):
    said = asked(LOAD, str(with_code), "", env=modules_cache(tmp_path))
    assert said == (
        f"{with_code} cannot be loaded without running code of its own, and none is run unasked; choose another, or, if you "
        "have read that code, give the model's exact name under More, Run this model's own code."
    )
    assert not mark.exists()


def test_code_of_a_tokenizer_is_not_run(folder, mark, tmp_path):
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="OwnTokenizer",
        auto_map={"AutoTokenizer": [None, "own.OwnTokenizer"]},
    )
    said = asked(LOAD, str(folder), "", env=modules_cache(tmp_path))
    assert said == "loaded" or "cannot be loaded without running code of its own" in said
    assert not mark.exists()


def test_a_known_model_needs_none_of_the_code_it_brings(folder, mark, tmp_path):
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    change(folder / "config.json", auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"})
    assert asked(LOAD, str(folder), "", env=modules_cache(tmp_path)) == "loaded"
    assert not mark.exists()


def test_code_runs_for_the_one_model_that_is_named(with_code, mark, tmp_path):
    assert asked(LOAD, str(with_code), str(with_code), env=modules_cache(tmp_path)) == "loaded"
    assert mark.exists()


def test_code_of_another_repository_is_not_meant(with_code, mark, tmp_path):
    change(with_code / "config.json", auto_map={"AutoConfig": "other/place--own.OwnConfig"})
    with pytest.raises(ModelError) as caught:
        locate(ModelConfig(model_name=str(with_code), trust_remote_code=str(with_code)))
    assert (
        str(caught.value) == f"{with_code} has code of other/place run, and only its own was allowed; choose another."
    )


def test_trust_is_in_one_model_by_its_name():
    config = RunConfig().with_settings(["model.model_name=a/b", "model.trust_remote_code=a/b"])
    assert config.model.trust_remote_code == "a/b"
    for wrong in ("a/c", "yes", "a/b-bnb-4bit"):
        with pytest.raises(ConfigError) as caught:
            config.with_settings([f"model.trust_remote_code={wrong}"])
        assert "code is run of the model that is loaded, a/b, or of none." in str(caught.value)
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
    assert asked(LOOK, str(folder)).startswith("refused: ")
    with Hub(datasets={"somebody/set": {"main": folder}}) as hub:
        env = {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "home"),
            "PATH": "",
            "HF_DATASETS_TRUST_REMOTE_CODE": "1",
        }
        assert asked(LOOK, "somebody/set", env=env).startswith("refused: ")
        assert [r.path for r in hub.requests if "/resolve/" in r.path and r.path.endswith(".py")] == []
    assert not mark.exists()
