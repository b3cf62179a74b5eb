"""Models that cannot be trained here: each is told what it is, not that it is damaged."""

import gc
import json
import shutil
import sys
from pathlib import Path

import pytest

from core.memory.gguf_models import MADE_FROM, UNKNOWN
from core.memory.model_shape import shape_of
from core.memory.refused_models import EXPERTS, OTHER_SENSES
from core.model.load import load
from core.model.model_files import locate
from core.model.model_kind import IN_4BIT, KINDS, MISNAMED, OTHER_KIND, check_kind
from core.model.new_adapter import NO_SUCH_LAYERS, attach_adapter
from core.model.unsloth_start import NOT_STARTED, import_unsloth
from core.problems import ModelError, Problem, RunError, first_line
from core.runs.adapter_to_continue import find_adapter
from core.runs.run_folder import find_run
from core.settings.sections import AdapterConfig, ModelConfig
from core.workbench.model_slot import ModelSlot
from tests.hub_server import Hub
from tests.model.test_download import NAME, Client

GAPS, REWARD = KINDS["ForMaskedLM"], "ForSequenceClassification"
BOTH, SEES = "an encoder-decoder model", "a model for images or audio"
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 512}


def model_folder(tmp_path: Path, stories: Path, model) -> Path:
    """That model, saved with the tokenizer of the stories."""
    model.save_pretrained(tmp_path / "tiny")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(stories / name, tmp_path / "tiny")
    return tmp_path / "tiny"


def refused(use) -> Problem:
    """The error, which must be one sentence."""
    with pytest.raises(Problem) as caught:
        use()
    text = str(caught.value)
    assert text.endswith(".") and ". " not in text and ".." not in text and "damaged" not in text and "\n" not in text
    return caught.value


@pytest.mark.parametrize(
    ("values", "architecture", "kind"),
    [
        ({"model_type": "bert"}, "BertForMaskedLM", GAPS),
        ({"model_type": "distilbert"}, "DistilBertForMaskedLM", GAPS),
        (
            {"model_type": "llama", "num_labels": 1},
            "LlamaForSequenceClassification",
            KINDS["ForSequenceClassification"],
        ),
        ({"model_type": "qwen2"}, "Qwen2ForTokenClassification", KINDS["ForTokenClassification"]),
        ({"model_type": "t5", "is_encoder_decoder": True}, "T5ForConditionalGeneration", BOTH),
        (
            {"model_type": "bart", "is_encoder_decoder": True},
            "BartForConditionalGeneration",
            "an encoder-decoder model",
        ),
        ({"model_type": "vit", "image_size": 224}, "ViTModel", SEES),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_model_of_another_kind_is_named_before_its_weights_are_read(unsloth, tmp_path, values, architecture, kind):
    (tmp_path / "config.json").write_text(json.dumps(values | {"architectures": [architecture]}))
    error = refused(lambda: check_kind(tmp_path, ModelConfig(model_name="owner/model")))
    told = {"name": "owner/model", "kind": kind, "architecture": architecture}
    assert (error.template, error.values) == (OTHER_KIND, told)


@pytest.mark.parametrize("values", [
    {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    {"model_type": "llama"},
    {"model_type": "llama", "architectures": ["LlamaModel"]},  # with tied embeddings, nothing is missing
    {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"]},
    {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
    {"model_type": "llama", "architectures": ["LamaForCausalLM"]},  # a slip
    {"model_type": "of-tomorrow", "architectures": ["TomorrowForSomething"]},  # the library explains that better
])  # fmt: skip
def test_models_that_may_continue_text_are_not_refused_by_their_kind(unsloth, tmp_path, values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    check_kind(tmp_path, ModelConfig(model_name="owner/model"))


@pytest.mark.parametrize(("values", "template"), [
    ({"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 8}, EXPERTS),
    ({"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "vision_config": {}}, OTHER_SENSES),
    ({"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}, OTHER_SENSES),
])  # fmt: skip
def test_a_kind_that_cannot_be_trained_is_refused_before_its_weights_are_read(unsloth, tmp_path, values, template):
    (tmp_path / "config.json").write_text(json.dumps(values))
    error = refused(lambda: check_kind(tmp_path, ModelConfig(model_name="owner/model")))
    assert error.template == template and error.values["name"] == "owner/model"
    with pytest.raises(ModelError) as told:
        shape_of(ModelConfig(model_name=str(tmp_path)))
    assert told.value.template == template


def test_a_model_without_a_head_is_told_so_when_its_weights_are_read(unsloth, stories, tmp_path):
    from transformers import BertConfig, BertModel

    folder = model_folder(tmp_path, stories, BertModel(BertConfig(**SMALL, intermediate_size=64)))
    error = refused(lambda: load(ModelConfig(model_name=str(folder), load_in_4bit=False)))
    assert error.template == OTHER_KIND and error.values["architecture"] == "BertModel"


def test_a_model_that_cannot_be_loaded_does_not_cost_the_one_that_is(unsloth, stories, tmp_path):
    slot = ModelSlot()
    loaded = slot.load(ModelConfig(model_name=str(stories), max_seq_length=64), None, use_gradient_checkpointing=False)
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForMaskedLM"]}')
    shutil.copy(stories / "model.safetensors", tmp_path)
    refused(lambda: slot.load(ModelConfig(model_name=str(tmp_path)), None))
    assert slot.loaded is loaded


def test_a_model_with_layers_of_other_names_is_told_so(unsloth, stories, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=512, n_embd=32, n_layer=1, n_head=4, n_positions=64))
    config = ModelConfig(model_name=str(model_folder(tmp_path, stories, model)), load_in_4bit=False)
    loaded = load(config, use_gradient_checkpointing=False)
    error = refused(lambda: attach_adapter(loaded, AdapterConfig(target_modules=["q_proj", "up_proj"]), False, 0))
    told = {"model": config.model_name, "kind": "gpt2", "layers": "q_proj, up_proj"}
    assert (error.template, error.values) == (NO_SUCH_LAYERS, told)


def test_weights_in_4_bit_are_not_loaded_in_16_bit(unsloth, stories, tmp_path):
    quantized = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    for name, extra, in_4bit, template in (
        ("mine-bnb-4bit", quantized, False, IN_4BIT),
        ("mine", quantized, False, IN_4BIT),
        ("other-unsloth-bnb-4bit", {}, False, MISNAMED),
        ("other-bnb-4bit", {}, True, MISNAMED),
    ):
        folder = Path(shutil.copytree(stories, tmp_path / name))
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(values | extra))
        error = refused(
            lambda folder=folder, bits=in_4bit: load(ModelConfig(model_name=str(folder), load_in_4bit=bits))
        )
        assert (error.template, error.values) == (template, {"name": str(folder)})


@pytest.mark.parametrize("name", ["Llama-3.2-1B-Instruct-Q4_K_M.gguf", "mine.GGUF", "folder", "missing.gguf"])
def test_a_gguf_cannot_be_trained(tmp_path, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "config.json").write_text('{"model_type": "llama"}')
        (path / "mine-q8_0.gguf").write_text("GGUF")
    elif name != "missing.gguf":
        path.write_text("GGUF")
    other = {"model": "unsloth/llama-3.2-1b-instruct"} if "1B" in name else {}
    for use in (locate, shape_of):
        error = refused(lambda use=use: use(ModelConfig(model_name=str(path))))
        assert (error.template, error.values) == (MADE_FROM if other else UNKNOWN, {"name": str(path)} | other)
    if path.exists():
        error = refused(lambda: find_adapter(tmp_path, str(path)))
        assert isinstance(error, RunError) and error.values["adapter"] == str(path)


@pytest.mark.parametrize("name", ["owner/model-GGUF/model-q8_0.gguf", "hf.co/owner/model-GGUF:Q4_K_M", "C:\\m\\a.gguf"])
def test_a_name_that_only_a_gguf_can_have(name):
    error = refused(lambda: locate(ModelConfig(model_name=name)))
    assert (error.template, error.values) == (UNKNOWN, {"name": name})


def test_a_repository_of_ggufs_cannot_be_trained(tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "config.json").write_text('{"model_type": "llama"}')
    (repository / "model-Q4_K_M.gguf").write_text("GGUF")
    with Hub({NAME: repository}) as hub:
        answer = Client(tmp_path / "home", hub.address).ask()
        assert answer["values"] == {"name": NAME} and "GGUF" in answer["error"]
        assert hub.downloads("model-Q4_K_M.gguf") == []


@pytest.mark.parametrize("path", ["C:\\models\\llama", "\\\\server\\share\\llama", "models\\llama"])
def test_a_path_of_windows_is_shown_as_typed(path, tmp_path):
    for use in (
        lambda: locate(ModelConfig(model_name=path)),
        lambda: find_run(tmp_path, path),
        lambda: find_adapter(tmp_path, path),
    ):
        assert f"{path}" in str(refused(use)) and path.replace("\\", "\\\\") not in str(refused(use))
    assert first_line(FileNotFoundError(2, "No such file", path)).endswith(f"'{path}'")


def test_a_failed_import_of_unsloth_is_a_sentence_each_time(unsloth, stories, monkeypatch):
    monkeypatch.setitem(sys.modules, "unsloth", None)  # Python then refuses to import it
    slot = ModelSlot()
    for _ in range(2):
        error = refused(lambda: slot.load(ModelConfig(model_name=str(stories)), None))
        assert isinstance(error, ModelError) and error.template == NOT_STARTED
        assert slot.state.error == str(error)  # what the page shows
    monkeypatch.undo()
    frozen = gc.get_freeze_count()
    assert import_unsloth() is unsloth
    assert gc.get_freeze_count() == frozen, "a model that is loaded by now would never be freed"
