"""Everything this page uses of Gradio that its documentation does not promise, one small function each.

Written against Gradio 6.31.0. `tests/ui/test_gradio_patches.py` has a test for each of these functions; when a newer
Gradio breaks the page, those fail first and name the place. Gradio itself is not imported here, because the command
line needs `ui.access` before it decides to start the page.
"""

import json
import re
from abc import ABCMeta
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr
    from gradio.routes import App

# What an update of a component looks like when a script returns it, as `gr.update` makes it on the server.
UPDATE = {"__type__": "update"}

IDLE_SECONDS = 0.05

# A script to run when the page has loaded. Gradio's tabs are each a stop of the Tab key and have no arrow keys, its
# accordions do not say whether they are open, and its lists stay open when the Tab key leaves them.
MEND_MARKUP = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")

# The list of the page's actions in the page's source. Gradio writes no bare < within it.
_ACTIONS = re.compile(rb"(window\.gradio_api_info = )[^<]*(;</script>)")

_HEAD = re.compile(rb"<html[^>]*>\s*<head>")
_LOADER = Path(__file__).with_name("gradio_loader.html").read_bytes()

_LANGUAGE = re.compile(rb'(<html\s+lang=")en("[^>]*>\s*<head>)')
# Gradio asks the browser for its language, shows its own words in it, and says that the page is in it.
_BROWSERS = '<script>Object.defineProperty(navigator, "language", {value: "LANGUAGE"});</script>'
# The list of the page's components. Gradio escapes <, >, & and ' in both lists.
_COMPONENTS = re.compile(rb"(?<=window\.gradio_config = )[^<]*(?=;</script>)")
_ESCAPED = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "<>&'"})

# What Gradio's scripts do over and over, and what they do here in its place: on a page with many components and events
# it takes most of the time that the page needs to open, and to follow a change in the form.
LIGHTER = (
    # To find a component by its number, a walk through all of them, hundreds of times for each event. They stay where
    # they are, because the page has no gr.render.
    (
        "function Z(e,t){if(e.id===t)return e;if(e.children)for(let n of e.children){let e=Z(n,t);if(e)return e}"
        "return null}",
        "function Z(e,t){let n=Z.known;if(n?.children!==e.children){n=Z.known={children:e.children,nodes:new Map};"
        "let t=e=>{n.nodes.set(e.id,e);e.children?.forEach(t)};t(e)}return n.nodes.get(t)??null}",
    ),
    # For each component, a search through all events for those that it starts.
    (
        "find_attached_events(e,t){let n=t.filter(t=>t.targets.find(([t])=>t===e.id)).map(t=>{let n=t.targets.find("
        "([t])=>t===e.id);return n?n[1]:null}).filter(Boolean);return e.props.shared_props.attached_events=n,e}",
        "find_attached_events(e,t){if(this.searched!==t){this.searched=t;this.events=new Map;for(let{targets:e}of t)"
        "for(let[t,n]of new Map([...e].reverse()))n&&this.events.set(t,[...this.events.get(t)??[],n])}"
        "return e.props.shared_props.attached_events=this.events.get(e.id)??[],e}",
    ),
    # A copy of all properties of each component that starts an event, also for events that need none of them.
    (
        "async set_event_args(e,t){let n={},",
        "async set_event_args(e,t){if(Object.keys(t).length===0)return()=>{};let n={},",
    ),
    # To each component of an event, twice or more, how far the event is. It is shown nowhere: all events here have
    # show_progress="hidden".
    ("async update_loading_stati_state(){await ", "async update_loading_stati_state(){return;await "),
    # To each input of an event, that it is valid. Only a `validator` says otherwise, and no event here has one.
    (
        "o===0&&r.inputs.forEach(e=>{this.update_state_cb(e,{loading_status:{validation_error:null}},!1)}),",
        "",
    ),
)

# What the login form needs, none of it a person's data. Gradio requests startup-events itself while it starts; the
# answer is true or false.
LOGIN = "/login"
OPEN_BEFORE_LOGIN = {
    "/", LOGIN, "/theme.css", "/gradio_api/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
    "/gradio_api/startup-events",
}  # fmt: skip
ASSETS = ("/assets/", "/static/", "/svelte/")
UPLOAD = "/gradio_api/upload"
FILES = ("/gradio_api/file=", "/gradio_api/file/")  # what follows is the path of a file to download

# Routes that this page does not use, each with the reason to close it.
UNUSED_ROUTES = (
    "/gradio_api/component_server",  # unpacks uploads into the system's temporary folder
    "/gradio_api/process_recording",  # so does this
    "/gradio_api/deep_link",  # writes what a page shows to disk
    "/gradio_api/proxy=",  # these four fetch from elsewhere
    "/gradio_api/file=http:",
    "/gradio_api/file=https:",
    "/gradio_api/file/http",
    "/gradio_api/run-history",  # sends what was typed to a bucket
    "/gradio_api/vibe-",  # these two rewrite the program
    "/gradio_api/undo-vibe-",
    "/gradio_api/stream/",
    "/gradio_api/custom_component/",
    "/pwa_icon/",  # fails on an icon in SVG
    "/monitoring",
    "/docs",
    "/redoc",
)


def component_id(component: "gr.components.Component") -> str:
    """The number of a component, by which the page and the server name it. Gradio has no public name for it."""
    return str(component._id)


def poll_queue_less(page: "gr.Blocks") -> None:
    """Looks for queued events 20 times a second instead of 1000, and for their progress once instead of 100 times.

    Gradio's own pace takes a tenth of a core even with no page open, and it has no setting for it. Nothing here uses
    its progress bars.
    """
    page._queue.sleep_when_free = IDLE_SECONDS
    page._queue.progress_update_sleep_when_free = 1


def take_choices_of_now(dropdown: "gr.Dropdown", choices: Callable[[], list[tuple[str, str]]]) -> None:
    """Takes a value that became a choice after the program started. Gradio knows of it only in pages that were updated
    since, and would refuse it to one that has just been opened.

    One that is a choice no longer, on a page that has not been updated yet, counts as the value of the beginning.
    """
    kind, first = type(dropdown), dropdown.value

    def preprocess(self, payload):
        self.choices = choices()
        return kind.preprocess(self, payload if payload in dict(self.choices).values() else first)

    # A class, because Gradio makes the component anew for each update. For a class statement it would write a file.
    dropdown.__class__ = ABCMeta.__new__(type(kind), kind.__name__, (kind,), {"preprocess": preprocess})


def lighter_scripts() -> dict[str, str]:
    """Gradio's scripts that have the texts of `LIGHTER`, by their route, with the others in their place."""
    import gradio as gr

    changed, assets = {}, Path(gr.__file__).parent / "templates" / "frontend" / "assets"
    for script in (*assets.glob("core-*.js"), *assets.glob("Blocks-*.js")):
        before = after = script.read_text(encoding="utf-8")
        for slow, light in LIGHTER:
            after = after.replace(slow, light)
        if after != before:
            changed[f"/assets/{script.name}"] = after
    return changed


def scope_of_event() -> dict:
    """The ASGI scope of the request for which a handler runs; empty outside of one. Also in a generator's later steps,
    and in queued events, which run long after their request was answered."""
    from gradio.context import LocalContext

    request = getattr(LocalContext.request.get(None), "request", None)
    return getattr(request, "scope", None) or {}


def is_logged_in(server: "App", cookies: Iterable[tuple[str, str]]) -> bool:
    """Whether a request with these cookies, as (name, value), has logged in: Gradio's own check, for the routes that
    lack it."""
    names = (f"access-token-{server.cookie_id}", f"access-token-unsecure-{server.cookie_id}")
    return any(name in names and value in server.tokens for name, value in cookies)


def without_actions(page: bytes) -> bytes:
    """The page's source without the list of its actions and their defaults, which Gradio sends with the login form."""
    return _ACTIONS.sub(rb"\1{}\2", page)


def in_language(page: bytes, language: str) -> bytes:
    """The page's source with this language, a code of two letters, as that of its texts and of Gradio's own words."""
    script = _BROWSERS.replace("LANGUAGE", language)
    return _LANGUAGE.sub(rf"\g<1>{language}\g<2>{script}".encode(), page, count=1)


def with_loader_that_ends(page: bytes) -> bytes:
    """The page's source with a script that ends the loop of Gradio's "Loading…" once the page is there, and a style
    that hides the page until then."""
    return _HEAD.sub(lambda found: found[0] + _LOADER, page, count=1)


def with_properties(page: bytes, now: Mapping[str, Mapping]) -> bytes:
    """The page's source, in which components have these properties from the start: {number: {"value": …}}."""

    def changed(found: re.Match[bytes]) -> bytes:
        config = json.loads(found[0])
        for component in config["components"]:
            component["props"].update(now.get(str(component["id"]), {}))
        return json.dumps(config, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPED).encode()

    return _COMPONENTS.sub(changed, page, count=1)
