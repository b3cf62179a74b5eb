"""Puts what the parts of the page show now into its source.

Otherwise each page would begin as it was built when the program started, and a run in progress would appear a moment
later and push the rest away.
"""

from collections.abc import Callable, Mapping

import anyio
from starlette.types import ASGIApp, Receive, Scope, Send

from ui.access import route_of
from ui.gradio_patches import with_properties
from ui.rewritten import rewriting
from ui.visitors import visitor_of


class FirstState:
    """ASGI middleware, behind `ui.access.Gate` and `ui.visitors.VisitorGate`.

    `draw` gets the visitor and gives the properties of components by their number: {"12": {"value": …}}.
    """

    def __init__(self, app: ASGIApp, draw: Callable[[str], Mapping[str, dict]]):
        self._app, self._draw = app, draw

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Gradio asks with HEAD whether its page answers, and waits for three seconds only.
        if scope["type"] != "http" or scope["method"] != "GET" or route_of(scope) != "/":
            return await self._app(scope, receive, send)
        now = await anyio.to_thread.run_sync(self._draw, visitor_of(scope))
        await self._app(scope, receive, rewriting(send, lambda page: with_properties(page, now)))
