"""Compresses the page's source, which describes all of its components: 430 kB that become 43.

Gradio compresses its own files only. What the page asks for later is small, or a file that is not worth the time.
"""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.access import route_of


class CompressedPage:
    """ASGI middleware, in front of `ui.access.Gate`, which may rewrite the source."""

    def __init__(self, app: ASGIApp):
        self._app, self._compressed = app, GZipMiddleware(app, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and route_of(scope) == "/"
        await (self._compressed if is_page else self._app)(scope, receive, send)
