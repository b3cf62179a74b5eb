"""Merged weights: equal to those the model was tried with, for every kind of adapter that can be merged."""

import pytest

from core.export import base_weights
from core.export.base_weights import opened
from core.export.merged_weights import CANNOT_MERGE, HEAD_NOT_TRAINED, merged
from core.model.library_patches.model_parts import is_4bit, weight_as_computed
from core.problems import ModelError
from tests.conftest import PROJECT, fresh_model, next_logits, small_config
from tests.export.conftest import exported, source_of, whole


@pytest.mark.parametrize("name", ["stories", "demo"])
def test_the_base_as_it_was_trained_on_has_the_weights_of_the_loaded_model(unsloth, stories, rows, name):
    folder = stories if name == "stories" else PROJECT / "presets/demo-llama"
    model = fresh_model(small_config(folder, rows)).model
    with opened(folder, in_4bit=True) as weights:
        in_4bit = {f"{layer}.weight" for layer, module in model.named_modules() if is_4bit(module)}
        assert len(in_4bit) == 7 * model.config.num_hidden_layers and weights._quantized == in_4bit
        layers = {f"{layer}.weight": module for layer, module in model.named_modules() if hasattr(module, "weight")}
        layers = {layer: module for layer, module in layers.items() if layer in set(weights.names)}
        assert weights.names == sorted(layers)
        assert [n for n in weights.names if not whole(weights, n).equal(weight_as_computed(layers[n]))] == []


def test_a_merged_model_answers_as_the_model_did(source, trained, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    for dtype, most in {"float32": 5e-4, "float16": 0.1, "bfloat16": 0.5}.items():
        folder = exported(source, "merged", tmp_path / dtype, dtype)
        saved = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
        assert saved.dtype == getattr(torch, dtype)
        trained_logits = next_logits(trained.loaded)
        ids = trained.loaded.tokenizer(["Once upon a time"], add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = saved.float()(ids).logits[:, -1]
        assert (logits - trained_logits).abs().max() < most


ADAPTERS = {
    "LoRA": {},
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "patterns": {"rank_pattern": {"q_proj": 3, "layers.1.mlp.up_proj": 5}, "alpha_pattern": {"q_proj": 7}},
    "trained embeddings": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "single tokens": {"trainable_token_indices": {"embed_tokens": [3, 300, 511]}},
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_merging_is_that_of_peft(stories, tmp_path, kind):
    source, peft = source_of(stories, tmp_path, ADAPTERS[kind])
    expected = peft.merge_and_unload().state_dict()
    with merged(source, "original") as weights:
        for name in weights.names:
            assert weights.shape(name) == tuple(expected[name].shape)
            assert (whole(weights, name) - expected[name]).abs().max() < 2e-6, name
        assert any(weights.is_changed(name) for name in weights.names)


def test_pieces_of_a_few_rows_give_the_same_weights(source, monkeypatch):
    with merged(source) as weights:
        before = {name: whole(weights, name) for name in weights.names}
        monkeypatch.setattr(base_weights, "MAX_PIECE", 1000)
        assert max(len(base_weights.cut(weights.shape(name))) for name in weights.names) > 30
        assert [name for name in weights.names if (whole(weights, name) - before[name]).abs().max() > 1e-6] == []


CANNOT_BE_MERGED = {
    "a bias": ({"lora_bias": True}, CANNOT_MERGE),
    "embeddings without the tied head": ({"target_modules": ["embed_tokens"]}, HEAD_NOT_TRAINED),
}


@pytest.mark.parametrize("what", CANNOT_BE_MERGED)
def test_what_cannot_be_merged_is_refused(stories, tmp_path, what):
    settings, template = CANNOT_BE_MERGED[what]
    source, _ = source_of(stories, tmp_path, settings)
    with pytest.raises(ModelError) as caught, merged(source):
        pass
    assert caught.value.template == template
    assert caught.value.values["folder"] == str(source.adapter_dir)
