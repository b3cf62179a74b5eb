"""Who may reach the page, and which of its routes: one gate in front of all of them, Gradio's own among them.

Plain ASGI and the standard library, so that the command line can ask `needs_consent` before Gradio is imported. Knows
nothing of torch, runs or what the routes do.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

GIB = 1024**3
UPLOAD_LIMIT = 4 * GIB
UPLOAD, LOGIN = "/gradio_api/upload", "/login"
LIMITS = {UPLOAD: UPLOAD_LIMIT, LOGIN: 64 * 1024}  # bytes of a request's body
USUAL_LIMIT = 64 * 1024**2

# What Gradio's login form is made of, and nothing of a person's. Gradio asks for startup-events itself while it starts;
# it answers true or false.
WITHOUT_LOGIN = {"/", LOGIN, "/theme.css", "/gradio_api/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
                 "/gradio_api/startup-events"}  # fmt: skip
ASSETS_WITHOUT_LOGIN = ("/assets/", "/static/", "/svelte/")

# Routes of Gradio that this page has no use for, each with a reason to have none.
CLOSED = (
    "/gradio_api/component_server",  # unpacks uploads into the system's temporary folder
    "/gradio_api/process_recording",  # so does this
    "/gradio_api/deep_link",  # writes what a page shows to disk
    "/gradio_api/proxy=",  # fetch from elsewhere
    "/gradio_api/file=http:",
    "/gradio_api/file=https:",
    "/gradio_api/file/http",
    "/gradio_api/run-history",  # sends what was typed to a bucket
    "/gradio_api/vibe-",  # rewrites the program
    "/gradio_api/undo-vibe-",
    "/gradio_api/stream/",
    "/gradio_api/custom_component/",
    "/monitoring",
    "/docs",
    "/redoc",
)

# Within it Gradio writes no bare < itself.
ACTIONS = re.compile(rb"(window\.gradio_api_info = )[^<]*(;</script>)")

Refusal = tuple[int, str]  # an HTTP status and one sentence


def is_loopback(host: str) -> bool:
    """Whether only this machine can come to that address: localhost, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def needs_consent(host: str, share: bool) -> str:
    """One sentence when others could come to the page, to be shown unless they must log in or it is meant so."""
    if is_loopback(host) and not share:
        return ""
    where = "With --share" if share else f"On {host or 'an empty host'}"
    return (
        f"{where} others could use this page, train on this machine and read its files: add --auth NAME:PASSWORD (in a "
        "Space: a secret HEARTHTUNE_AUTH), or --i-know (in a Space: a variable HEARTHTUNE_I_KNOW=1) if that is meant."
    )


class Gate:
    """ASGI middleware that answers what must not come through, and hands on the rest.

    `needs_login`: whether Gradio was given a name and a password. `any_host`: whether the page answers under any name
    that leads here, not only this machine's own; a page without login must not, because a site elsewhere can have its
    own name lead to 127.0.0.1 and then reads the page as its own.
    """

    def __init__(self, app, needs_login: bool, any_host: bool):
        self._app, self._needs_login, self._any_host = app, needs_login, any_host
        self._may_be_framed = "SPACE_ID" in os.environ  # a Space is shown inside a page of Hugging Face

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":  # there are no websockets; the rest is the server's start and end
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            return await _answer(send, *refusal)

        async def framed(message: dict) -> None:
            if message["type"] == "http.response.start" and not self._may_be_framed:
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", b"frame-ancestors 'self'"),
                ]
            await send(message)

        is_stranger = self._needs_login and not _is_logged_in(scope, headers)
        await self._app(scope, receive, _login_form(framed) if is_stranger and _route(scope) == "/" else framed)

    def _refusal(self, scope: dict, headers: dict[str, str]) -> Refusal | None:
        path, method = _route(scope), scope["method"]
        if not self._any_host and not is_loopback(_name(headers.get("host", ""))):
            return 403, "This page answers only as localhost or 127.0.0.1; --auth opens it to other names."
        if _is_from_elsewhere(method, headers):
            return 403, "Another site asked for this; open the page itself."
        if self._needs_login and not _is_open(method, path) and not _is_logged_in(scope, headers):
            return 401, "Log in first."
        if path.startswith(CLOSED):
            return 404, "Not found."
        return _too_much(path, headers)


def _route(scope: dict) -> str:
    """The path as the routes know it, behind a proxy too."""
    path, root = scope["path"], (scope.get("root_path") or "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_from_elsewhere(method: str, headers: dict[str, str]) -> bool:
    """Whether another site's page sent this; to follow a link to here is all that such a page may do."""
    site = headers.get("sec-fetch-site")
    if site is not None:  # the browser's own word, which no page can change
        is_link = headers.get("sec-fetch-mode") == "navigate" and method in ("GET", "HEAD")
        return site not in ("same-origin", "none") and not is_link
    origin = headers.get("origin")  # older browsers, and pages that do not come by https or from this machine
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _is_open(method: str, path: str) -> bool:
    if path == LOGIN:
        return method == "POST"
    return method in ("GET", "HEAD") and (path in WITHOUT_LOGIN or path.startswith(ASSETS_WITHOUT_LOGIN))


def _is_logged_in(scope: dict, headers: dict[str, str]) -> bool:
    """Gradio's own test, for the routes where it has none."""
    server = scope["app"]
    mine = (f"access-token-{server.cookie_id}", f"access-token-unsecure-{server.cookie_id}")
    pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
    return any(name in mine and value in server.tokens for name, _, value in pairs)


def _too_much(path: str, headers: dict[str, str]) -> Refusal | None:
    """Judged by the length that the sender names, before a byte is read; so one must be named."""
    if "transfer-encoding" in headers:
        return 411, "Say how long this is before sending it."
    length, limit = headers.get("content-length", "0"), LIMITS.get(path.rstrip("/"), USUAL_LIMIT)
    if not length.isdigit() or int(length) <= limit:
        return None
    if limit == UPLOAD_LIMIT:
        return (
            413,
            f"At most {limit // GIB} GiB can be uploaded at once; give the path of a larger file on this machine instead.",
        )
    return 413, "This is more than a page ever sends."


def _login_form(send: Callable) -> Callable:
    """Takes the list of the page's actions, with their defaults, out of the page that asks strangers to log in."""
    start, parts = {}, []

    async def bare(message: dict) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            return
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            body = ACTIONS.sub(rb"\1{}\2", b"".join(parts))
            others = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            await send(start | {"headers": [*others, (b"content-length", str(len(body)).encode())]})
            await send({"type": "http.response.body", "body": body})

    return bare


async def _answer(send: Callable[[dict], Awaitable[None]], status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
