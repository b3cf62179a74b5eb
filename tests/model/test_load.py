"""Loading real models, and that the base with its adapter off stays the same, bit for bit."""

import json
import shutil
from pathlib import Path

import pytest

from core.memory.cards import this_machine
from core.memory.hardware import detect_machine
from core.model.load import load
from core.model.new_adapter import attach_adapter
from core.problems import ModelError
from core.settings.sections import AdapterConfig, ModelConfig
from tests.conftest import load_for, next_logits, small_config


@pytest.fixture(scope="module")
def in_16_bit(unsloth, stories):
    config = ModelConfig(model_name=str(stories), max_seq_length=128, load_in_4bit=False)
    return load(config, use_gradient_checkpointing=False)


def test_what_was_loaded_in_4_bit(trained, stories):
    report = trained.loaded.report
    assert (report.parameters, report.linear_layers, report.linear_layers_4bit) == (260032, 36, 35)
    assert (report.tied_embeddings, report.has_chat_template) == (True, False)
    assert (report.name, report.max_seq_length, report.device) == (str(stories), 128, "cpu")
    assert 0 < report.memory_gib < 0.001


def test_the_report_of_a_tuned_model_is_that_of_its_base(trained, reloaded):
    same = {"parameters", "linear_layers", "linear_layers_4bit", "tied_embeddings", "dtype", "max_seq_length", "name"}
    assert reloaded.report.model_dump(include=same) == trained.loaded.report.model_dump(include=same)


def test_what_was_loaded_in_16_bit(in_16_bit):
    report = in_16_bit.report
    assert (report.parameters, report.linear_layers, report.linear_layers_4bit) == (260032, 36, 0)
    is_16_bit = this_machine(detect_machine()).has_bfloat16  # else Unsloth computes in 32-bit
    assert report.dtype == ("bfloat16" if is_16_bit else "float32") and not in_16_bit.has_adapter


def test_precision_as_asked_for(unsloth, stories):
    config = ModelConfig(model_name=str(stories), max_seq_length=64, load_in_4bit=False, dtype="float32")
    loaded = load(config, use_gradient_checkpointing=False)
    assert loaded.report.dtype == "float32"
    # The same weights as in the file, to the bit.
    from safetensors.torch import load_file

    saved = load_file(stories / "model.safetensors")["model.embed_tokens.weight"]
    assert loaded.model.get_input_embeddings().weight.equal(saved.float())


def test_the_base_answers_bit_for_bit_as_freshly_loaded(trained, reloaded):
    fresh = trained.logits["fresh base"]
    assert fresh.shape == (1, 512)
    assert fresh.equal(next_logits(load(trained.config.model, use_gradient_checkpointing=False)))
    assert fresh.equal(trained.logits["attached base"])
    assert fresh.equal(trained.logits["attached tuned"])  # a fresh adapter adds nothing
    assert fresh.equal(trained.logits["trained base"])
    assert fresh.equal(next_logits(trained.loaded, base=True))
    assert fresh.equal(next_logits(reloaded, base=True))


def test_tuned_is_the_same_in_memory_and_read_back_from_disk(trained, reloaded):
    tuned = trained.logits["trained tuned"]
    assert not tuned.equal(trained.logits["fresh base"])
    assert tuned.equal(next_logits(trained.loaded))
    assert tuned.equal(next_logits(reloaded))
    assert reloaded.has_adapter and trained.loaded.has_adapter


def test_base_and_tuned_in_16_bit(in_16_bit):
    fresh = next_logits(in_16_bit)
    attach_adapter(in_16_bit, AdapterConfig(r=4), False, 3407)
    assert fresh.equal(next_logits(in_16_bit, base=True)) and fresh.equal(next_logits(in_16_bit))
    for name, weight in in_16_bit.model.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            weight.data.add_(0.01)
    assert fresh.equal(next_logits(in_16_bit, base=True))
    assert not fresh.equal(next_logits(in_16_bit))


def test_tied_embeddings_stay_one(trained, reloaded):
    for loaded in (trained.loaded, reloaded):
        weights = {
            name.rpartition(".modules_to_save")[0].rpartition(".")[2]: weight.data_ptr()
            for name, weight in loaded.model.named_parameters(remove_duplicate=False)
            if ".modules_to_save." in name
        }
        assert set(weights) == {"embed_tokens", "lm_head"} and len(set(weights.values())) == 1


def test_an_adapter_names_its_base_as_the_settings_do_and_is_left_as_it_is(trained, tmp_path):
    moved = tmp_path / "adapter"
    moved.mkdir()
    for file in trained.adapter_dir.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    before = {file.name: file.read_bytes() for file in moved.iterdir()}
    assert json.loads(before["adapter_config.json"])["base_model_name_or_path"] == trained.config.model.model_name
    loaded = load(trained.config.model, None, moved, use_gradient_checkpointing=False)
    assert next_logits(loaded).equal(trained.logits["trained tuned"])
    assert {file.name: file.read_bytes() for file in moved.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_the_adapter_of_another_model_is_refused(trained, stories, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(stories, other)
    assert refusal(other, trained.adapter_dir).values == {
        "folder": str(trained.adapter_dir),
        "model": trained.config.model.model_name,
    }


def test_only_safetensors_are_saved(trained):
    names = {file.name for file in trained.adapter_dir.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in names)


def refusal(folder, adapter_dir=None) -> ModelError:
    """The error of loading it, which must be one line."""
    config = ModelConfig(model_name=str(folder), max_seq_length=64)
    with pytest.raises(ModelError) as caught:
        load(config, None, adapter_dir, use_gradient_checkpointing=False)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return caught.value


@pytest.fixture
def copied(unsloth, stories, tmp_path):
    """The stories in a folder of their own, to be damaged."""
    return Path(shutil.copytree(stories, tmp_path / "model"))


def told(error: ModelError) -> dict:
    """Its values, without the reason that a library gave."""
    return {name: value for name, value in error.values.items() if name != "reason"}


def test_a_folder_without_a_model_is_refused(unsloth, tmp_path):
    assert refusal(tmp_path).values == {"name": str(tmp_path)}


@pytest.mark.parametrize(
    ("fault", "has_reason"),
    [
        ({"model_type": "no-such-kind"}, True),
        ({"hidden_size": 63}, True),
        ({"hidden_size": "x"}, True),
        ({"vocab_size": -1}, True),
        ({"hidden_act": "swoosh"}, False),
    ],
    ids=["model_type", "odd size", "size of text", "negative size", "activation"],
)
def test_impossible_settings_of_a_model_are_refused(copied, fault, has_reason):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | fault))
    error = refusal(copied)
    assert told(error) == {"name": str(copied)} and ("reason" in error.values) == has_reason


def test_weights_of_other_shapes_than_the_settings_say_are_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"intermediate_size": 100}))
    with pytest.raises(ModelError, match="shapes") as caught:
        load(ModelConfig(model_name=str(copied), max_seq_length=64, load_in_4bit=False))
    assert caught.value.values == {"name": str(copied)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_a_weight_that_is_nan_or_infinite_is_refused(copied, value):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = value
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    config = ModelConfig(model_name=str(copied), max_seq_length=64, load_in_4bit=False)
    with pytest.raises(ModelError, match="NaN") as caught:
        load(config, use_gradient_checkpointing=False)
    assert caught.value.values == {"name": str(copied)}


def test_a_model_of_which_a_weight_is_missing_is_refused(copied):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    error = refusal(copied)
    assert error.values == {"name": str(copied)} and "missing" in str(error)


@pytest.mark.parametrize("size", [0, 5, 100_000], ids=lambda size: f"{size} bytes")
def test_weights_that_are_cut_off_are_refused(copied, size):
    (copied / "model.safetensors").write_bytes((copied / "model.safetensors").read_bytes()[:size])
    assert refusal(copied).values == {"name": str(copied), "file": "model.safetensors"}


@pytest.mark.parametrize(
    ("text", "file"),
    [(None, None), ("{", "tokenizer.json"), ("{}", None)],
    ids=["gone", "damaged", "empty"],
)
def test_a_tokenizer_that_cannot_be_read_is_refused(copied, text, file):
    (copied / "tokenizer.json").unlink()
    if text is not None:
        (copied / "tokenizer.json").write_text(text)
    error = refusal(copied)
    assert told(error) == {"name": str(copied)} | ({"file": file} if file else {})


def test_damaged_settings_of_an_adapter_are_refused(unsloth, stories, tmp_path):
    error = refusal(stories, tmp_path / "gone")
    assert told(error) == {"folder": str(tmp_path / "gone"), "file": "adapter_config.json"}
    assert str(error.values["reason"]) == "the file is missing"
    for text, has_reason in (("{", True), ("[]", True), ("{}", False)):
        (tmp_path / "adapter_config.json").write_text(text)
        error = refusal(stories, tmp_path)
        assert told(error) == {"folder": str(tmp_path), "file": "adapter_config.json"}
        assert ("reason" in error.values) == has_reason


def test_an_adapter_without_its_weights_is_refused(trained, stories, tmp_path):
    (tmp_path / "adapter_config.json").write_bytes((trained.adapter_dir / "adapter_config.json").read_bytes())
    assert refusal(stories, tmp_path).values == {"folder": str(tmp_path), "file": "adapter_model.safetensors"}


def test_a_model_is_as_it_was_after_an_answer(trained):
    loaded = trained.loaded
    asking = {name for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    next_logits(loaded, base=True)
    assert {name for name, weight in loaded.model.named_parameters() if weight.requires_grad} == asking != set()


def test_the_settings_reach_the_adapter(unsloth, stories, rows):
    config = small_config(
        stories, rows, "adapter.r=4", "adapter.use_rslora=no", "adapter.lora_alpha=12", "adapter.modules_to_save=[]",
        "adapter.target_modules=[q_proj, v_proj]", "adapter.lora_dropout=0.25",
    )  # fmt: skip
    adapter = load_for(config).model.peft_config["default"]
    assert (adapter.r, adapter.use_rslora, adapter.lora_alpha, adapter.lora_dropout) == (4, False, 12, 0.25)
    assert set(adapter.target_modules) == {"q_proj", "v_proj"} and not adapter.modules_to_save
