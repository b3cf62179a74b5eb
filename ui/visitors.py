"""Which visitor of a page without login a request comes from, and the workbench as that visitor sees it.

A visitor is known by a cookie, which only their browser has. `VisitorGate` gives it, refuses what is too large, and
keeps uploads apart; `Here` stands for the workbench in the tabs, and asks for each use of it who is asking.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from core.problems import Problem, tr
from core.runs.uploads import uploads_dir
from core.visitors.visits import Visits
from ui.access import answer_with, route_of
from ui.gradio_patches import FILES, UPLOAD, scope_of_event

COOKIE = "hearthtune-visitor"
KEY = re.compile(r"[0-9a-f]{64}")
KEPT_SECONDS = 30 * 86400
VISITOR = "hearthtune.visitor"  # in the scope of a request
FORM_BYTES = 64 * 1024  # what a form adds to the files in it
MOST_BYTES = 1024**2  # of any other request
PARTS = ("runs", "trash", "lab", "measuring", "exporting", "blind_test")

_drawn_for: ContextVar[str] = ContextVar("drawn_for", default="")


def visitor_of(scope: dict) -> str:
    """The visitor from whom a request comes; empty on a page that has none."""
    return scope.get(VISITOR, "")


def current_visitor() -> str:
    """The visitor for whom a handler runs or a page is drawn; empty where no request is known."""
    return _drawn_for.get() or visitor_of(scope_of_event())


@contextmanager
def drawing_for(visitor: str) -> Iterator[None]:
    """Within the block, everything is drawn for this visitor."""
    before = _drawn_for.set(visitor)
    try:
        yield
    finally:
        _drawn_for.reset(before)


class Here:
    """Stands for a workbench, or for one of its `parts`: each use is a use of what `find` returns at that time."""

    def __init__(self, find: Callable[[], object], parts: tuple[str, ...] = ()):
        self._find, self._parts = find, parts

    def __getattr__(self, name: str):
        if name in self._parts:
            return Here(lambda: getattr(self._find(), name))
        value = getattr(self._find(), name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: getattr(self._find(), name)(*args, **kwargs)  # a button keeps it


def as_seen_here(visits: Visits) -> Here:
    """The workbench for tabs: always that of the visitor who is asking."""
    return Here(lambda: visits.visit(current_visitor()), PARTS)


class VisitorGate:
    """ASGI middleware, behind `ui.access.Gate`."""

    def __init__(self, app, visits: Visits):
        self._app, self._visits = app, visits
        is_framed = "SPACE_ID" in os.environ  # a Space is shown inside a page of Hugging Face
        how = "SameSite=None; Secure; Partitioned" if is_framed else "SameSite=Lax"
        self._attributes = f"; Path=/; Max-Age={KEPT_SECONDS}; HttpOnly; {how}"

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        known = _key(headers.get("cookie", ""))
        key = known or secrets.token_hex(32)
        visitor = hashlib.sha256(key.encode()).hexdigest()  # kept with runs, where it opens nothing
        scope = scope | {VISITOR: visitor}

        async def with_cookie(message: dict) -> None:
            if message["type"] == "http.response.start" and not known:
                cookie = f"{COOKIE}={key}{self._attributes}".encode()
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie)]
            await send(message)

        path = route_of(scope)
        is_upload = path.rstrip("/") == UPLOAD and scope["method"] == "POST"
        if refusal := self._refusal(visitor, path, is_upload, headers):
            return await answer_with(with_cookie, *refusal)
        await self._app(scope, receive, self._noting(visitor, with_cookie) if is_upload else with_cookie)

    def _refusal(self, visitor: str, path: str, is_upload: bool, headers: dict[str, str]) -> tuple[int, str] | None:
        length = headers.get("content-length", "0")
        most = self._visits.policy.upload_bytes
        if length.isdigit() and int(length) > (most + FORM_BYTES if is_upload else MOST_BYTES):
            if is_upload:
                return 413, tr("At most {most:,} MB can be uploaded here.", most=most // MOST_BYTES)
            return 413, tr("The request is too large.")
        if is_upload:
            try:
                self._visits.limit.count(visitor)
            except Problem as error:
                return 429, str(error)
        for start in FILES:
            if path.startswith(start) and not self._may_have(visitor, path.removeprefix(start)):
                return 403, tr("You have no access to this file.")
        return None

    def _may_have(self, visitor: str, name: str) -> bool:
        """Whether a visitor may download a file: an upload of their own, or one made for their page.

        The latter lie in folders whose names nobody can guess.
        """
        try:
            file = Path(name).resolve()
        except (OSError, ValueError):
            return False
        is_below = uploads_dir(self._visits.bench.runs_dir).resolve() in file.parents
        return is_below and not self._visits.uploads.is_others(visitor, file)

    def _noting(self, visitor: str, send: Callable) -> Callable:
        """Passes on the answer to an upload, after noting whose the files are."""
        start, parts = {}, []

        async def noted(message: dict) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            parts.append(message.get("body", b""))
            if message.get("more_body"):
                return
            if start["status"] == 200:
                self._visits.uploads.add(visitor, json.loads(b"".join(parts)))
            await send(start)
            await send({"type": "http.response.body", "body": b"".join(parts)})

        return noted


def _key(cookies: str) -> str:
    """The visitor's own key from a Cookie header; empty when there is none."""
    pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE and KEY.fullmatch(value)), "")
