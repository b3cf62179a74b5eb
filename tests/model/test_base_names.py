"""Which model an adapter was made for, in all the ways in which its settings may name it."""

import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from core.model.adapter_files import adapter_files
from core.model.base_names import base_name, is_for
from core.model.load import load
from core.problems import ModelError
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT, small_config, train_for

NAME = "somebody/tiny-stories"
DEMO = "presets/demo-llama"


def adapter(folder: Path, base: object) -> Path:
    """A folder with the settings of an adapter alone."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    return folder


def is_understood(named: str, model_name: str, folder: Path = Path("/nowhere/adapter"), **settings) -> bool:
    found = base_name(named, folder)
    return is_for(found, ModelConfig(model_name=model_name, **settings))


@pytest.mark.parametrize(
    "named",
    [
        NAME,
        "/home/ada/.cache/huggingface/hub/models--somebody--tiny-stories/snapshots/0123abcd",
        "/data/hub/models--somebody--tiny-stories/snapshots/0123abcd/",
        r"C:\Users\ada\.cache\huggingface\hub\models--somebody--tiny-stories\snapshots\0123abcd",
        "D:/hub/models--somebody--tiny-stories/snapshots/0123abcd",
        "hub/models--somebody--tiny-stories/snapshots/0123abcd",
    ],
)
def test_a_model_of_the_hub_by_its_name_and_in_any_cache(named):
    assert is_understood(named, NAME)
    assert not is_understood(named, "somebody/tiny-stories-2") and not is_understood(named, "tiny-stories")
    assert not is_understood(named, DEMO)


def test_a_snapshot_of_another_model_keeps_its_name_for_the_error():
    place = "/hub/models--meta-llama--Llama-3.2-1B/snapshots/0123"
    assert base_name(place, Path("/nowhere")) == "meta-llama/Llama-3.2-1B"
    assert base_name("/hub/models--gpt2/snapshots/0123", Path("/nowhere")) == "gpt2"
    assert is_understood(place, place) and is_understood("meta-llama/Llama-3.2-1B", place)


def test_the_16_bit_weights_of_a_model_with_4_bit_ones():
    place = "/hub/models--unsloth--Llama-3.2-1B/snapshots/0123"
    assert is_understood(place, "unsloth/Llama-3.2-1B-bnb-4bit", load_in_4bit=False)
    assert not is_understood(place, "unsloth/Llama-3.2-1B-bnb-4bit")


@pytest.mark.parametrize(
    "named",
    [
        DEMO, f"./{DEMO}", f"{DEMO}/", str(PROJECT / DEMO), f"{PROJECT / DEMO}/", f"{PROJECT}/core/../{DEMO}",
        "/home/ada/hearthtune/presets/demo-llama", r"C:\Users\ada\hearthtune\presets\demo-llama",
    ],
)  # fmt: skip
def test_a_folder_in_any_form_of_its_path(named, tmp_path):
    assert is_understood(named, DEMO)
    if not named.startswith(("/home", "C:")):
        assert is_understood(named, str(PROJECT / DEMO))
    assert not is_understood(named, NAME)
    other = shutil.copytree(PROJECT / DEMO, tmp_path / "presets" / "demo-llama")
    assert not is_understood(named, str(other)) and not is_understood(str(other), DEMO)


def test_a_folder_by_a_link(tmp_path):
    (tmp_path / "link").symlink_to(PROJECT / DEMO)
    assert is_understood(str(PROJECT / DEMO), str(tmp_path / "link"))
    assert is_understood(str(tmp_path / "link"), DEMO)


@pytest.mark.parametrize("named", ["/home/ada/demo-llama", r"C:\demo-llama", "/presets/demo-llama/old", "demo-llama"])
def test_a_path_that_only_looks_alike_is_another_model(named):
    assert not is_understood(named, DEMO)


def test_an_adapter_in_place_of_a_base_stands_for_its_own_base(tmp_path):
    first = adapter(tmp_path / "first", NAME)
    second = adapter(tmp_path / "second", str(first))
    assert is_understood(str(first), NAME) and is_understood(f"{second}/", NAME)
    assert not is_understood(str(second), DEMO)
    round_and_round = adapter(tmp_path / "round", str(tmp_path / "round"))
    assert not is_understood(str(round_and_round), NAME)
    assert base_name(str(adapter(tmp_path / "none", None)), tmp_path) is None


@pytest.mark.parametrize("place", ["adapter", "checkpoints/step-2"])
@pytest.mark.parametrize("gone", ["/tmp/.part-load-x1", r"C:\runs\first\adapter", "/runs/20260101-000000-a/adapter"])
def test_a_place_that_is_gone_means_the_model_of_the_run(tmp_path, place, gone):
    folder = tmp_path / "run" / place
    assert not is_understood(gone, NAME, folder)
    (tmp_path / "run").mkdir()
    config = RunConfig().with_settings([f"model.model_name={NAME}"])
    (tmp_path / "run" / "config.yaml").write_text(config.to_yaml())
    assert is_understood(gone, NAME, folder) and not is_understood(gone, DEMO, folder)
    # A name that is known here, or one of the hub, is believed.
    assert not is_understood("somebody/else", NAME, folder) and not is_understood(str(PROJECT / DEMO), NAME, folder)


def with_base(run, folder: Path, base: str) -> Path:
    """A copy of a trained adapter that names this base."""
    shutil.copytree(run.adapter_dir, folder)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": base}))
    return folder


def test_the_files_of_an_adapter_with_a_wrong_name_are_read(trained, stories, tmp_path):
    place = "/elsewhere/models--somebody--tiny-stories/snapshots/0123"
    folder = with_base(trained, tmp_path / "adapter", place)
    with adapter_files(folder, stories, ModelConfig(model_name=NAME)) as files:
        found = json.loads((files / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert found == str(stories)
    with pytest.raises(ModelError) as refused, adapter_files(folder, tmp_path, ModelConfig(model_name=DEMO)):
        pass
    assert refused.value.values == {"folder": str(folder), "model": NAME}


def test_a_run_that_continues_another_keeps_the_name_of_the_base(trained, stories, rows, tmp_path, monkeypatch):
    """The base is in the cache of the hub; the adapter and each checkpoint name it by its name, and can be loaded."""
    snapshot = tmp_path / "hub" / "models--somebody--tiny-stories" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(stories)
    monkeypatch.setattr("core.model.load.locate", lambda *args: snapshot)  # what a download returns
    first = with_base(trained, tmp_path / "first", NAME)
    config = small_config(NAME, rows, "training.max_steps=1", "data.validation_share=0")
    loaded = load(config.model, None, first, use_gradient_checkpointing=False)
    train_for(config, tmp_path / "run" / "adapter", loaded=loaded)
    for folder in (tmp_path / "run" / "adapter", tmp_path / "run" / "checkpoints" / "step-1"):
        assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == NAME
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert f"base_model: {NAME}\n" in card and str(tmp_path) not in card
        assert load(config.model, None, folder, use_gradient_checkpointing=False).has_adapter
    assert loaded.model.config._name_or_path == str(snapshot)  # as before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no folders that cannot be written to")
def test_an_adapter_in_a_place_that_cannot_be_written_to(trained, stories):
    """Such as a model's cache that another person owns."""
    with TemporaryDirectory() as name:
        place = with_base(trained, Path(name) / "adapter", NAME)
        for file in place.iterdir():
            file.chmod(0o644)
        person = os.geteuid()
        Path(name).chmod(0o555)
        try:
            if person == 0:  # who may write everywhere
                os.seteuid(65534)
            with adapter_files(place, stories, ModelConfig(model_name=NAME)) as files:
                read = [(files / file).read_bytes() for file in ("adapter_model.safetensors", "tokenizer.json")]
        finally:
            os.seteuid(person)
            Path(name).chmod(0o755)
        assert read == [(place / file).read_bytes() for file in ("adapter_model.safetensors", "tokenizer.json")]
        assert [path.name for path in Path(name).iterdir()] == ["adapter"]
