"""What Gradio's source of the page and its scripts lack when they leave for the browser.

The source says which language the page is in: to the browser, for its fonts, line breaks and spoken words, and to
Gradio, for its own words, which would otherwise be in the browser's language. And it ends a loop of Gradio's that has
no end. The scripts leave out what costs much and does nothing here.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from core.problems import LANGUAGE
from ui.access import route_of
from ui.gradio_patches import in_language, lighter_scripts, with_loader_that_ends
from ui.rewritten import rewriting


class PageSource:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and route_of(scope) == "/":
            send = rewriting(send, lambda page: in_language(with_loader_that_ends(page), LANGUAGE))
        await self._app(scope, receive, send)


def script_routes() -> list[Route]:
    """Routes to go before Gradio's own of the same paths."""
    scripts = lighter_scripts()
    # Not kept by the browser: another program with Gradio, later at the same address, has its own under this path.
    headers = {"cache-control": "no-store"}

    async def answer(request: Request) -> Response:
        return Response(scripts[route_of(request.scope)], headers=headers, media_type="text/javascript")

    return [Route(path, answer) for path in scripts]
