"""Each family, by tiny random models of it: what its layers are called, how many weights it has, what it refuses."""

import json

import pytest

from core.families import (
    DOES,
    FAMILIES,
    LAYER_NAMES,
    LLAMA_LAYERS,
    is_tied,
    layers_for,
    sliding_layers,
)
from core.memory.known_shapes import OTHERS
from core.memory.model_shape import ModelShape
from core.memory.refused_models import EXPERTS, OTHER_SENSES, check_family
from core.problems import ModelError
from core.settings.run_config import RunConfig
from tests.tiny_models import OLDER, TINY, config_of, model_of


def bare_model(kind: str, **changes):
    """The tiny model without values."""
    import torch

    with torch.device("meta"):
        return model_of(kind, **changes)


def test_every_family_has_a_tiny_model():
    assert FAMILIES.keys() == TINY.keys() | OLDER.keys()
    assert {kind for kind, family in FAMILIES.items() if family.is_counted} == TINY.keys()


@pytest.mark.parametrize("kind", FAMILIES)
def test_its_layers_have_the_names_that_the_real_ones_have(unsloth, kind):
    import torch

    linear = [
        name.rpartition(".")[2]
        for name, module in bare_model(kind).named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers.0." in name
    ]
    assert sorted(linear) == sorted(FAMILIES[kind].layers)
    assert sorted(part for name in linear for part in DOES[name]) == sorted(
        part for name in LLAMA_LAYERS for part in DOES[name]
    )


@pytest.mark.parametrize("kind", TINY)
def test_its_shape_has_as_many_weights_as_the_real_one(unsloth, kind):
    model = bare_model(kind)
    shape = ModelShape.build(json.loads(model.config.to_json_string()), kind)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    widths = {
        name.rpartition(".")[2]: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if name.startswith("model.layers.1.") and hasattr(module, "in_features")
    }
    assert shape.linear_widths == widths
    assert shape.tied_embeddings is model.config.tie_word_embeddings
    assert (shape.caps_logits, shape.caps_attention) == ((True, True) if kind == "gemma2" else (False, False))


@pytest.mark.parametrize("kind", TINY)
def test_what_config_json_leaves_unsaid_is_what_transformers_takes(unsloth, kind):
    import transformers

    name, family = TINY[kind][0], FAMILIES[kind]
    config = getattr(transformers, f"{name}Config")()
    assert is_tied({"model_type": kind}) is family.tied is bool(config.tie_word_embeddings)
    assert family.head_dim in (None, getattr(config, "head_dim", None))
    if kind in ("mistral", "gemma2", "gemma3_text"):
        assert family.sliding_window == config.sliding_window
    layers = bare_model(kind).model.layers
    has_norms = any("q_norm" in part for part, _ in layers[0].named_modules())
    norms = [part for part, _ in layers[0].named_parameters() if "norm" in part and "_norm." not in part]
    assert (len(norms), has_norms) == (family.norms, family.head_norms)


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("layers", [2, 7])
def test_the_layers_with_a_window_are_those_of_transformers(unsloth, kind, layers):
    config = config_of(kind, num_hidden_layers=layers, **({"no_rope_layers": None} if kind == "smollm3" else {}))
    types = getattr(config, "layer_types", None)
    if types is None:  # all alike
        types = ["sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"] * layers
    expected = types.count("sliding_attention")
    values = json.loads(config.to_json_string())
    for left_out in ((), ("layer_types",)):
        given = {key: value for key, value in values.items() if key not in left_out}
        assert sliding_layers(given) == ((48, expected) if expected else (None, 0))


# As in the index of their weights, or on their cards.
PUBLISHED = {
    "mistral-7b-instruct-v0.3": 7_248_023_552, "mistral-nemo-instruct-2407": 12_247_782_400,
    "qwen2.5-0.5b": 494_032_768, "qwen2.5-7b": 7_615_616_512, "qwen2.5-14b": 14_770_033_664,
    "qwen3-0.6b": 596_049_920, "qwen3-4b": 4_022_468_096, "qwen3-8b": 8_190_735_360, "qwen3-14b": 14_768_307_200,
    "gemma-2-2b": 2_614_341_888, "gemma-2-9b": 9_241_705_984, "gemma-3-270m": 268_098_176,
    "gemma-3-1b": 999_885_952, "phi-4": 14_659_507_200, "phi-4-mini-instruct": 3_836_021_760,
    "granite-3.2-2b-instruct": 2_533_531_648, "granite-3.2-8b-instruct": 8_170_848_256,
    "smollm3-3b": 3_075_098_624,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_shapes_that_are_known_have_as_many_weights_as_published(name):
    assert ModelShape.build(OTHERS[name], name).parameters == PUBLISHED[name]


@pytest.mark.parametrize(
    ("kind", "names", "layers"),
    [
        ("llama", ["v_proj", "q_proj"], ["q_proj", "v_proj"]),
        ("llama", ["qkv_proj", "down_proj"], ["q_proj", "k_proj", "v_proj", "down_proj"]),
        ("phi3", LLAMA_LAYERS, ["o_proj", "qkv_proj", "gate_up_proj", "down_proj"]),
        ("phi3", ["q_proj"], ["qkv_proj"]),
        ("phi3", ["o_proj"], ["o_proj"]),
        ("phi3", ["qkv_proj", "up_proj"], ["qkv_proj", "gate_up_proj"]),
        ("opt", LLAMA_LAYERS, ["k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2"]),
        ("phi", ["o_proj", "gate_proj"], ["dense", "fc1"]),
        ("gpt2", ["q_proj"], ["q_proj"]),
    ],
)
def test_a_name_stands_for_the_layers_that_do_the_same(kind, names, layers):
    assert layers_for(kind, names) == layers


def test_settings_take_the_names_of_every_family_and_no_others():
    for family in FAMILIES.values():
        config = RunConfig.build({"adapter": {"target_modules": list(family.layers)}})
        assert config.adapter.target_modules == list(family.layers)
    assert RunConfig().adapter.target_modules == list(LLAMA_LAYERS)
    assert RunConfig.faults({"adapter": {"target_modules": ["c_attn"]}}).keys() == {"adapter.target_modules"}
    assert {name for family in FAMILIES.values() for name in family.layers} == set(LAYER_NAMES)


@pytest.mark.parametrize(
    ("values", "template", "instead"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8}, EXPERTS, "mistral"),
        ({"model_type": "qwen3_moe", "num_experts": 128}, EXPERTS, "qwen3"),
        ({"model_type": "qwen2_moe", "num_experts": 60}, EXPERTS, "qwen2"),
        ({"model_type": "granitemoe", "num_local_experts": 40}, EXPERTS, "granite"),
        ({"model_type": "phimoe", "num_local_experts": 16}, EXPERTS, "phi3"),
        ({"model_type": "deepseek_v3", "n_routed_experts": 256}, EXPERTS, "llama"),
        ({"model_type": "gemma3", "vision_config": {}}, OTHER_SENSES, "gemma3_text"),
        ({"model_type": "qwen2_5_vl", "vision_config": {"depth": 32}}, OTHER_SENSES, "qwen2"),
        ({"model_type": "mistral3", "vision_config": {}}, OTHER_SENSES, "mistral"),
        ({"model_type": "mllama", "vision_config": {}}, OTHER_SENSES, "llama"),
        ({"model_type": "of_tomorrow", "audio_config": {}}, OTHER_SENSES, "llama"),
    ],
)
def test_what_cannot_be_trained_is_told_what_to_use_instead(values, template, instead):
    with pytest.raises(ModelError) as caught:
        check_family(values, "owner/model")
    told = {"name": "owner/model", "instead": FAMILIES[instead].instead}
    assert (caught.value.template, caught.value.values) == (template, told)


def test_what_can_be_trained_is_not_refused():
    for kind in FAMILIES:
        check_family({"model_type": kind, "num_experts": None, "num_local_experts": 0}, kind)
