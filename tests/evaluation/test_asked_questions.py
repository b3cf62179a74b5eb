"""What rows ask, read back from prepared examples: single turns or several, and questions of the validation rows."""

import pytest

from core.data.prepared.prepare import prepare
from core.evaluation.asked_questions import asked_by_rows
from tests.conftest import data_file

QUESTIONS = tuple(f"What is {number} and <one>?" for number in range(10))
SYSTEM = {"role": "system", "content": "Be brief."}


def turns(*contents: str, before=()) -> dict:
    roles = ("user", "assistant") * len(contents)
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    return {"messages": [*before, *messages]}


def asked(tmp_path, tokenizer, rows, template="chat", share=0.5, completion_only_loss=True, **settings):
    """What the rows ask, and the questions in their validation share, as prepared."""
    config = data_file(tmp_path / "rows.jsonl", *rows)
    config = config.model_copy(update={"validation_share": share, "prompt_template": template, **settings})
    return asked_by_rows(prepare(config, tokenizer, 512, completion_only_loss), template, tokenizer)


def assert_questions(found: tuple[str, ...], of=QUESTIONS, count: int = 3) -> None:
    assert len(set(found)) == len(found) == count and set(found) <= set(of)


@pytest.mark.parametrize("template", ["chat", "alpaca"])
@pytest.mark.parametrize("before", [(), (SYSTEM,)], ids=["", "system"])
@pytest.mark.parametrize("kind", ["demo_tokenizer", "chat_tokenizer"])
def test_single_turns(tmp_path, request, kind, before, template):
    rows = [turns(question, f"It is {question}", before=before) for question in QUESTIONS]
    is_single, found = asked(tmp_path, request.getfixturevalue(kind), rows, template)
    assert is_single is True
    assert_questions(found)


def test_questions_in_columns(tmp_path, demo_tokenizer):
    rows = [{"instruction": question, "input": "Say why.", "output": "It is."} for question in QUESTIONS]
    is_single, found = asked(tmp_path, demo_tokenizer, rows)
    assert is_single is True
    assert_questions(found, [f"{question}\n\nSay why." for question in QUESTIONS])


@pytest.mark.parametrize("template", ["chat", "alpaca"])
def test_several_turns_are_said_and_only_what_begins_a_conversation_can_be_asked(tmp_path, demo_tokenizer, template):
    several = [turns(question, "It is.", "Why?", "Who knows?") for question in QUESTIONS]
    assert asked(tmp_path, demo_tokenizer, several, template) == (False, ())
    mixed = [*several[:5], *(turns(question, "It is.") for question in QUESTIONS[5:])]
    is_single, found = asked(tmp_path, demo_tokenizer, mixed, template, share=0.8)
    assert set(found) <= set(QUESTIONS[5:]) and found


def test_turns_are_counted_where_the_questions_are_trained_on_too(tmp_path, demo_tokenizer):
    single = [turns(question, "It is.") for question in QUESTIONS]
    several = [turns(question, "It is.", "Why?", "Who knows?") for question in QUESTIONS]
    found = [asked(tmp_path, demo_tokenizer, rows, completion_only_loss=False) for rows in (single, several)]
    assert found == [(True, ()), (False, ())]


def test_plain_text_asks_nothing(tmp_path, demo_tokenizer):
    assert asked(tmp_path, demo_tokenizer, [{"text": question} for question in QUESTIONS]) == (None, ())


def test_a_template_of_ones_own_asks_once(tmp_path, demo_tokenizer):
    rows = [{"q": question, "a": "It is."} for question in QUESTIONS]
    template = "Q: {q} A: {a}"
    assert asked(tmp_path, demo_tokenizer, rows, template) == (True, ())
    is_single, found = asked(tmp_path, demo_tokenizer, rows, template, response_starts_after=" A:")
    assert is_single is True
    assert_questions(found, [f"Q: {question} A:" for question in QUESTIONS])  # the chat sends it as it is


def test_no_held_out_rows_no_questions(tmp_path, demo_tokenizer):
    assert asked(tmp_path, demo_tokenizer, [turns(text, "Yes.") for text in QUESTIONS], share=0) == (True, ())


def test_what_is_too_long_or_there_twice_is_not_shown(tmp_path, demo_tokenizer):
    rows = [turns("word " * 100, "Yes.") if number % 2 else turns("Who?", "I.") for number in range(20)]
    assert asked(tmp_path, demo_tokenizer, rows) == (True, ("Who?",))
