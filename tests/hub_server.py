"""A Hugging Face hub on this machine, for the real client: serves folders as repositories, and can misbehave.

Start it with `with Hub({"owner/name": folder}) as hub` and give a process `HF_ENDPOINT=hub.address`.
"""

import hashlib
import http.server
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Hub:
    """`gated` repositories open with `token`. `cut_after`: the first download of weights breaks off after so many
    bytes. `hold_after`: it stands still there until the client has gone or the hub closes."""

    repositories: dict[str, Path]
    gated: frozenset[str] = frozenset()
    token: str = ""
    cut_after: int | None = None
    hold_after: int | None = None
    chunk: int = 1 << 20
    requests: list[Request] = field(default_factory=list)
    holding: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Hub":
        hub = self
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def downloads(self, file: str) -> list[str | None]:
        """The Range of each download of that file, in order."""
        asked = [r for r in self.requests if r.method == "GET" and "/resolve/" in r.path]
        return [r.range for r in asked if r.path.endswith(f"/{file}")]


def commit_of(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.hub.requests.append(Request(self.command, path, self.headers.get("Range"), token))
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        folder = self.hub.repositories.get(name)
        if folder is None:
            return self._answer(404, code="RepoNotFound", message="Repository not found")
        if name in self.hub.gated and token != self.hub.token:
            return self._answer(403 if token else 401, code="GatedRepo", message="Access to this model is restricted")
        if not path.startswith("/api/"):
            return self._file(name, folder, rest[1], "/".join(rest[2:]))
        revision = rest[1] if len(rest) > 1 else "main"
        if revision not in ("main", commit_of(name)):
            return self._answer(404, code="RevisionNotFound", message="Revision not found")
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if rest[:1] == ["tree"]:
            return self._answer(200, [_entry(folder, file) for file in files])
        siblings = [{"rfilename": file.relative_to(folder).as_posix()} for file in files]
        self._answer(200, {"id": name, "sha": commit_of(name), "siblings": siblings, "tags": [], "private": False})

    def _answer(self, status: int, body=None, code: str = "", message: str = "") -> None:
        content = json.dumps(body if body is not None else {"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", message)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _file(self, name: str, folder: Path, revision: str, file: str) -> None:
        if revision not in ("main", commit_of(name)):
            return self._answer(404, code="RevisionNotFound", message="Revision not found")
        if not (folder / file).is_file():
            return self._answer(404, code="EntryNotFound", message="Entry not found")
        content = (folder / file).read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if "Range" in self.headers else 200)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit_of(name))
        self.end_headers()
        if self.command == "GET":
            self._send(content[start:], file.endswith(".safetensors"))

    def _send(self, content: bytes, are_weights: bool) -> None:
        hub, sent = self.hub, 0
        limit = hub.cut_after if hub.cut_after is not None else hub.hold_after
        stops = are_weights and limit is not None
        try:
            while sent < len(content):
                size = min(hub.chunk, limit - sent) if stops else hub.chunk
                if stops and size == 0:
                    self._stop(holds=hub.hold_after is not None)
                    return
                self.wfile.write(content[sent : sent + size])
                sent += size
        except ConnectionError:
            self.close_connection = True  # the client has gone

    def _stop(self, holds: bool) -> None:
        """Break off, or stand still, once; the next download of the weights goes through."""
        self.wfile.flush()
        self.hub.cut_after = self.hub.hold_after = None
        self.close_connection = True
        if holds:
            self.hub.holding.set()
            self.hub.closing.wait()

    def log_message(self, *_) -> None:
        pass


def _entry(folder: Path, file: Path) -> dict:
    content = file.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"type": "file", "path": file.relative_to(folder).as_posix(), "size": len(content), "oid": blob}
