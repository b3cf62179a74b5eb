"""Changes the page's source on its way to the browser. Plain ASGI and the standard library, like `ui.access`."""

from collections.abc import Callable


def rewriting(send: Callable, change: Callable[[bytes], bytes]) -> Callable:
    """What to pass on in place of `send`, so that `change` gets the whole body of the answer."""
    start, parts = {}, []

    async def send_rewritten(message: dict) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            body = change(b"".join(parts))
            others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            await send(start | {"headers": [*others, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

    return send_rewritten
