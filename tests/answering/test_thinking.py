"""Models that think aloud: what they are trained on, what they see of earlier answers, what is measured and shown."""

import pytest

from core.answering.sampling import Answer, Sampling
from core.answering.thinking import split_thinking, spoken
from core.comparing.conversation import Conversation
from core.data.prepared.prepare import prepare
from core.data.prompts.chat_template import chat_pieces
from core.data.prompts.prompt_templates import prompt_text
from core.evaluation.question_rows import row_of
from core.runs.adapter_ref import BASE, Pane
from tests.conftest import data_file
from ui.compare.chat_view import newest_text

# In the manner of Qwen 3 and SmolLM 3: the last answer has a block for thinking, which is empty if nothing was thought;
# earlier answers have none; a prompt for an answer without thinking would have an empty block as well.
THINKS = (
    "{% set at = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set at.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}<turn>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% set parts = m.content.split('</think>') %}{% if loop.index0 > at.last %}<think>\n"
    "{{ parts[0].split('<think>')[-1].strip() if parts | length > 1 }}\n</think>\n\n{% endif %}"
    "{{ parts[-1].lstrip() }}{% else %}{{ m.content }}{% endif %}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
ASK, ANSWER = {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}
THOUGHT = {"role": "assistant", "content": "<think>\nLet me see.\n</think>\n\nSo."}
PROMPT = "<turn>user\nWhy?<end>\n<turn>assistant\n"


@pytest.fixture
def thinking(tokenizer):
    tokenizer.chat_template = THINKS
    return tokenizer


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("So.", ("", "So.")),
        ("<think>\n\n</think>\n\nSo.", ("", "So.")),
        ("<think>\nLet me see.\n</think>\n\nSo.\n", ("Let me see.", "So.\n")),
        ("Let me see.\n</think>\nSo.", ("Let me see.", "So.")),
        ("<think>\nLet me", ("Let me", "")),
        ("<think>", ("", "")),
        ("Write <think> first.", ("", "Write <think> first.")),
        ("", ("", "")),
    ],
)
def test_thinking_and_answer_are_told_apart(text, parts):
    assert split_thinking(text) == parts and spoken(text) == parts[1]


@pytest.mark.parametrize(("answer", "thought"), [(ANSWER, ""), (THOUGHT, "Let me see.")])
def test_the_block_is_trained_on_and_follows_the_prompt_that_is_asked_later(thinking, answer, thought):
    learned = f"<think>\n{thought}\n</think>\n\nSo.<end>"
    assert chat_pieces([ASK, answer], thinking) == [(PROMPT, False), (learned, True), ("\n", False)]
    assert prompt_text([ASK], "chat", thinking) == PROMPT


def test_of_several_turns_the_last_answer_is_trained_on_and_earlier_ones_are_without_thinking(thinking):
    pieces = chat_pieces([ASK, THOUGHT, ASK, THOUGHT], thinking)
    assert [text for text, is_trained in pieces if is_trained] == ["<think>\nLet me see.\n</think>\n\nSo.<end>"]
    assert pieces[0][0] == f"{PROMPT}So.<end>\n{PROMPT}"
    assert prompt_text([ASK, THOUGHT, ASK], "chat", thinking) == pieces[0][0]


@pytest.mark.parametrize("answer", [ANSWER, THOUGHT])
def test_what_is_measured_is_the_answer_alone(thinking, tmp_path, answer):
    data = prepare(data_file(tmp_path / "a.jsonl", {"messages": [ASK, answer]}), thinking, 512, True)
    (example,) = data.train
    row = row_of(example, thinking)
    assert row.reference.removesuffix("<end>") == "So."
    assert thinking.decode(row.question).strip().endswith("assistant")


def test_a_later_question_is_asked_without_the_thinking_before():
    shown = Answer("<think>\nLet me see.\n</think>\n\nSo.", 9, 1.0, 0.5, "itself")
    asked = Conversation((BASE,)).asked("Why?", "", Sampling()).answered([shown]).asked("And?", "", Sampling())
    assert asked.messages(0)[1] == ANSWER


def test_thinking_is_folded_above_the_answer():
    answers = (
        Answer("<think>\nLet <me> see.\n</think>\n\nSo **it** is.", 9, 1.0, 0.5, "itself"),
        Answer("<think>\n\n</think>\n\nSo.", 5, 1.0, 0.5, "itself"),
    )
    conversation = Conversation((BASE, Pane("run"))).asked("Why?", "", Sampling()).answered(answers)
    html = newest_text(conversation)
    assert html.count("<details") == 1 and "&lt;think&gt;" not in html
    assert '<details class="thinking"><summary>Thinking</summary><div>Let &lt;me&gt; see.</div></details>' in html
    assert 'data-copy="So **it** is."' in html and "<strong>it</strong>" in html and "blank" not in html
    thinks_still = conversation.answered([Answer("<think>\nLet me", 3, 1.0, 0.5, ""), answers[1]])
    assert "<div>Let me</div></details>" in newest_text(thinks_still)
