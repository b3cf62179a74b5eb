"""The tokens that end an answer: the tokenizer's, and the one that its chat template puts behind an answer."""

import pytest

from core.data.prepared.prepare import prepare
from core.data.prepared.row_view import end_mark, view
from core.data.prepared.rows_fingerprint import are_the_rows_of, rows_fingerprint
from core.data.prepared.survey import survey
from core.data.prompts.answer_ends import answer_ends, template_end
from core.settings.training_section import TrainingConfig
from tests.conftest import data_file as write

ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}


def template_ending(end: str) -> str:
    return (
        "{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>{{ m.content }}" + end + "{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>{% endif %}"
    )


@pytest.fixture
def base_tokenizer(chat_tokenizer):
    """A tokenizer as base models have it: its end of text is not what its chat template puts behind an answer."""
    chat_tokenizer.eos_token = "</s>"
    chat_tokenizer.add_tokens(["<|plain|>"])  # added, but not special
    chat_tokenizer.add_tokens(["  "])  # as tokenizers for code have it
    return chat_tokenizer


@pytest.mark.parametrize(
    ("end", "mark"),
    [
        ("<|eot_id|>", "<|eot_id|>"),
        ("<|eot_id|>\n", "<|eot_id|>"),
        (" \n  <|eot_id|>", "<|eot_id|>"),
        ("<|plain|>\n", "<|plain|>"),
        ("<|eot_id|></s>", "<|eot_id|>"),
        (" [the end] <|eot_id|>", "<|eot_id|>"),
        ("{{ eos_token }}", "</s>"),
        ("{% if m.role == 'assistant' %}<|eot_id|>{% else %}<|plain|>{% endif %}", "<|eot_id|>"),
        ("", None),
        ("\n", None),  # an answer may have lines
        ("###", None),
        ("</turn>", None),  # several tokens of ordinary text
        ("{{ raise_exception('no') }}", None),
        ("{{ nothing.at.all }}", None),
    ],
)
def test_the_end_mark_of_a_template(base_tokenizer, end, mark):
    base_tokenizer.chat_template = template_ending(end)
    token = None if mark is None else base_tokenizer.convert_tokens_to_ids(mark)
    assert template_end(base_tokenizer) == token
    eos = base_tokenizer.eos_token_id
    assert answer_ends(base_tokenizer) == ([eos] if token in (None, eos) else [token, eos])
    assert end_mark(base_tokenizer, [eos]) == (mark or "</s>")


def test_without_a_template_the_tokenizers_token_is_the_only_one(base_tokenizer):
    base_tokenizer.chat_template = None
    assert answer_ends(base_tokenizer) == [base_tokenizer.eos_token_id]
    base_tokenizer.eos_token = None
    assert answer_ends(base_tokenizer) == [] and end_mark(base_tokenizer, []) == ""


@pytest.mark.parametrize("has_eos", [True, False])
def test_the_templates_end_mark_counts_as_one(base_tokenizer, tmp_path, has_eos):
    if not has_eos:
        base_tokenizer.eos_token = None
    config = write(tmp_path / "rows.jsonl", ROW, ROW)
    data = prepare(config, base_tokenizer, 512, True)
    assert data.train.figures["ends"].tolist() == [True, True]
    ends = answer_ends(base_tokenizer)
    assert survey(data, TrainingConfig(), end_mark(base_tokenizer, ends)).without_end == 0
    row = view(data.train, 0, base_tokenizer, ends, False)
    assert (row.end_name, row.end_is_trained) == ("<|eot_id|>", True)


def test_rows_are_the_same_as_when_only_the_tokenizers_token_counted(base_tokenizer, tmp_path):
    config = write(tmp_path / "rows.jsonl", ROW, ROW)
    data = prepare(config, base_tokenizer, 512, True)
    before = prepare(config, base_tokenizer, 512, True, end_ids=[base_tokenizer.eos_token_id])
    assert before.train.figures["ends"].tolist() == [False, False]
    assert are_the_rows_of(rows_fingerprint(before), data) and are_the_rows_of(rows_fingerprint(data), data)
    others = prepare(write(tmp_path / "rows.jsonl", ROW), base_tokenizer, 512, True)
    assert not are_the_rows_of(rows_fingerprint(before), others)
