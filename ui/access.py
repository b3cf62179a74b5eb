"""Who may reach the page, and which of its routes: one gate in front of all of them, including Gradio's own.

Plain ASGI and the standard library, so that the command line can call `needs_consent` before Gradio is imported.
"""

import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from core.disk.sizes import GIB
from core.problems import mark, tr
from ui.gradio_patches import ASSETS, LOGIN, OPEN_BEFORE_LOGIN, UNUSED_ROUTES, UPLOAD, is_logged_in, without_actions
from ui.rewritten import rewriting

UPLOAD_LIMIT = 4 * GIB
BODY_LIMITS = {UPLOAD: UPLOAD_LIMIT, LOGIN: 64 * 1024}  # bytes of a request's body
USUAL_BODY_LIMIT = 64 * 1024**2

# Our own routes that contain no data: what a browser installs the page with, and the answer to a second start.
MANIFEST, ICONS, RUNNING = "/manifest.json", "/icons/", "/running/"

CONSENT = mark(
    "{where} others could use this page: add --auth NAME:PASSWORD (in a Space: a secret HEARTHTUNE_AUTH), or let "
    "anyone load models, upload files, train and ask on this machine, and download public models and datasets to its "
    "disk, with --i-know (in a Space: a variable HEARTHTUNE_I_KNOW=1), or only try the demo model, with --demo (in a "
    "Space: a variable HEARTHTUNE_DEMO=1)."
)
ELSEWHERE = mark(
    "Another site ({origin:.100}) sent this request, or a proxy did not say under which name the page was opened (it "
    "asked for {host:.100}): open the page itself, or let the proxy pass that name on in X-Forwarded-Host (nginx: "
    "`proxy_set_header X-Forwarded-Host $http_host;`)."
)

Refusal = tuple[int, str]  # an HTTP status and one sentence


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address: localhost, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def needs_consent(host: str, share: bool) -> str:
    """One sentence when others could reach the page, to be shown unless they must log in or the owner allows it."""
    if is_loopback(host) and not share:
        return ""
    where = tr("With --share") if share else tr("On {host}", host=host or tr("an empty host"))
    return tr(CONSENT, where=where)


class Gate:
    """ASGI middleware that refuses what must not get through, and passes on the rest.

    `needs_login`: whether Gradio was given a name and a password. `any_host`: whether the page answers under any host
    name that leads here, not only this machine's own. A page without login must not: another site could point its own
    name to 127.0.0.1 and then read the page as its own (DNS rebinding).
    """

    def __init__(self, app, needs_login: bool, any_host: bool):
        self._app, self._needs_login, self._any_host = app, needs_login, any_host
        self._has_said: set[str] = set()
        self._may_be_framed = "SPACE_ID" in os.environ  # a Space is shown inside a page of Hugging Face

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":  # no websockets are served; the rest is the server's start and end
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            return await answer_with(send, *refusal)

        async def framed(message: dict) -> None:
            if message["type"] == "http.response.start" and not self._may_be_framed:
                message["headers"] = [
                    *message.get("headers", []),
                    (b"content-security-policy", b"frame-ancestors 'self'"),
                ]
            await send(message)

        is_stranger = self._needs_login and not _is_logged_in(scope, headers)
        # The list of the page's actions, with their defaults, is not for strangers.
        is_bare = is_stranger and route_of(scope) == "/"
        await self._app(scope, receive, rewriting(framed, without_actions) if is_bare else framed)

    def _refusal(self, scope: dict, headers: dict[str, str]) -> Refusal | None:
        path, method = route_of(scope), scope["method"]
        if not self._any_host and not is_loopback(_name(headers.get("host", ""))):
            return 403, tr("This page answers only as localhost or 127.0.0.1; --auth opens it to other names.")
        if sentence := _from_elsewhere(method, headers):
            self._say_once(sentence)
            return 403, sentence
        if self._needs_login and not _is_open(method, path) and not _is_logged_in(scope, headers):
            return 401, tr("Log in first.")
        if path.startswith(UNUSED_ROUTES):
            return 404, tr("Not found.")
        return _too_much(path, headers)

    def _say_once(self, sentence: str) -> None:
        """Prints a refusal that a proxy's settings may cause; at most ten, as others choose what they contain."""
        if sentence not in self._has_said and len(self._has_said) < 10:
            self._has_said.add(sentence)
            printable = "".join(c if c.isprintable() else "?" for c in sentence)
            print(tr("Refused: {sentence}", sentence=printable), file=sys.stderr, flush=True)


def route_of(scope: dict) -> str:
    """The path as the routes see it, also behind a proxy."""
    path, root = scope["path"], (scope.get("root_path") or "").rstrip("/")
    return path.removeprefix(root) if root and path.startswith(root + "/") else path


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _from_elsewhere(method: str, headers: dict[str, str]) -> str:
    """One sentence if another site's page sent this. Such a page may only link to this one."""
    site = headers.get("sec-fetch-site")
    if site is not None:  # set by the browser; no page can change it
        is_link = headers.get("sec-fetch-mode") == "navigate" and method in ("GET", "HEAD")
        is_ours = site in ("same-origin", "none") or is_link
        return "" if is_ours else tr("Another site sent this request; open the page itself.")
    origin = headers.get("origin")  # older browsers, and pages served neither by https nor from this machine
    if origin is None or any(_is_at(origin, host) for host in _hosts(headers)):
        return ""
    return tr(ELSEWHERE, origin=origin, host=headers.get("host", ""))


def _hosts(headers: dict[str, str]) -> list[str]:
    """The names under which the page was opened: the one asked for, and those that proxies passed on.

    Browsers send none of the proxies' headers for another site's page.
    """
    passed_on = headers.get("x-forwarded-host", "").split(",")
    standard = re.findall(r'\bhost="?([^";,\s]+)', headers.get("forwarded", ""), re.IGNORECASE)  # RFC 7239
    return [headers.get("host", ""), *(host.strip() for host in passed_on), *standard]


def _is_at(origin: str, host: str) -> bool:
    """Whether an Origin header names this host and port; the scheme's usual port can be left out."""
    try:
        scheme, place, own = urlsplit(origin).scheme, urlsplit(origin), urlsplit(f"//{host}")
        usual = {"http": 80, "https": 443}.get(scheme)
        return bool(own.hostname) and (place.hostname, place.port or usual) == (own.hostname, own.port or usual)
    except ValueError:
        return False


def _is_open(method: str, path: str) -> bool:
    if path == LOGIN:
        return method == "POST"
    return method in ("GET", "HEAD") and (path in OPEN_BEFORE_LOGIN or path.startswith((*ASSETS, ICONS, RUNNING)))


def _is_logged_in(scope: dict, headers: dict[str, str]) -> bool:
    pairs = (pair.strip().partition("=") for pair in headers.get("cookie", "").split(";"))
    return is_logged_in(scope["app"], ((name, value) for name, _, value in pairs))


def _too_much(path: str, headers: dict[str, str]) -> Refusal | None:
    """Decided by the declared length before a byte is read, so a length must be declared."""
    if "transfer-encoding" in headers:
        return 411, tr("Send the length of the request (Content-Length).")
    length, limit = headers.get("content-length", "0"), BODY_LIMITS.get(path.rstrip("/"), USUAL_BODY_LIMIT)
    if not length.isdigit() or int(length) <= limit:
        return None
    if limit == UPLOAD_LIMIT:
        return 413, tr(
            "At most {most} GiB can be uploaded at once; for a larger file on this machine, enter its path.",
            most=limit // GIB,
        )
    return 413, tr("This request is larger than any that the page sends.")


async def answer_with(send: Callable[[dict], Awaitable[None]], status: int, sentence: str) -> None:
    """Answers a request with one sentence."""
    body = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
