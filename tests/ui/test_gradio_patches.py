"""What the page uses of Gradio without a promise in its documentation: when Gradio changes, these fail first."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio.routes import App
from gradio_client import Client
from gradio_client.exceptions import AppError

from ui.gradio_patches import (
    IDLE_SECONDS,
    LIGHTER,
    LOGIN,
    OPEN_BEFORE_LOGIN,
    UNUSED_ROUTES,
    UPDATE,
    UPLOAD,
    component_id,
    in_language,
    is_logged_in,
    lighter_scripts,
    poll_queue_less,
    scope_of_event,
    take_choices_of_now,
    with_loader_that_ends,
    with_properties,
    without_actions,
)

ASSETS = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
ON_REQUEST = {"/docs", "/redoc"}  # closed routes that Gradio has only when it is asked for them


def _path() -> str:
    return scope_of_event().get("path", "")


def _paths() -> Iterator[str]:
    yield "the first step"
    yield _path()


@pytest.fixture(scope="module")
def page():
    """A small page that is served, with a login."""
    with gr.Blocks(analytics_enabled=False) as page:
        text = gr.Textbox("the default of an action", elem_id="text")
        text.change(lambda value: value, text, text, api_name="an_action")
        for name, queue, do in (("now", False, _path), ("queued", True, _path), ("growing", True, _paths)):
            text.input(do, None, text, api_name=name, queue=queue)
        for choice, name in ((gr.Dropdown(["a"]), "choose"), (gr.Dropdown(["a"], value="a"), "choose_now")):
            choice.input(lambda value: value, choice, text, api_name=name)
            page.load(gr.skip, None, choice, api_name=f"skip_{name}")
        take_choices_of_now(choice, lambda: [("A", "a"), ("B", "b")])
    page.launch(auth=("ada", "secret"), prevent_thread_lock=True, inbrowser=False, quiet=True)
    yield page
    page.close()


@pytest.fixture(scope="module")
def server(page):
    return page.app


@dataclass
class Visit:
    """What a browser gets that logs in: its cookies, and the page's source."""

    cookies: list[tuple[str, str]]
    source: bytes


@pytest.fixture(scope="module")
def visit(page):
    with httpx.Client(base_url=page.local_url) as client:
        assert client.post(LOGIN, data={"username": "ada", "password": "secret"}).status_code == 200
        return Visit(list(client.cookies.items()), client.get("/").content)


def paths(server: App) -> set[str]:
    found, waiting = set(), list(server.routes)
    while waiting:
        route = waiting.pop()
        waiting += getattr(getattr(route, "original_router", None), "routes", [])
        if hasattr(route, "path"):
            found.add(route.path)
    return found


def test_it_was_written_against_this_major_version():
    assert version("gradio").split(".")[0] == "6"


def test_the_page_names_a_component_by_its_number(page):
    (text,) = [block for block in page.blocks.values() if block.elem_id == "text"]
    numbers = {part["props"].get("elem_id"): part["id"] for part in page.get_config_file()["components"]}
    assert component_id(text) == str(numbers["text"])


def test_an_update_from_a_script_looks_like_one_from_the_server():
    assert gr.update(value=1) == UPDATE | {"value": 1} and gr.skip() == UPDATE


def test_the_queue_has_the_pause_that_is_set():
    with gr.Blocks() as other:
        pass
    queue = other._queue
    assert queue.sleep_when_free <= IDLE_SECONDS and queue.progress_update_sleep_when_free < 1
    poll_queue_less(other)
    assert queue.sleep_when_free == IDLE_SECONDS and queue.progress_update_sleep_when_free == 1


@pytest.mark.parametrize(("part", "missing"), [('role="tablist"', "ArrowRight"), ("label-wrap", "aria-expanded")])
def test_the_markup_still_lacks_what_the_script_adds(part, missing):
    """When this fails, Gradio may have mended its tabs or accordions: then take that out of `gradio_patches.js`."""
    folder = Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    tabs_or_accordion = [
        text
        for text in (
            file.read_text(encoding="utf-8") for file in folder.glob("Index-*.js") if file.stat().st_size < 60_000
        )
        if part in text
    ]
    assert len(tabs_or_accordion) == 1 and missing not in tabs_or_accordion[0]


@pytest.mark.parametrize(("slow", "light"), LIGHTER, ids=[slow[:24] for slow, _ in LIGHTER])
def test_what_is_made_lighter_is_in_one_script_once(slow, light):
    scripts = [script.read_text(encoding="utf-8") for script in ASSETS.glob("*.js")]
    assert [script.count(slow) for script in scripts if slow in script] == [1]
    changed = list(lighter_scripts().values())
    assert [script.count(slow) for script in changed] == [0, 0]
    assert sum(script.count(light) for script in changed if light) == (1 if light else 0)


def test_a_login_is_recognised_by_its_cookie(server, visit):
    assert is_logged_in(server, visit.cookies)
    assert not is_logged_in(server, [])
    assert not is_logged_in(server, [(name, "another") for name, _ in visit.cookies])
    assert not is_logged_in(server, [("another", value) for _, value in visit.cookies])


def test_a_choice_of_now_is_taken(page):
    client = Client(page.local_url, auth=("ada", "secret"), verbose=False)
    assert client.predict("b", api_name="/choose_now") == "b"
    client.predict(api_name="/skip_choose_now")  # Gradio makes the component anew even for an update of nothing
    assert client.predict("b", api_name="/choose_now") == "b"
    assert client.predict("c", api_name="/choose_now") == "a", "one that is gone"
    with pytest.raises(AppError, match="Value: b is not in the list of choices"):
        client.predict("b", api_name="/choose")


def test_a_handler_finds_its_request_at_once_later_and_in_a_generator(page):
    client = Client(page.local_url, auth=("ada", "secret"), verbose=False)
    queued = "/gradio_api/queue/join"
    assert [client.predict(api_name=f"/{name}") for name in ("queued", "growing")] == [queued, queued]
    with httpx.Client(base_url=page.local_url, cookies=client.cookies) as direct:
        answer = direct.post("/gradio_api/run/now", json={"data": [], "session_hash": "x"})
    assert answer.json()["data"] == ["/gradio_api/run/now"]
    assert scope_of_event() == {}


def test_the_list_of_actions_is_found_in_the_page(visit):
    before, start, rest = visit.source.partition(b"window.gradio_api_info = ")
    actions, end, after = rest.partition(b";</script>")
    assert "/an_action" in json.loads(actions)["named_endpoints"]
    assert without_actions(visit.source) == before + start + b"{}" + end + after


def test_the_language_is_found_in_the_page(visit):
    """Gradio's own words follow it only as long as Gradio asks for `navigator.language`; a test on the Data tab in a
    Korean browser sees to that."""
    start, html, rest = visit.source.partition(b'lang="en"')
    head, tag, after = rest.partition(b"<head>")
    script = b'<script>Object.defineProperty(navigator, "language", {value: "ko"});</script>'
    assert in_language(visit.source, "ko") == start + b'lang="ko"' + head + tag + script + after
    assert in_language(b"<html>", "ko") == b"<html>"


def test_the_loader_s_script_is_the_first_in_the_page(visit):
    """What it is for is tested in the browser, where its loop ends."""
    start, head, after = visit.source.partition(b"<head>")
    changed = with_loader_that_ends(visit.source)
    assert changed.startswith(start + head + b"<script>\n// Gradio's") and changed.endswith(b"</style>" + after)
    assert with_loader_that_ends(b"<html>") == b"<html>"


def config_in(source: bytes) -> dict:
    """The page's components in its source, as the browser reads them."""
    return json.loads(source.partition(b"window.gradio_config = ")[2].partition(b";</script>")[0])


def test_components_begin_with_other_properties(page, visit):
    (text,) = [block for block in page.blocks.values() if block.elem_id == "text"]
    now = {"value": "</script> & 'é'", "visible": False}
    changed = with_properties(visit.source, {component_id(text): now, "4711": {"value": "of another page"}})
    assert changed.count(b"</script>") == visit.source.count(b"</script>")
    expected = config_in(visit.source)
    (props,) = [part["props"] for part in expected["components"] if str(part["id"]) == component_id(text)]
    assert props["value"] == "the default of an action"
    props |= now
    assert config_in(changed) == expected
    before, _, after = visit.source.partition(b"window.gradio_config = ")
    assert changed.startswith(before) and changed.endswith(after.partition(b";</script>")[2])


def test_the_routes_still_have_these_names(server):
    routes = paths(server)
    assert OPEN_BEFORE_LOGIN | {UPLOAD} <= routes
    fixed_parts = [path.partition("{")[0] for path in routes - {"/"}]
    gone = [
        closed
        for closed in UNUSED_ROUTES
        if not any(path.startswith(closed) or closed.startswith(path) for path in fixed_parts)
    ]
    assert set(gone) <= ON_REQUEST
