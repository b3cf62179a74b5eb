"""Says in the page's source which language the page is in: to the browser, for its fonts, line breaks and spoken words,
and to Gradio, for its own words, which would else be in the browser's language."""

from starlette.types import ASGIApp, Receive, Scope, Send

from core.problems import LANGUAGE
from ui.access import route_of
from ui.gradio_patches import in_language
from ui.rewritten import rewriting


class SpokenPage:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and route_of(scope) == "/":
            send = rewriting(send, lambda page: in_language(page, LANGUAGE))
        await self._app(scope, receive, send)
