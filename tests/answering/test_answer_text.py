"""An answer that grows shows whole characters only, and at its end everything that the model wrote."""

import pytest

from core.answering.answer_text import answer_text
from core.answering.stream import _Answers

TEXT = "Hmm 😀 가나 é The 👩‍👩‍👧"  # emoji, Hangul, capital letters: several tokens for each


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def growing(tokenizer, ids: list[int], limit: int) -> list:
    """The states of an answer that gets these tokens one by one."""
    answers = _Answers(tokenizer, [tokenizer.eos_token_id], 1, limit, 0.0)
    return [*(answers.add([token])[0] for token in ids), answers.finish()[0]]


@pytest.mark.parametrize("which", ["demo_tokenizer", "marking_tokenizer", "tokenizer"])
@pytest.mark.parametrize("end", ["", "\ufffd"])
def test_no_half_character_is_shown_and_one_that_was_written_stays(request, which, end):
    tokenizer = request.getfixturevalue(which)
    whole = TEXT + end
    ids = ids_of(tokenizer, whole)
    assert len(ids) > len(whole.encode()) / 4
    *states, _ = growing(tokenizer, [*ids, tokenizer.eos_token_id], limit=1000)
    assert all(not set(state.text) & {"\ufffd", "\x0e"} for state in states[:-1])
    texts = [state.text for state in states[:-1]]
    assert all(whole.startswith(text) for text in texts), "and nothing of it is taken back"
    assert (states[-1].text, states[-1].ended) == (whole, "itself")


@pytest.mark.parametrize("ended", ["limit", "stopped"])
def test_a_character_that_was_cut_off_is_left_out_and_one_that_was_written_is_not(demo_tokenizer, ended):
    emoji = ids_of(demo_tokenizer, "\ufffd 😀")
    assert demo_tokenizer.decode(emoji[:-1]).endswith(" \ufffd")
    assert answer_text(demo_tokenizer, emoji[:-1], ended) == "\ufffd "
    written = ids_of(demo_tokenizer, "a \ufffd\ufffd")
    assert answer_text(demo_tokenizer, written, ended) == "a \ufffd\ufffd"
    assert answer_text(demo_tokenizer, [*written, emoji[-2]], ended)[:4] == "a \ufffd\ufffd"
    assert answer_text(demo_tokenizer, written) == "a ", "it may be half a character until the answer has ended"


@pytest.mark.parametrize("ended", ["limit", "stopped"])
def test_a_mark_for_a_capital_letter_that_never_came_is_left_out(marking_tokenizer, ended):
    mark = ids_of(marking_tokenizer, "so The")
    assert "\x0e" in marking_tokenizer.decode(mark[:-1])
    assert answer_text(marking_tokenizer, mark[:-1], ended) == "so"


def test_a_stopped_answer_keeps_what_was_written(demo_tokenizer):
    *states, stopped = growing(demo_tokenizer, ids_of(demo_tokenizer, "a \ufffd"), limit=1000)
    assert states[-1].text == "a " and (stopped.text, stopped.ended) == ("a \ufffd", "stopped")
