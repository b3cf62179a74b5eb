"""Chat templates that refuse system prompts, or drop them: exact texts in training and in the prompt for an answer."""

import pytest

from core.data.prepared.prepare import prepare
from core.data.prepared.survey import survey
from core.data.prompts.chat_template import chat_pieces
from core.data.prompts.prompt_templates import prompt_text
from core.data.prompts.system_prompts import SYSTEM_MOVED
from core.problems import TemplateError
from core.settings.sections import DataConfig
from core.settings.training_section import TrainingConfig
from tests.conftest import data_file

# In the manner of Gemma: no system prompt at the beginning, and turns alternate.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Turns must alternate') }}{% endif %}"
    "<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
# In the manner of Mistral's first: only the order of turns is checked.
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Turns must alternate') }}{% endif %}"
    "{% if m['role'] == 'user' %}[Q] {{ m['content'] }} [A]{% else %}{{ m['content'] }}<end>{% endif %}{% endfor %}"
)
# Drops without a word what is neither a question nor an answer.
DROPS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[Q] {{ m['content'] }} [A]"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] }}<end>{% endif %}{% endfor %}"
)
# Takes one system prompt, at the beginning.
ONE = (
    "{% for m in messages %}{% if m['role'] == 'system' and not loop.first %}{{ raise_exception('Not here') }}"
    "{% endif %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def said(role: str):
    return lambda content: {"role": role, "content": content}


system, user, assistant = said("system"), said("user"), said("assistant")
BRIEF, ASK, ANSWER = system("Be brief."), user("Why?"), assistant("So.")


@pytest.fixture(params=[GEMMA, MISTRAL, DROPS], ids=["gemma", "mistral", "drops"])
def without_role(request, tokenizer):
    tokenizer.chat_template = request.param
    return tokenizer


@pytest.mark.parametrize(
    ("messages", "same_as"),
    [
        ([BRIEF, ASK, ANSWER], [user("Be brief.\n\nWhy?"), ANSWER]),
        ([BRIEF, system("Be kind."), ASK, ANSWER], [user("Be brief.\n\nBe kind.\n\nWhy?"), ANSWER]),
        ([BRIEF, ANSWER], [user("Be brief."), ANSWER]),
        ([ASK, BRIEF, ANSWER], [user("Why?\n\nBe brief."), ANSWER]),
        ([ASK, ANSWER, BRIEF, user("And?"), ANSWER], [ASK, ANSWER, user("Be brief.\n\nAnd?"), ANSWER]),
        ([ASK, BRIEF, user("And?"), ANSWER], [user("Why?\n\nBe brief.\n\nAnd?"), ANSWER]),
        ([BRIEF, ASK, user("And?"), ANSWER], [user("Be brief.\n\nWhy?\n\nAnd?"), ANSWER]),
        ([BRIEF, ASK, ANSWER, user("And?"), assistant("No.")],
         [user("Be brief.\n\nWhy?"), ANSWER, user("And?"), assistant("No.")]),
        ([system("hy"), ASK, ANSWER], [user("hy\n\nWhy?"), ANSWER]),  # the question has these letters too
        ([system("Q"), ASK, ANSWER], [user("Q\n\nWhy?"), ANSWER]),  # and so has the template
    ],
)  # fmt: skip
def test_a_system_prompt_becomes_a_part_of_the_question(without_role, messages, same_as):
    changes = []
    pieces = chat_pieces(messages, without_role, None, changes.append)
    assert pieces == chat_pieces(same_as, without_role) and changes == [SYSTEM_MOVED]
    asked, answered = messages[:-1], same_as[:-1]
    last = max(place for place, (_, is_trained) in enumerate(pieces) if is_trained)
    before = "".join(text for text, _ in pieces[:last])
    changes.clear()
    assert prompt_text(asked, "chat", without_role, changes.append) == before
    assert prompt_text(answered, "chat", without_role) == before and changes == [SYSTEM_MOVED]


def test_many_turns_after_a_system_prompt(without_role):
    turns = [said(("user", "assistant")[n % 2])(f"turn {n}") for n in range(60)]
    folded = [user("Be brief.\n\nturn 0"), *turns[1:]]
    assert chat_pieces([BRIEF, *turns], without_role) == chat_pieces(folded, without_role)


def test_what_a_template_takes_stays_as_it_is(tokenizer, chat_tokenizer):
    changes = []
    with_two = [BRIEF, system("Be kind."), ASK, ANSWER]
    later = [BRIEF, ASK, ANSWER, system("Be kind."), user("And?"), ANSWER]
    for conversation in (with_two, later):  # published Llama templates have a system role anywhere
        text = "".join(text for text, _ in chat_pieces(conversation, chat_tokenizer, None, changes.append))
        assert "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>" in text
    tokenizer.chat_template = ONE
    whole = [("<system>Be brief.\n\nBe kind.<end><user>Why?<end><assistant>", False), ("So.<end>", True)]
    assert chat_pieces(with_two, tokenizer, None, changes.append) == whole and changes == []
    pieces = chat_pieces(later, tokenizer, None, changes.append)
    assert pieces[0] == ("<system>Be brief.<end><user>Why?<end><assistant>", False)
    assert pieces[2] == ("<user>Be kind.\n\nAnd?<end><assistant>", False) and changes == [SYSTEM_MOVED]


def test_what_else_a_template_refuses_still_leaves_the_row_out(tokenizer):
    tokenizer.chat_template = GEMMA
    for conversation in ([BRIEF, ASK, ANSWER, assistant("No.")], [ASK, user("And?"), ANSWER]):
        with pytest.raises(TemplateError) as told:
            chat_pieces(conversation, tokenizer)
        assert told.value.values == {"error": "Turns must alternate"}


def test_tools_where_there_is_no_system_role(without_role):
    """A template without tools gets them as a system prompt."""
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]}
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds."}}]
    pieces = chat_pieces([BRIEF, user("Add."), call, {"role": "tool", "content": "2"}, ANSWER], without_role, tools)
    assert "Be brief.\n\nYou can call these functions." in pieces[0][0] and '"add"' in pieces[0][0]
    assert [text for text, is_trained in pieces if is_trained] == [
        '{"name": "add", "arguments": {"a": 1}}<end>',
        "So.<end>",
    ]


def test_all_rows_are_used_and_the_page_says_what_became_of_the_system_prompt(
    shared_cases, demo_tokenizer, monkeypatch
):
    template = (shared_cases / "system_role_refused.jinja").read_text(encoding="utf-8")
    monkeypatch.setattr(demo_tokenizer, "chat_template", template)
    config = DataConfig(path=str(shared_cases / "system_role_refused.jsonl"))
    data = prepare(config, demo_tokenizer, 512, True)
    assert (data.rows, data.left_out.total) == (12, 0)
    header = "<|begin_of_text|><|start_header_id|>user\n{}<|eot_id|>\n<|start_header_id|>model\n{}<|eot_id|>\n"
    assert data.preview == tuple(header.format(f"Be short.\n\nName number {n}.", f"It is {n}.") for n in range(3))
    assert survey(data, TrainingConfig(), "<|eot_id|>").warnings == (f"12 of 12 rows: {SYSTEM_MOVED}.",)


def test_only_rows_with_a_system_prompt_are_counted(tmp_path, without_role):
    turns = [{"messages": [*first, ASK, assistant(f"So {n}.")]} for n, first in enumerate([[BRIEF], [], [BRIEF]])]
    data = prepare(data_file(tmp_path / "a.jsonl", *turns), without_role, 512, True)
    assert data.changes == {SYSTEM_MOVED: 2} and len(data.train) == 3
