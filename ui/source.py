"""What Gradio's source of the page lacks when it leaves for the browser.

It says which language the page is in: to the browser, for its fonts, line breaks and spoken words, and to Gradio, for
its own words, which would otherwise be in the browser's language. And it ends a loop of Gradio's that has no end.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from core.problems import LANGUAGE
from ui.access import route_of
from ui.gradio_patches import in_language, with_loader_that_ends
from ui.rewritten import rewriting


class PageSource:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and route_of(scope) == "/":
            send = rewriting(send, lambda page: in_language(with_loader_that_ends(page), LANGUAGE))
        await self._app(scope, receive, send)
