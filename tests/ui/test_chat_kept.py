"""What the chat takes from a browser that had it open before: its conversation and panes, and nothing malformed."""

import json
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import pytest

from core.answering.sampling import Answer, Sampling
from core.comparing.conversation import Conversation, as_json
from core.runs.adapter_ref import BASE, Pane
from core.workbench.desk import LOADING
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from ui.compare.chat_kept import MOST_OF_A_VISITOR, KeptPanes, kept_panes
from ui.compare.chat_tab import CompareTab
from ui.compare.chat_words import OTHER_PANES

ONE, TWO = Pane("one"), Pane("two")
EVIL = "<img src=x onerror=window.pwned=1>"
SAID = Answer(EVIL, 1, 0.5, 0.25, "itself")
ASKED = Conversation((BASE, ONE)).asked("Who?", "", Sampling()).answered((SAID, SAID))


@pytest.fixture
def tab(runs_dir):
    """The chat with a base loaded, and on it the adapter of run `one`; run `two` could be put on it as well."""
    with gr.Blocks():
        tab = CompareTab(Workbench(runs_dir), gr.Textbox())
    tab._workbench.lab.choices = lambda: [BASE, ONE, TWO]
    tab._workbench._slot.state = ModelState(adapter="one")
    return tab


def values_of(tab) -> dict:
    """What a page sends that has just been opened."""
    sampled = dict(zip(tab.sampling.inputs, ("", 0, 1, 8, 1), strict=True))
    chosen = dict(zip(tab.picker.choices, ("base", "", ""), strict=True))
    asked = {tab.conversation: Conversation(), tab.prompt: "", tab.differ: False, tab.alone: False}
    return asked | chosen | sampled | {tab.picker.shown_for: "base"}


def kept(*panes: str, loaded: str = "one", alone: bool = True) -> str:
    return json.dumps({"panes": panes, "loaded": loaded, "alone": alone})


def back(tab, chat="", panes="", asked_before=()) -> dict:
    values = values_of(tab)
    values[tab.conversation] = Conversation((BASE,), asked_before)
    return tab._come_back(values, gr.EventData(None, {"chat": chat, "panes": panes}))


def chosen(tab, told: dict) -> list[str]:
    return [told[choice]["value"] for choice in tab.picker.choices]


def test_the_conversation_and_the_panes_are_there_again(tab):
    told = back(tab, as_json(ASKED), kept("base", "one", ""))
    assert told[tab.conversation] == ASKED and told[tab.as_json] == as_json(ASKED)
    assert chosen(tab, told) == ["base", "one", ""] and told[tab.changed] == ""
    assert (told[tab.alone], told[tab.alone_for], told[tab.picker.set_for]) == (True, ("one",), "one")
    assert told[tab.tools]["visible"] and told[tab.retry]["visible"] and told[tab.new]["visible"]
    assert "Who?" in told[tab.panes] and "<img" not in told[tab.panes] and "&lt;img src=x" in told[tab.panes]


def test_other_panes_than_the_conversation_s_are_said(tab):
    told = back(tab, as_json(ASKED), kept("base", "one", "two"))
    assert chosen(tab, told) == ["base", "one", "two"] and OTHER_PANES in told[tab.changed]
    told = back(tab, as_json(ASKED))
    assert tab.picker.left not in told and OTHER_PANES in told[tab.changed], "the panes were not kept"
    told = back(tab, panes=kept("base", "one", "two"))
    assert tab.conversation not in told and chosen(tab, told) == ["base", "one", "two"]


def test_nothing_is_loaded_and_only_what_can_be_asked_is_chosen(tab, monkeypatch):
    loaded = []
    monkeypatch.setattr(tab._workbench.lab, "load_run", lambda *_: loaded.append(_))
    told = back(tab, panes=kept("gone", "base", "two"))
    assert chosen(tab, told) == ["base", "base", "two"], "as they were but for the one of another base"
    tab._workbench.lab.choices, tab._workbench._slot.state = lambda: [BASE], ModelState()
    told = back(tab, as_json(ASKED), kept("base", "one", ""))
    assert chosen(tab, told) == ["base", "", ""] and told[tab.picker.set_for] == "base"
    assert told[tab.conversation] == ASKED and OTHER_PANES in told[tab.changed]
    assert (told[tab.alone], told[tab.alone_for]) == (True, ("one",)), "for when that run is chosen again"
    assert loaded == []


@pytest.mark.parametrize(
    ("now", "then", "wanted"),
    [
        ("one", "one", ["base", "", ""]),  # a person had removed it
        ("one", "base", ["base", "one", ""]),  # it was loaded since
        ("two", "one", ["base", "two", ""]),
        ("", "one", ["base", "", ""]),
    ],
)
def test_a_run_that_was_loaded_since_is_shown(tab, monkeypatch, now, then, wanted):
    monkeypatch.setattr(tab.picker, "_choices", lambda: [(name, name) for name in ("base", "one", "two")])
    tab._workbench._slot.state = ModelState(adapter=now)
    told = back(tab, panes=kept("base", "", "", loaded=then))
    assert chosen(tab, told) == wanted


def test_the_page_does_not_change_the_panes_that_came_back_with_what_is_loaded(tab):
    assert tab.picker._follow("one", "one", "base", "two", "") == [gr.skip()] * 5
    loaded, shown_for, *updates = tab.picker._follow("two", "one", "base", "one", "")
    assert loaded == shown_for == "two" and [update["value"] for update in updates] == ["base", "two", ""]


def test_a_page_that_has_not_heard_of_the_run_that_is_loaded_asks_it_too(tab):
    values = values_of(tab)
    panes, told = tab.picker.settled(values)
    assert panes == (BASE, ONE) and chosen(tab, told) == ["base", "one", ""]
    assert told[tab.picker.set_for] == told[tab.picker.shown_for] == "one"
    values[tab.picker.shown_for] = "one"
    assert tab.picker.settled(values) == ((BASE,), {}), "a person has removed it"
    first, error = tab._ask(values_of(tab) | {tab.prompt: "Who?"})
    assert first[tab.conversation].panes == (BASE, ONE) and chosen(tab, first) == ["base", "one", ""]
    assert first[tab.prompt] == "" and error[tab.prompt] == error[tab.unasked] == "Who?", "no model is loaded here"


def test_a_question_waits_for_the_run_that_is_being_loaded(tab, wait_until):
    desk = tab._workbench.desk
    tab._workbench._slot.state = ModelState()
    with ThreadPoolExecutor() as executor:
        with desk.taken(LOADING):
            settled = executor.submit(tab.picker.settled, values_of(tab))
            wait_until(lambda: desk._changed._waiters, "the question to wait")
            tab._workbench._slot.state = ModelState(adapter="one")
        panes, told = settled.result(60)
    assert panes == (BASE, ONE) and told[tab.picker.set_for] == "one"


def test_asking_again_waits_for_it_too(tab, wait_until):
    desk, values = tab._workbench.desk, values_of(tab) | {tab.conversation: ASKED}
    with ThreadPoolExecutor() as executor:
        with desk.taken(LOADING):
            asked = executor.submit(lambda: list(tab._retry(values)))
            wait_until(lambda: desk._changed._waiters, "the question to wait")
            tab._workbench._slot.state = ModelState(adapter="two")
        _, first, _ = asked.result(60)
    assert first[tab.conversation].panes == (BASE, TWO) and chosen(tab, first) == ["base", "two", ""]


def test_two_runs_stay_when_only_their_base_is_loaded(tab):
    assert [update["value"] for update in tab.picker.panes_for("base", "one", "two", "")] == ["one", "two", ""]


def test_a_visitor_s_conversation_comes_back_if_it_is_short(tab):
    long = ASKED.answered((SAID, Answer("x" * MOST_OF_A_VISITOR, 1, 0.5, 0.25, "itself")))
    assert back(tab, as_json(long))[tab.conversation] == long
    tab._workbench.rules = "In turns."
    assert back(tab, as_json(ASKED))[tab.conversation] == ASKED
    assert tab.conversation not in back(tab, as_json(long))


def test_what_was_asked_meanwhile_stays(tab):
    begun = ASKED.without_last().asked("Now?", "", Sampling())
    assert back(tab, as_json(ASKED), kept("base", "one", ""), begun.turns) == {tab.trouble: gr.skip()}


@pytest.mark.parametrize(
    "panes",
    [
        "", "null", "[]", "{", 5, None, ["base"], {"panes": []}, "\ud800", " " * 900_001,
        kept("base", "one"), kept("base", "one", "", ""), kept("base", "one", None), kept("base", "one", 5),
        kept("x" * 301, "", ""), kept("one/checkpoints/step-007", "", ""), kept("base", "", "", loaded=[]),
        kept("base", "", "", alone=1), kept("base", "", "")[:-1] + ', "more": 1}',
    ],
)  # fmt: skip
def test_malformed_panes_are_none(tab, panes):
    assert kept_panes(gr.EventData(None, {"panes": kept("base", "one", "")})) == KeptPanes(
        panes=("base", "one", ""), loaded="one", alone=True
    )
    assert kept_panes(gr.EventData(None, {"panes": panes})) is None
    assert back(tab, "{", panes) == {tab.trouble: gr.skip()}


@pytest.mark.parametrize("sent", [{}, {"chat": 5, "panes": 5}, {"chat": ["x"], "panes": {"panes": "x"}}])
def test_a_client_that_sends_anything_else_gets_nothing(tab, sent):
    assert tab._come_back(values_of(tab), gr.EventData(None, sent)) == {tab.trouble: gr.skip()}
