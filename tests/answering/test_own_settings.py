"""Answers do not depend on the generation settings that come with a model; only its end tokens are taken from it."""

import copy
import dataclasses
import json
import shutil

import pytest

from core.answering.greedy import greedy_answers
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.model.adapters_on_base import FIRST_ADAPTER
from core.model.load import load
from core.model.views import for_inference
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT, PROMPT

TOKENS = 6
# Every kind of field in transformers' GenerationConfig: length, search, sampling, penalties, outputs, cache, speed.
SETTINGS = {
    "max_length": 1,
    "max_new_tokens": 1,
    "min_length": 40,
    "min_new_tokens": 40,
    "max_time": 1e-9,
    "stop_strings": ["a", "e", "i", "o", " "],
    "do_sample": True,
    "temperature": 9.0,
    "top_k": 1,
    "num_beams": 3,
    "early_stopping": True,
    "length_penalty": -9.0,
    "num_return_sequences": 2,
    "repetition_penalty": 50.0,
    "no_repeat_ngram_size": 1,
    "bad_words_ids": [[token] for token in range(3, 400)],
    "suppress_tokens": list(range(3, 400)),
    "begin_suppress_tokens": list(range(3, 400)),
    "sequence_bias": [[[5], 1e4]],
    "forced_bos_token_id": 5,
    "forced_eos_token_id": 2,
    "exponential_decay_length_penalty": (1, 9.0),
    "guidance_scale": 9.0,
    "renormalize_logits": True,
    "remove_invalid_values": True,
    "prompt_lookup_num_tokens": 3,
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_attentions": True,
    "output_hidden_states": True,
    "use_cache": False,
    "cache_implementation": "static",
    "pad_token_id": -1,
    "bos_token_id": 5,
    "decoder_start_token_id": 5,
    "token_healing": True,
    "a_field_of_a_later_version": 7,
}


def answers_of(loaded) -> list:
    """Of base and tuned in one pass, of each alone, and in a batch."""
    sampling, found = Sampling(max_new_tokens=TOKENS), []
    for is_pair in (True, False):
        pass_of = dataclasses.replace(loaded, supports_rows=None if is_pair else False)
        *_, pair = stream(pass_of, [PROMPT] * 2, (None, FIRST_ADAPTER), sampling, lambda: False)
        found += [(answer.text, answer.ended) for answer in pair]
    with for_inference(loaded):
        ids = [loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (PROMPT, "A")]
        return [*found, *greedy_answers(loaded, ids, TOKENS, lambda: False)]


def test_settings_of_the_model_change_nothing(trained):
    from transformers import WatermarkingConfig

    loaded, inner = trained.loaded, trained.loaded.model.get_base_model()
    expected, kept = answers_of(loaded), inner.generation_config
    inner.generation_config = copy.deepcopy(kept)
    for name, value in (SETTINGS | {"watermarking_config": WatermarkingConfig(bias=99.0)}).items():
        setattr(inner.generation_config, name, value)
    inner.config.no_repeat_ngram_size = 1  # config.json had such fields in early versions of transformers
    before = copy.deepcopy(vars(inner.generation_config))
    try:
        assert answers_of(loaded) == expected
        assert vars(inner.generation_config) == before
    finally:
        inner.generation_config = kept
        del inner.config.no_repeat_ngram_size
    assert "generation_config" not in vars(loaded.model)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([4, 1], [1, 4]), (1, [1, 4]), (None, [4]), ([1, 99_999, -1, "1", True, [1], 4.0], [1, 4]), ("1", [4])],
)
def test_only_the_end_tokens_that_the_tokenizer_has_are_taken(unsloth, tmp_path, ids, expected):
    folder = shutil.copytree(PROJECT / "presets/demo-llama", tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ids, "num_beams": 4}))
    loaded = load(ModelConfig(model_name=str(folder), max_seq_length=64), use_gradient_checkpointing=False)
    assert loaded.eos_token_ids == expected
