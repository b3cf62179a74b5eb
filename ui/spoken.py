"""Says in the page's source which language the page is in, for the browser's fonts, line breaks and spoken words."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.problems import LANGUAGE
from ui.access import route_of
from ui.gradio_patches import in_language


class SpokenPage:
    """ASGI middleware; the source is as long as before."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def spoken(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = message | {"body": in_language(message.get("body", b""), LANGUAGE)}
            await send(message)

        is_page = scope["type"] == "http" and route_of(scope) == "/" and LANGUAGE != "en"
        await self._app(scope, receive, spoken if is_page else send)
