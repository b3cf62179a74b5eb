"""The page's source, which is changed on its way, is as long as its headers say; no other answer is changed."""

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route

from core.threads import in_own_thread
from ui.gradio_patches import in_language, lighter_scripts, with_loader_that_ends
from ui.source import PageSource, script_routes

SOURCE = '<!doctype html>\n<html\n\tlang="en"\n>\n\t<head>\n\t\t<title>한국어</title>'


async def answers(*requests: tuple[str, str]) -> list[httpx.Response]:
    routes = [Route(path, lambda request: HTMLResponse(SOURCE)) for path in ("/", "/live")]
    app = Starlette(routes=routes, middleware=[Middleware(PageSource)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        return [await client.request(method, path) for method, path in requests]


def test_the_page_is_as_long_as_it_says():
    # In a thread of its own: the browser tests leave an event loop running in this one.
    page, head, live = in_own_thread(lambda: asyncio.run(answers(("GET", "/"), ("HEAD", "/"), ("GET", "/live"))))
    assert page.content == in_language(with_loader_that_ends(SOURCE.encode()), "en") and live.text == SOURCE
    lengths = [int(answer.headers["content-length"]) for answer in (page, head, live)]
    assert lengths == [len(page.content), len(page.content), len(live.content)]


def test_the_lighter_scripts_are_sent_and_not_kept():
    async def sent() -> dict[str, httpx.Response]:
        transport = httpx.ASGITransport(Starlette(routes=script_routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return {path: await client.get(path) for path in lighter_scripts()}

    answers = in_own_thread(lambda: asyncio.run(sent()))
    assert {path: answer.text for path, answer in answers.items()} == lighter_scripts()
    assert {answer.headers["cache-control"] for answer in answers.values()} == {"no-store"}
    assert {answer.headers["content-type"] for answer in answers.values()} == {"text/javascript; charset=utf-8"}
