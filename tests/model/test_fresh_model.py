"""Copies of a loaded model (`fresh_model`) train and answer bit for bit like a freshly loaded one."""

import copy

import pytest

from core.model.load import load
from core.model.new_adapter import attach_adapter
from tests.conftest import PROMPT, differing, fresh_model, greedy_text, next_logits, small_config, train_for


def trained_as(config, folder, loaded):
    """Adapter weights, losses, logits and an answer after training `loaded`, whose adapter is attached already."""
    from safetensors.torch import load_file

    _, events, _ = train_for(config, folder, loaded=loaded)
    losses = [event.loss for event in events if event.type == "step"]
    weights = load_file(folder / "adapter_model.safetensors")
    return weights, losses, next_logits(loaded), greedy_text(loaded, PROMPT, 8)


@pytest.mark.parametrize("precision", ["model.load_in_4bit=yes", "model.dtype=float32"])
def test_a_copy_trains_and_answers_bit_for_bit_like_a_freshly_loaded_model(unsloth, stories, rows, tmp_path, precision):
    config = small_config(stories, rows, "model.load_in_4bit=no", precision, "adapter.lora_dropout=0.1")

    def attached(loaded):
        attach_adapter(loaded, config.adapter, False, config.training.seed)
        return loaded

    loaded = load(config.model, use_gradient_checkpointing=False)
    base = next_logits(loaded)
    of_base = attached(copy.deepcopy(loaded))
    of_adapter = copy.deepcopy(attached(copy.deepcopy(loaded)))
    weights, losses, logits, answer = trained_as(config, tmp_path / "copy", of_base)
    others = trained_as(config, tmp_path / "copy-with-adapter", of_adapter)
    assert next_logits(loaded).equal(base) and not loaded.has_adapter
    originals = trained_as(config, tmp_path / "original", attached(loaded))
    assert len(losses) == 2 and not logits.equal(base)
    for other in (others, originals):
        assert differing(weights, other[0]) == []
        assert other[1] == losses and other[2].equal(logits) and other[3] == answer


def test_copies_share_no_weight_and_no_module_and_tied_weights_stay_tied(unsloth, stories, rows):
    config = small_config(stories, rows)
    first, second = fresh_model(config).model, fresh_model(config).model
    places = {weight.data_ptr() for weight in first.parameters()}
    assert len(places) > 1 and not places & {weight.data_ptr() for weight in second.parameters()}
    assert not {id(module) for module in first.modules()} & {id(module) for module in second.modules()}
    for model in (first, second):
        assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
