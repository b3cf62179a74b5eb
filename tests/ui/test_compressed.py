"""The page's source is compressed for browsers that can unpack it; nothing else is."""

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route

from core.threads import in_own_thread
from ui.compressed import CompressedPage

SOURCE = "<p>components</p>" * 1000


async def answers(*requests: tuple[str, str]) -> list[httpx.Response]:
    """To requests for (path, accepted encoding)."""
    routes = [Route(path, lambda request: HTMLResponse(SOURCE)) for path in ("/", "/live")]
    app = Starlette(routes=routes, middleware=[Middleware(CompressedPage)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return [await client.get(path, headers={"accept-encoding": encoding}) for path, encoding in requests]


def test_only_the_page_is_compressed_and_only_for_who_can_unpack_it():
    requests = ("/", "gzip, br"), ("/live", "gzip, br"), ("/", "identity")
    # In a thread of its own: the browser tests leave an event loop running in this one.
    page, live, plain = in_own_thread(lambda: asyncio.run(answers(*requests)))
    assert [answer.text for answer in (page, live, plain)] == [SOURCE] * 3
    assert page.headers["content-encoding"] == "gzip" and int(page.headers["content-length"]) < len(SOURCE) / 50
    assert "content-encoding" not in live.headers and "content-encoding" not in plain.headers
