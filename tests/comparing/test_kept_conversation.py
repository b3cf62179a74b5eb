"""A conversation is read back exactly as it was, and from nothing else than what `as_json` writes."""

import json
import math

import pytest

from core.answering.sampling import Answer, Sampling
from core.comparing.conversation import Conversation, as_json
from core.comparing.kept_conversation import MOST_CHARACTERS, MOST_OF_AN_ANSWER, from_json, is_key
from core.runs.adapter_ref import BASE, Pane

RUN, STEP = Pane("20261122-093505-demo-yoda"), Pane("20261122-093505-demo-yoda", 40)
DRAWN = Sampling(temperature=0.7, top_p=0.1 + 0.2, max_new_tokens=8192, seed=2**32 - 1)
EVIL = "</div><script>alert(1)</script>\u2028\0\n한글 😀 \\u0041 \\ud800"
YES, NO = Answer(EVIL, 2, 1 / 3, 0.1, "itself"), Answer("", 0, 0.5, 0.0, "stopped")
CUT = Answer("no", 8192, 1e-7, 1e-7, "limit")
FIRST = Conversation((BASE, RUN, STEP)).asked("One?", EVIL, Sampling()).answered((YES, NO, CUT))
BOTH = FIRST.asked(EVIL, "", DRAWN, is_on_its_own=True).answered((CUT, YES, NO))


@pytest.mark.parametrize("conversation", [FIRST, BOTH, Conversation((STEP,)).asked("?", "", DRAWN).answered((YES,))])
def test_it_is_read_back_exactly(conversation):
    text = as_json(conversation)
    assert from_json(text) == conversation and as_json(from_json(text)) == text


def test_a_conversation_with_nothing_in_it_or_that_is_being_answered_is_none():
    assert from_json(as_json(Conversation())) is None
    assert from_json(as_json(FIRST.asked("Two?", "", Sampling()))) is None


def changed(place: tuple, value) -> str:
    """The text of `BOTH` with something else in one place; the place's last part may be new."""
    told = json.loads(as_json(BOTH))
    part = told
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    return json.dumps(told)


ANSWER = ("turns", 1, "answers", 2)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("panes",), []),
        (("panes",), ["base"]),
        (("panes",), ["base"] * 4),
        (("panes",), "base"),
        (("panes", 1), 5),
        (("panes", 1), ""),
        (("panes", 1), "another"),  # than the answers are from
        (("turns",), []),
        (("turns",), {}),
        (("turns", 0), None),
        (("turns", 0, "question"), None),
        (("turns", 0, "question"), ["One?"]),
        (("turns", 0, "system"), 1),
        (("turns", 0, "is_on_its_own"), 1),
        (("turns", 0, "is_on_its_own"), "false"),
        (("turns", 0, "sampling"), None),
        (("turns", 0, "sampling", "temperature"), -1),
        (("turns", 0, "sampling", "temperature"), math.nan),
        (("turns", 0, "sampling", "temperature"), "0.7"),
        (("turns", 0, "sampling", "top_p"), 0),
        (("turns", 0, "sampling", "max_new_tokens"), 8193),
        (("turns", 0, "sampling", "seed"), 2**32),
        (("turns", 1, "answers"), []),
        ((*ANSWER, "pane"), "base"),
        ((*ANSWER, "text"), "x" * (MOST_OF_AN_ANSWER + 1)),
        ((*ANSWER, "text"), None),
        ((*ANSWER, "tokens"), -1),
        ((*ANSWER, "tokens"), 1.5),
        ((*ANSWER, "tokens"), True),
        ((*ANSWER, "tokens"), 10**30),
        ((*ANSWER, "seconds"), math.inf),
        ((*ANSWER, "seconds"), math.nan),
        ((*ANSWER, "seconds"), -0.1),
        ((*ANSWER, "first_token_s"), "0"),
        ((*ANSWER, "ended"), ""),
        ((*ANSWER, "ended"), "never"),
        ((*ANSWER, "more"), 1),
        (("turns", 0, "more"), 1),
        (("more",), 1),
    ],
)
def test_what_is_not_exactly_a_conversation_is_none(place, value):
    assert from_json(changed(("turns", 0, "question"), "Another?")) is not None, "the change below is what is refused"
    assert from_json(changed(place, value)) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "{", "[]", "[" * 100_000, '"text"', "5", '{"panes": ["base"]}', "\ud800",
        changed(("turns", 0, "question"), "\ud800"), as_json(FIRST)[:-3], as_json(FIRST) * 2,
        as_json(FIRST) + " " * MOST_CHARACTERS,
    ],
)  # fmt: skip
def test_other_texts_are_none(text):
    assert from_json(text) is None


@pytest.mark.parametrize("field", ["text", "pane", "tokens", "ended", "tokens_per_second"])
def test_a_conversation_that_lacks_something_is_none(field):
    told = json.loads(as_json(BOTH))
    del told["turns"][1]["answers"][2][field]
    assert from_json(json.dumps(told)) is None


def test_a_key_is_written_in_one_way():
    assert all(is_key(pane.key) for pane in (BASE, RUN, STEP))
    assert not any(map(is_key, ("", "x" * 301, f"{RUN.key}/checkpoints/step-040")))
