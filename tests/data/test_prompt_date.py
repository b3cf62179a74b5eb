"""Templates that print the date: one day for all that a run writes."""

from datetime import date

import pytest

from core.data.prepared.prepare import prepare
from core.data.prompts.chat_template import chat_pieces
from core.data.prompts.prompt_date import on_date, prints_date
from core.data.prompts.prompt_templates import prompt_text
from tests.conftest import data_file

DAY = date(2024, 1, 2)
ASKED = [{"role": "user", "content": "Say red."}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "red"}]
WORDY = (
    "{{ bos_token }}{% set form = '%A, %Y-%m-%d, %H:%M' %}[{{ strftime_now(form) }}]"
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def llama32(chat_tokenizer, chat_templates):
    template = chat_templates / "meta-llama-Llama-3.2-3B-Instruct.jinja"
    chat_tokenizer.chat_template = template.read_text(encoding="utf-8")
    return chat_tokenizer


def whole(pieces) -> str:
    return "".join(text for text, _ in pieces)


def test_llama_32_prints_the_day_that_it_is_given(llama32):
    dated = on_date(llama32, DAY)
    assert "Today Date: 02 Jan 2024\n" in prompt_text(ASKED, "chat", dated)
    assert "Today Date: 02 Jan 2024\n" in whole(chat_pieces(ANSWERED, dated))
    assert "Today Date: 03 Jan 2024\n" in prompt_text(ASKED, "chat", on_date(dated, date(2024, 1, 3)))
    today = f"Today Date: {date.today():%d %b %Y}\n"
    assert today in prompt_text(ASKED, "chat", llama32) and on_date(llama32, None) is llama32
    assert dated("Say red.")["input_ids"] == llama32("Say red.")["input_ids"]


def test_any_form_of_the_date_and_templates_by_name(chat_tokenizer):
    chat_tokenizer.chat_template = WORDY
    text = "<|begin_of_text|>[Tuesday, 2024-01-02, 00:00]<user>Say red.<|eot_id|><assistant>"
    assert prompt_text(ASKED, "chat", on_date(chat_tokenizer, DAY)) == text
    chat_tokenizer.chat_template = {"default": WORDY, "tool_use": "{{ strftime_now('%Y') }}"}
    assert prompt_text(ASKED, "chat", on_date(chat_tokenizer, DAY)) == text
    assert prints_date(chat_tokenizer, "chat")


def test_a_date_that_the_template_itself_has_stays(chat_tokenizer):
    """Llama 3.1's is always the same, and so are prompts without the chat template."""
    text = prompt_text(ASKED, "chat", on_date(chat_tokenizer, DAY))
    assert "Today Date: 26 Jul 2024\n" in text and text == prompt_text(ASKED, "chat", chat_tokenizer)
    assert not prints_date(chat_tokenizer, "chat")
    chat_tokenizer.chat_template = WORDY
    assert prints_date(chat_tokenizer, "chat") and not prints_date(chat_tokenizer, "alpaca")
    chat_tokenizer.chat_template = None
    assert not prints_date(chat_tokenizer, "chat")


def test_rows_are_prepared_with_the_date(llama32, tmp_path):
    config = data_file(tmp_path / "a.jsonl", {"instruction": "Say red.", "output": "red"})
    data = prepare(config, llama32, 512, True, prompt_date=DAY)
    (example,) = data.train
    text = llama32.decode(example.input_ids)
    assert "Today Date: 02 Jan 2024\n" in text and data.prompt_date == DAY
