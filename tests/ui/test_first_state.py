"""The page's source begins with what its parts show now, for the visitor who opens it."""

import asyncio
import json

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route

from core.threads import in_own_thread
from ui.first_state import FirstState
from ui.visitors import VISITOR

CONFIG = {"components": [{"id": 7, "props": {"value": "as built", "elem_id": "side-run"}}, {"id": 8, "props": {}}]}
SOURCE = f"<script>window.gradio_config = {json.dumps(CONFIG)};</script>"


async def answers(*requests: tuple[str, str, str]) -> list[httpx.Response]:
    """To requests of (method, path, visitor); what the page shows a stranger cannot be drawn."""
    routes = [Route(path, lambda request: HTMLResponse(SOURCE)) for path in ("/", "/other")]
    draw = {"ann": {"7": {"value": "Ann's run"}}, "": {}}.__getitem__
    app = Starlette(routes=routes, middleware=[Middleware(FirstState, draw=draw)])
    found = []
    for method, path, visitor in requests:
        transport = httpx.ASGITransport(lambda scope, *rest, who=visitor: app(scope | {VISITOR: who}, *rest))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            found.append(await client.request(method, path))
    return found


def test_only_the_page_is_changed_and_only_for_its_visitor():
    requests = ("GET", "/", "ann"), ("GET", "/", ""), ("GET", "/other", "stranger"), ("HEAD", "/", "stranger")
    # In a thread of its own: the browser tests leave an event loop running in this one.
    ann, nobody, other, head = in_own_thread(lambda: asyncio.run(answers(*requests)))
    config = json.loads(ann.text.removeprefix("<script>window.gradio_config = ").removesuffix(";</script>"))
    assert config["components"][0]["props"] == {"value": "Ann's run", "elem_id": "side-run"}
    assert config["components"][1] == CONFIG["components"][1]
    assert json.loads(nobody.text.removeprefix("<script>window.gradio_config = ").removesuffix(";</script>")) == CONFIG
    assert other.text == SOURCE and head.status_code == 200
    assert [int(answer.headers["content-length"]) for answer in (ann, nobody, other)] == [
        len(answer.content) for answer in (ann, nobody, other)
    ]
