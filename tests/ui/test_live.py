"""What all pages are told: each part once, later what changed, drawn once for all who ask."""

import asyncio

import gradio as gr
import httpx
import pytest
from starlette.applications import Starlette

from core.threads import in_own_thread
from ui.live import Live, OnceOpen
from ui.visitors import VISITOR, current_visitor


class Parts:
    """A tab of three parts whose values a test sets; counts how often it is asked."""

    def __init__(self):
        self.text, self.button, self.list = gr.HTML(), gr.Button(), gr.Dropdown([])
        self.now = {self.text: {"value": "<b>1</b>"}, self.button: {"visible": True}, self.list: {"choices": ["a"]}}
        self.asked = 0

    def live(self) -> dict:
        self.asked += 1
        return dict(self.now)


@pytest.fixture
def tab():
    with gr.Blocks():
        return Parts()


def run(coroutine):
    """In a thread of its own: the browser tests leave an event loop running in this one."""
    return in_own_thread(lambda: asyncio.run(coroutine))


async def get(live: Live, *seen: str, visitor: str = "") -> list[dict | None]:
    """The answers to as many pages that ask at once, all of one visitor; None where nothing is sent."""
    page = Starlette(routes=[live.route()])
    transport = httpx.ASGITransport(lambda scope, receive, send: page(scope | {VISITOR: visitor}, receive, send))
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        answers = await asyncio.gather(*(client.get("/live", params={"seen": number}) for number in seen))
    assert {(answer.status_code, bool(answer.content)) for answer in answers} <= {(200, True), (204, False)}
    return [answer.json() if answer.content else None for answer in answers]


@pytest.fixture
def ask(tab):
    live = Live([tab], fresh_seconds=-1)
    return lambda seen="": run(get(live, seen))[0]


def test_the_first_answer_tells_all_and_a_later_one_what_changed(tab, ask):
    text, button = str(tab.text._id), str(tab.button._id)
    first = ask()
    assert first["parts"] == {text: {"value": "<b>1</b>"}, button: {"visible": True}}
    assert ask(first["seen"]) is None, "nothing has changed, so nothing is sent"
    tab.now[tab.text] = {"value": "é"}
    second = ask(first["seen"])
    assert second["parts"] == {text: {"value": "é"}} and "pulse" not in second
    tab.now[tab.button] = {"visible": False}
    assert ask(second["seen"])["parts"] == {button: {"visible": False}}
    assert set(ask(first["seen"])["parts"]) == {text, button}, "a page that missed one is told both"


def test_a_page_begins_with_what_is_always_drawn_and_not_with_what_sets_off_more():
    with gr.Blocks() as page:
        always, closed, box = Parts(), Parts(), gr.Textbox()
        always.now[box] = {"value": "changed"}
        begins = {always.list: {"value": "a"}}
        live = Live([always], {"a-tab": [closed]}, begins_with=lambda: begins if current_visitor() == "ann" else {})
        live.connect(page)
    first = {str(always.text._id): {"value": "<b>1</b>"}, str(always.button._id): {"visible": True}}
    assert live.first("bob") == first
    assert live.first("ann") == first | {str(always.list._id): {"value": "a"}}
    assert str(box._id) in run(get(live, ""))[0]["parts"]


def test_what_is_there_once_its_tab_is_open_is_not_there_before():
    with gr.Blocks() as page:
        box, hidden = gr.File(), gr.Checkbox(visible=False)
        live = Live([], {"a-tab": [OnceOpen(box, hidden)]})
        live.connect(page)
    (begins,) = [part["props"] for part in page.get_config_file()["components"] if part["id"] == box._id]
    assert begins["visible"] is False and live.first("") == {}
    assert run(get(live, ""))[0]["parts"] == {str(box._id): {"visible": True}}


def test_what_the_server_must_know_of_is_only_announced(tab, ask):
    first = ask()
    assert first["pulse"] == first["seen"]
    tab.now[tab.list] = {"choices": ["a", "b"]}
    second = ask(first["seen"])
    assert second["parts"] == {} and second["pulse"] == second["seen"] != first["pulse"]


@pytest.mark.parametrize("seen", ["x", "0000-1", "-1", "1", "é-²"])
def test_what_was_seen_of_another_program_counts_for_nothing(ask, seen):
    assert ask(seen) == ask()


def test_what_has_nothing_to_say_stays_as_it_was(tab, ask):
    first = ask()
    tab.now[tab.text] = {}
    assert ask(first["seen"]) is None


def test_each_visitor_is_told_of_their_own_and_only_of_that(tab):
    """`current_visitor` says for whom a tab draws; a visitor's pages get what was drawn for that visitor."""
    live = Live([Theirs(tab)], fresh_seconds=60)
    first = {visitor: run(get(live, "", visitor=visitor))[0] for visitor in ("ann", "bob")}
    text = str(tab.text._id)
    assert {visitor: told["parts"] for visitor, told in first.items()} == {
        "ann": {text: {"value": "for ann"}}, "bob": {text: {"value": "for bob"}},
    }  # fmt: skip
    (again,) = run(get(live, first["ann"]["seen"], visitor="bob"))
    assert again["parts"] == first["bob"]["parts"], "what another saw counts for nothing"
    assert current_visitor() == ""


class Theirs:
    """A tab that says for whom it is drawn."""

    def __init__(self, parts: Parts):
        self._text = parts.text

    def live(self) -> dict:
        return {self._text: {"value": f"for {current_visitor()}"}}


def test_fifty_pages_at_once_are_drawn_for_once(tab):
    told = run(get(Live([tab], fresh_seconds=60), *[""] * 50))
    assert len(told) == 50 and all(answer == told[0] for answer in told)
    assert len(told[0]["parts"]) == 2
    assert tab.asked == 1


def test_with_many_pages_each_asks_less_often(tab):
    live = Live([tab])
    pauses = [live._pause(f"page {number}", now=0) for number in range(1, 101)]
    assert (pauses[0], pauses[7], pauses[8], pauses[49], pauses[79], pauses[99]) == (1, 1, 1.125, 6.25, 10, 10)
    assert [live._pause(page, now=1) for page in ("page 1", "page 1", "")] == [10, 10, 10], "they count once, or not"
    assert live._pause("", now=20) == 10 and live._pause("", now=20.5) == 1, "99 pages were closed, and page 1 is left"
    assert live._pages == {"page 1": 1}


def test_a_page_is_told_when_to_ask_again(tab):
    live = Live([tab])

    async def pauses() -> list[str]:
        transport = httpx.ASGITransport(Starlette(routes=[live.route()]))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return [(await client.get(f"/live?page={number}")).headers["pause"] for number in range(20)]

    assert run(pauses()) == ["1"] * 8 + [f"{number / 8:g}" for number in range(9, 21)]
