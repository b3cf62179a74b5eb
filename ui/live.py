"""Keeps the parts of the page up to date, for any number of open pages at the cost of one.

A page requests the route /live once a second and sends what it saw last; the answer has what changed since, or nothing
if nothing has. A page that is out of view asks every ten seconds, and at once when it is shown again. With many pages
each asks less often, as the answer says: to answer takes the interpreter from a run in progress. The parts are drawn
once per `FRESH_SECONDS`, however many pages ask, and pages that saw the same get the same answer. With Gradio's own
way, an event with all parts as outputs, every part is made twice per answer, changed or not: twenty times the work.

What changes in a tab that is not open is kept in the page and drawn when the tab is opened. Each event that a change
sets off costs the browser as much as drawing all the rest, and most tabs are never opened.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ui.gradio_patches import UPDATE, component_id
from ui.visitors import current_visitor, drawing_for, visitor_of

POLL_SECONDS = 1.0
HIDDEN_SECONDS = 10  # between two polls of a page that is out of view, such as in another tab of the browser
POLLS_PER_SECOND = 8  # of all pages in view together
MOST_DRAWINGS = 300  # of visitors; the one who has not asked for longest is forgotten
FRESH_SECONDS = 0.9  # less than POLL_SECONDS, so that a single page gets something new each time
# Their state is not needed on the server.
DRAWN_BY_THE_PAGE = (gr.HTML, gr.Button, gr.Checkbox, gr.Textbox, gr.File, gr.Slider, gr.CheckboxGroup)

# What the source of a page shows from the start. Not the text boxes: their change sets off what else a page asks for.
IN_THE_SOURCE = (gr.HTML, gr.Button)

# What a page does first when its timer ticks. The ticks that come while one of them waits do nothing.
_PAUSE = """if (performance.now() < window.againLive) return [...PARTS.map(() => same), same];
    if (document.hidden && window.seenLive) {
        if (window.pausedLive) return [...PARTS.map(() => same), same];
        window.pausedLive = true;
        await new Promise(done => {
            document.addEventListener("visibilitychange", done, {once: true});
            setTimeout(done, 1000 * HIDDEN);
        });
        window.pausedLive = false;
    }
    """
_FETCH = """try {
        const page = window.pageLive ??= Math.random().toString(36).slice(2);
        const here = document.hidden ? "" : `&page=${page}`;
        const answer = await fetch(new URL(`live?seen=${window.seenLive ?? ""}${here}FRESH`, document.baseURI));
        // Half a second less, so that a tick which comes a little early counts.
        window.againLive = performance.now() + 1000 * answer.headers.get("pause") - 500;
        if (answer.status === 200) told = await answer.json();
        window.seenLive = told.seen ?? window.seenLive;
    } catch { /* the program has ended, or the page is being closed: the next answer has everything */ }"""
# A tab is shown a moment after it was pressed.
_WAIT = "await new Promise(shown => requestAnimationFrame(() => requestAnimationFrame(shown)));"
# Gradio sets the outputs to what this returns: updates of the parts, and last of the pulse. PARTS has [part, its tab].
_ASK = """async () => {
    const same = UPDATE, kept = window.keptLive ??= {}, open = {"": true};
    let told = {parts: {}};
    FIRST
    for (const [part, update] of Object.entries(told.parts)) kept[part] = {...kept[part], ...update};
    const updates = PARTS.map(([part, tab]) => {
        open[tab] ??= Boolean(document.getElementById(tab)?.checkVisibility());
        if (!kept[part] || !open[tab]) return same;
        const update = kept[part];
        delete kept[part];
        return {...update, ...same};
    });
    return [...updates, told.pulse ?? same];
}"""


class Tab(Protocol):
    """A part of the page. `live` returns what its components show now: {component: {"value": …, "visible": …}}."""

    def live(self) -> dict: ...


class OnceOpen:
    """Parts that are there once their tab is open: a page loads the code of each kind of part that it begins with.

    Those that are hidden for another reason stay so.
    """

    def __init__(self, *parts: gr.components.Component):
        self._parts = [part for part in parts if part.visible]
        for part in self._parts:
            part.visible = False

    def live(self) -> dict:
        return {part: {"visible": True} for part in self._parts}


class Live:
    """The parts of all tabs. Call `connect` while the page is being built, and serve `route` with it.

    `tabs` are drawn always, `in_tabs` while the gr.Tab with that elem_id is open. `begins_with` says what else a page
    shows that is opened now, as {component: {"value": …}}.
    """

    def __init__(
        self,
        tabs: Sequence[Tab],
        in_tabs: Mapping[str, Sequence[Tab]] | None = None,
        fresh_seconds: float = FRESH_SECONDS,
        begins_with: Callable[[], Mapping] = dict,
    ):
        self._begins_with = begins_with
        self._places = {"": tabs, **(in_tabs or {})}
        self._tabs, self._fresh_seconds = [tab for tabs in self._places.values() for tab in tabs], fresh_seconds
        self._lock = threading.Lock()
        self.asked = 0  # how many times pages have asked
        self._drawings: dict[str, _Drawing] = {}  # by visitor, the one who asked last at the end
        self._first: set[gr.components.Component] = set()  # what the page's source shows
        self._pages: dict[str, float] = {}  # those in view, with when each has asked; the last one at the end

    def connect(
        self, page: gr.Blocks, actions: Sequence[gr.events.Dependency] = (), all_tabs: Sequence[gr.Tabs] = ()
    ) -> None:
        """Adds the timer and the events of loading and of opening tabs. A page asks at once after each of `actions`."""
        parts = {}
        for place, part, update in self._now():
            parts[part] = place
            if place and "interactive" in update:
                part.interactive = False  # until the page has been told that it can be used
        drawn = {part: place for part, place in parts.items() if isinstance(part, DRAWN_BY_THE_PAGE)}
        others = [part for part in parts if part not in drawn]
        self._first = {part for part, place in parts.items() if not place and isinstance(part, IN_THE_SOURCE)}
        pulse, memory = gr.Textbox(visible="hidden"), gr.State({})

        def rest(before: dict) -> dict:
            """Updates what the server must know, such as a list's choices, or prepare, such as a file."""
            drawing = self._draw(current_visitor())
            now = {part: drawing.shown[part][1] for part in others if part in drawing.shown}
            changed = {
                part: gr.update(**update) for part, update in now.items() if before.get(component_id(part)) != update
            }
            return changed | {memory: {component_id(part): update for part, update in now.items()}}

        quiet = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
        ids = json.dumps([(component_id(part), place) for part, place in drawn.items()])
        outputs = [*drawn, pulse]

        def script(first: str) -> str:
            return _ASK.replace("FIRST", first).replace("UPDATE", json.dumps(UPDATE)).replace("PARTS", ids)

        later = script(_PAUSE.replace("HIDDEN", str(HIDDEN_SECONDS)) + _FETCH.replace("FRESH", ""))
        at_once = script(_FETCH.replace("FRESH", "&fresh"))
        gr.on([page.load, gr.Timer(POLL_SECONDS).tick], None, None, outputs, js=later, api_name="live", **quiet)
        for action in actions:
            action.then(None, None, outputs, js=at_once, **quiet)
        for tabs in all_tabs:
            tabs.change(None, None, outputs, js=script(_WAIT), **quiet)
        if others:
            pulse.change(rest, [memory], [memory, *others], api_name="rest", **quiet)

    def _now(self) -> Iterator[tuple[str, gr.components.Component, dict]]:
        """Each part with its place and what it shows."""
        for place, tabs in self._places.items():
            for tab in tabs:
                yield from ((place, part, update) for part, update in tab.live().items())

    def first(self, visitor: str) -> dict[str, dict]:
        """What a page that the visitor opens shows from the start, for its source: {component's number: properties}."""
        drawing = self._draw(visitor)
        with self._lock:
            first = {part: update for part, (_, update) in drawing.shown.items() if part in self._first}
        with drawing_for(visitor):
            first |= self._begins_with()
        return {component_id(part): update for part, update in first.items()}

    def route(self) -> Route:
        return Route("/live", self._answer)

    async def _answer(self, request: Request) -> Response:
        visitor = visitor_of(request.scope)
        self.asked += 1
        drawing = self._drawings.get(visitor)
        is_fresh = "fresh" in request.query_params  # something was just done, which the page should show
        if is_fresh or drawing is None or time.monotonic() - drawing.drawn_at > self._fresh_seconds:
            drawing = await anyio.to_thread.run_sync(self._draw, visitor, is_fresh)
        start, _, number = request.query_params.get("seen", "").partition("-")
        seen = int(number) if start == drawing.start and number.isdecimal() and len(number) < 16 else 0
        seen = min(seen, drawing.number)
        # Most pages are on this machine: compressing would cost more than sending.
        pause = self._pause(request.query_params.get("page", ""), time.monotonic())
        headers = {"cache-control": "no-store", "content-encoding": "identity", "pause": f"{pause:g}"}
        if seen == drawing.number > 0:
            return Response(status_code=204, headers=headers)
        return Response(self._changed_since(drawing, seen), media_type="application/json", headers=headers)

    def _pause(self, page: str, now: float) -> float:
        """Seconds until `page` should ask again. One that is out of view has no name."""
        if page:
            self._pages.pop(page[:20], None)
            self._pages[page[:20]] = now
        while self._pages and now - next(iter(self._pages.values())) > 2 * HIDDEN_SECONDS:
            del self._pages[next(iter(self._pages))]
        return min(max(len(self._pages) / POLLS_PER_SECOND, POLL_SECONDS), HIDDEN_SECONDS)

    def _changed_since(self, drawing: "_Drawing", seen: int) -> bytes:
        with self._lock:
            if seen not in drawing.answers:
                changed = {part: update for part, (number, update) in drawing.shown.items() if number > seen}
                drawn = {component_id(p): update for p, update in changed.items() if isinstance(p, DRAWN_BY_THE_PAGE)}
                told = {"seen": f"{drawing.start}-{drawing.number}", "parts": drawn}
                if len(drawn) < len(changed):
                    told["pulse"] = told["seen"]
                drawing.answers[seen] = json.dumps(told, ensure_ascii=False).encode()
            return drawing.answers[seen]

    def _draw(self, visitor: str, is_fresh: bool = False) -> "_Drawing":
        """What the visitor is shown; drawn anew if it is old, or at once if `is_fresh`."""
        with self._lock:
            drawing = self._drawings.pop(visitor, None) or _Drawing()
            self._drawings[visitor] = drawing
            if len(self._drawings) > MOST_DRAWINGS:
                del self._drawings[next(iter(self._drawings))]
            # Of many pages that ask at once, the first draws for all.
            if not is_fresh and time.monotonic() - drawing.drawn_at <= self._fresh_seconds:
                return drawing
            with drawing_for(visitor):
                now = {part: update for tab in self._tabs for part, update in tab.live().items() if update}
            changed = {part: update for part, update in now.items() if drawing.shown.get(part, (0, None))[1] != update}
            if changed:
                drawing.number += 1
                drawing.answers.clear()
                drawing.shown |= {part: (drawing.number, update) for part, update in changed.items()}
            drawing.drawn_at = time.monotonic()
            return drawing


@dataclass
class _Drawing:
    """What all pages of one visitor are shown; on a page without visitors, what all pages are."""

    start: str = field(default_factory=lambda: secrets.token_hex(4))  # a page that saw another gets everything
    drawn_at: float = float("-inf")
    number: int = 0  # of the last change
    shown: dict[gr.components.Component, tuple[int, dict]] = field(
        default_factory=dict
    )  # with the last change's number
    answers: dict[int, bytes] = field(default_factory=dict)  # by the number of the last change seen
