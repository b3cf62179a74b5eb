"""Loading for real, and the promise that the base stays the base, bit for bit."""

import json
import shutil

import pytest

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
    assert report.dtype in ("bfloat16", "float32") and in_16_bit.is_pristine


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
    assert fresh.equal(next_logits(load_for(trained.config, with_adapter=False)))
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
    assert not reloaded.is_pristine and not trained.loaded.is_pristine


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
    assert f"was made for {trained.config.model.model_name}; choose that model" in refusal(other, trained.adapter_dir)


def test_only_safetensors_are_saved(trained):
    names = {file.name for file in trained.adapter_dir.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in names)


def refusal(folder, adapter_dir=None) -> str:
    with pytest.raises(ModelError) as caught:
        load(
            ModelConfig(model_name=str(folder), max_seq_length=64), None, adapter_dir, use_gradient_checkpointing=False
        )
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return str(caught.value)


def test_a_folder_without_a_model_is_refused(unsloth, tmp_path):
    assert "holds no model: config.json is missing" in refusal(tmp_path)


@pytest.mark.parametrize(
    "fault", [{"model_type": "no-such-kind"}, {"hidden_size": 63}, {"hidden_size": "x"}, {"vocab_size": -1}], ids=str
)
def test_settings_of_a_model_that_cannot_be_are_refused_in_one_sentence(unsloth, stories, tmp_path, fault):
    for file in stories.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((stories / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | fault))
    assert refusal(tmp_path).startswith(f"{tmp_path} could not be loaded: ")


@pytest.mark.parametrize("size", [0, 5, 100_000], ids=lambda size: f"{size} bytes")
def test_weights_that_are_cut_off_are_refused_in_one_sentence(unsloth, stories, tmp_path, size):
    for file in stories.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes((stories / "model.safetensors").read_bytes()[:size])
    assert (
        refusal(tmp_path)
        == f"{tmp_path} is damaged: model.safetensors is cut off or no safetensors; fetch the model again."
    )


@pytest.mark.parametrize("text", [None, "{", "{}"], ids=["gone", "damaged", "empty"])
def test_a_tokenizer_that_cannot_be_read_is_refused_in_one_sentence(unsloth, stories, tmp_path, text):
    for file in stories.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "tokenizer.json").unlink()
    if text is not None:
        (tmp_path / "tokenizer.json").write_text(text)
    assert refusal(tmp_path).startswith(
        f"{tmp_path} {'is damaged: its tokenizer.json' if text == '{' else 'could not be loaded: '}"
    )


def test_damaged_adapters_are_refused_in_one_sentence(unsloth, stories, tmp_path):
    assert refusal(stories, tmp_path / "gone").startswith(f"The adapter in {tmp_path / 'gone'} cannot be read: ")
    for text in ("{", "[]", "{}"):
        (tmp_path / "adapter_config.json").write_text(text)
        assert refusal(stories, tmp_path).startswith(f"The adapter in {tmp_path} cannot be read: ")


def test_an_adapter_without_its_weights_is_refused(trained, stories, tmp_path):
    (tmp_path / "adapter_config.json").write_bytes((trained.adapter_dir / "adapter_config.json").read_bytes())
    assert (
        refusal(stories, tmp_path)
        == f"The adapter in {tmp_path} has no adapter_model.safetensors; choose another, or train it again."
    )


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
