"""The estimate of each family, against what autograd keeps and against the bytes of real models."""

import json
from dataclasses import replace

import pytest

from core.disk.sizes import GIB
from core.families import FAMILIES
from core.memory.activations_and_logits import layer_kept, logits_at_the_loss, logits_while_layers_go_back
from core.memory.cards import Card, find_card
from core.memory.estimate import estimate, verdict
from core.memory.known_shapes import OTHERS
from core.memory.model_shape import ModelShape, shape_of
from core.memory.weights_and_states import adapter_parameters, weights
from core.memory.workload import Workload, workload
from core.settings.presets import find_preset
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT
from tests.memory.saved_tensors import bytes_saved
from tests.tiny_models import TINY, model_of

ESTIMATED = tuple(TINY)
BATCH, LENGTH = 2, 64
WIDE = {"hidden_size": 128, "intermediate_size": 352}


def saved_bytes(kind: str, targets, attention: str, layers: int, vocab: int = 512) -> tuple[int, ModelShape]:
    """The bytes that a tiny model with an adapter saves for the backward pass of one step, and its shape."""
    import torch
    from peft import LoraConfig, get_peft_model

    changes = WIDE | {"num_hidden_layers": layers, "vocab_size": vocab, "attn_implementation": attention}
    if kind == "smollm3":
        changes["no_rope_layers"] = [1] * layers
    if "sliding_window" in TINY[kind][1] and TINY[kind][1]["sliding_window"]:
        changes["layer_types"] = ["sliding_attention"] * layers
    if kind == "mistral":
        del changes["layer_types"]
    bare = model_of(kind, **changes)
    shape = ModelShape.build(json.loads(bare.config.to_json_string()), kind)
    model = get_peft_model(bare.to(torch.bfloat16), LoraConfig(r=4, target_modules=list(targets)))
    for weight in model.parameters():
        weight.data = weight.data.float() if weight.requires_grad else weight.data
    return bytes_saved(model, torch.arange(BATCH * LENGTH).reshape(BATCH, LENGTH)), shape


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ESTIMATED)
def test_a_layer_keeps_what_autograd_keeps(unsloth, kind, attention):
    targets = FAMILIES[kind].layers
    few, _ = saved_bytes(kind, targets, attention, 2)
    many, shape = saved_bytes(kind, targets, attention, 4)
    work = Workload(
        shape=shape, batch=BATCH, length=LENGTH, r=4, targets=targets, kernels="torch", attention=attention,
        adapter_inputs="copied",
    )  # fmt: skip
    found = layer_kept(work, is_sliding=bool(shape.sliding_layers))
    # Besides, each adapted matrix keeps r values of each token and its own weights in 16-bit, and the attention a sum.
    assert found <= (many - few) / 2 / work.tokens <= 1.04 * found


def test_capped_logits_keep_one_more_value_each(unsloth):
    of_a_token = {}
    for kind in ("gemma2", "gemma3_text"):
        few, _ = saved_bytes(kind, ["q_proj"], "eager", 1, 512)
        many, shape = saved_bytes(kind, ["q_proj"], "eager", 1, 1024)
        of_a_token[kind] = (many - few) / 512 / BATCH / LENGTH
        assert shape.caps_logits is (kind == "gemma2")
    # What is left of each logit: its softmax in 32-bit, and of a capped one its tanh in 16-bit.
    assert of_a_token["gemma2"] - of_a_token["gemma3_text"] == pytest.approx(2, abs=0.05)
    plain, capped = (ModelShape.build(OTHERS[name], name) for name in ("gemma-3-1b", "gemma-2-2b"))
    for loss, more in (("full", 2), ("fused", 2)):
        works = [Workload(shape=shape, batch=1, length=64, loss=loss) for shape in (plain, capped)]
        per_logit = [logits_at_the_loss(work) / work.shape.vocab_size / 64 for work in works]
        assert per_logit[1] - per_logit[0] == pytest.approx(more), loss
        assert logits_while_layers_go_back(works[1]) == 0


@pytest.mark.parametrize("kind", ESTIMATED)
def test_weights_and_adapter_are_those_of_the_real_model_in_4bit(unsloth, tiny_models, kind):
    from core.model.load import load
    from core.model.new_adapter import attach_adapter

    config = RunConfig().with_settings([f"model.model_name={tiny_models(kind)}", "adapter.modules_to_save=[]"])
    loaded = load(config.model, use_gradient_checkpointing=False)
    shape = shape_of(config.model)
    assert shape.parameters == loaded.report.parameters
    assert loaded.report.linear_layers_4bit == 2 * len(FAMILIES[kind].layers)
    element = loaded.model.get_input_embeddings().weight.element_size()
    work = workload(config, shape, False, element == 2, float("inf"), None)
    assert weights(replace(work, quantization="nf4-dq")) == pytest.approx(loaded.report.memory_gib * GIB, rel=0.1)
    attach_adapter(loaded, config.adapter, False, 0)
    trained = sum(weight.numel() for weight in loaded.model.parameters() if weight.requires_grad)
    assert adapter_parameters(work) == trained


def test_what_a_card_computes_with_is_chosen_by_the_family():
    card = Card(name="a card", memory_gib=24)

    def work(name: str, on_gpu: bool = True) -> Workload:
        config = RunConfig().with_settings([f"model.model_name={name}"])
        return workload(config, shape_of(config.model, fetch=False), on_gpu, True, 24.0, None)

    def of(found: Workload) -> tuple:
        return found.kernels, found.attention, found.loss, found.adapter_inputs

    assert of(work("unsloth/Qwen3-4B-bnb-4bit")) == ("unsloth", "flash", "fused", "shared")
    assert of(work("unsloth/gemma-2-2b-it-bnb-4bit")) == ("unsloth", "eager", "fused", "shared")
    assert of(work("unsloth/gemma-3-1b-it-bnb-4bit")) == ("torch", "sdpa", "fused", "copied")
    assert of(work("unsloth/Qwen3-4B-bnb-4bit", on_gpu=False)) == ("torch", "sdpa", "cpu", "copied")
    assert of(work("unsloth/gemma-2-2b-it-bnb-4bit", on_gpu=False)) == ("torch", "sdpa", "full", "copied")
    phi = work("unsloth/Phi-4-mini-instruct-bnb-4bit")
    assert phi.targets == ("o_proj", "qkv_proj", "gate_up_proj", "down_proj")
    config = RunConfig().with_settings(["model.model_name=unsloth/Phi-4-mini-instruct-bnb-4bit"])
    by_its_own_names = config.with_settings(["adapter.target_modules=[o_proj, qkv_proj, gate_up_proj, down_proj]"])
    shape = shape_of(config.model, fetch=False)
    assert estimate(config, shape, card).parts == estimate(by_its_own_names, shape, card).parts


def test_a_window_shorter_than_the_rows_costs_a_mask_and_every_heads_keys():
    shape = ModelShape.build(OTHERS["gemma-3-1b"] | {"head_dim": 256}, "it")
    short, long = (
        Workload(shape=shape, batch=1, length=length, kernels="torch", attention="sdpa", checkpointing=False)
        for length in (511, 512)
    )
    assert (shape.sliding_window, shape.sliding_layers) == (512, 22)
    assert layer_kept(short, is_sliding=True) == layer_kept(short) == layer_kept(long)
    # Four query heads share one head of keys and values, each of 256 features in 16-bit; and the mask in 16-bit.
    assert layer_kept(long, is_sliding=True) - layer_kept(long) == 2 * 2 * 3 * 256 + 2 * 512


def test_heads_of_their_own_size_and_tied_heads_are_counted():
    shape = shape_of(ModelConfig(model_name="unsloth/Qwen3-0.6B"), fetch=False)
    assert (shape.hidden_size, shape.query_width, shape.key_width) == (1024, 2048, 1024)
    tied = shape_of(ModelConfig(model_name="unsloth/gemma-2-2b"), fetch=False)
    whole = Workload(shape=tied, batch=1, length=1, quantization="none")
    assert weights(whole) == 2 * tied.parameters and tied.vocab_size == 256_000


OF_OTHER_FAMILIES = {
    "6 GB": {"granite-3.2-2b": "2.9", "gemma-3-1b": "3.4"},
    "8 GB": {"qwen3-4b": "4.4", "smollm3-3b": "4.5", "gemma-2-2b": "4.8", "phi-4-mini": "4.9"},
    "12 GB": {"mistral-7b": "6.7", "qwen2.5-7b": "8.3"},
    "16 GB": {"qwen3-14b": "11.5"},
}


@pytest.mark.parametrize("card", OF_OTHER_FAMILIES)
def test_presets_of_other_families_fit_their_cards_as_the_readme_says(card):
    found = {}
    for name in OF_OTHER_FAMILIES[card]:
        preset = find_preset(name)
        shape = shape_of(preset.config.model, fetch=False)
        assert preset.card == card and shape.model_type != "llama"
        assert set(preset.config.adapter.target_modules) <= set(shape.family.layers)
        estimated = estimate(preset.config, shape, find_card(card))
        assert verdict(estimated, find_card(card)) == "fits"
        found[name] = f"{estimated.total_gib:.1f}"
    assert found == OF_OTHER_FAMILIES[card]
    readme = (PROJECT / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in readme if line.startswith(f"| {card} |") and f"`{next(iter(found))}`" in line)
    assert all(f"`{name}`" in row for name in found)
    assert min(found.values(), key=float) in row and max(found.values(), key=float) in row
