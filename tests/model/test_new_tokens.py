"""Chat templates by name: what they write, and where a model has room for their tokens."""

import json
import shutil
from typing import get_args

import pytest

from core.data.prompts.named_templates import NAMED
from core.model.load import load, load_tokenizer
from core.model.new_tokens import NO_ROOM, give_chat_template
from core.problems import ModelError
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT

SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Hi "},
    {"role": "assistant", "content": "Hello."},
]
WRITTEN = {
    "chatml": "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    "Hello.<|im_end|>\n<|im_start|>assistant\n",
    "llama-3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "zephyr": "<s><|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello.</s>\n<|assistant|>\n",
}


def named(name: str, model: str = "stories") -> ModelConfig:
    return ModelConfig(model_name=model, chat_template=name)


def test_each_choice_has_a_template():
    assert ["", *NAMED] == list(get_args(ModelConfig.model_fields["chat_template"].annotation))


@pytest.mark.parametrize("name", NAMED)
def test_what_a_template_writes(tokenizer, name):
    given, ids = give_chat_template(tokenizer, named(name), rows=600)
    assert given.apply_chat_template(SAID, tokenize=False, add_generation_prompt=True) == WRITTEN[name]
    assert ids == tuple(range(512, 512 + len(NAMED[name].marks)))


def test_no_name_leaves_the_models_own(chat_tokenizer):
    own = chat_tokenizer.chat_template
    given, ids = give_chat_template(chat_tokenizer, named(""), rows=0)
    assert given is chat_tokenizer and (given.chat_template, ids) == (own, ())


def test_tokens_that_are_there_are_not_new(chat_tokenizer):
    given, ids = give_chat_template(chat_tokenizer, named("llama-3"), rows=0)
    assert (given.chat_template, ids) == (NAMED["llama-3"].jinja, ())


def test_a_model_without_room_is_refused(unsloth, stories):
    for read in (load, load_tokenizer):
        with pytest.raises(ModelError) as refused:
            read(named("chatml", str(stories)))
        assert refused.value.template == NO_ROOM
        assert refused.value.values == {
            "model": str(stories), "tokens": "<|im_start|>, <|im_end|>", "name": "chatml"
        }  # fmt: skip
    assert load_tokenizer(named("zephyr", str(stories))).tokenizer.chat_template == NAMED["zephyr"].jinja


def test_tokens_kept_in_reserve_get_other_names_and_keep_their_ids(unsloth, tmp_path):
    base = shutil.copytree(PROJECT / "presets/demo-llama", tmp_path / "base")
    (base / "chat_template.jinja").unlink()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (base / name).read_text(encoding="utf-8")
        for number, token in enumerate(("<|start_header_id|>", "<|end_header_id|>")):
            text = text.replace(json.dumps(token), json.dumps(f"<|reserved_special_token_{number}|>"))
        (base / name).write_text(text, encoding="utf-8")
    loaded = load(named("chatml", str(base)), use_gradient_checkpointing=False)
    tokenizer = loaded.tokenizer
    assert (loaded.new_ids, tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])) == ((2, 3), [2, 3])
    assert "<|reserved_special_token_0|>" not in tokenizer.get_vocab() and len(tokenizer) == loaded.embeddings
    assert tokenizer("<|im_start|>user", add_special_tokens=False)["input_ids"][0] == 2
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("right", "<|finetune_right_pad_id|>")
    assert loaded.report.chat_template == "chatml" and 3 in loaded.eos_token_ids
    tokenizer.save_pretrained(tmp_path / "saved")
    again = type(tokenizer).from_pretrained(tmp_path / "saved")
    assert again.get_vocab() == tokenizer.get_vocab() and again.chat_template == NAMED["chatml"].jinja
