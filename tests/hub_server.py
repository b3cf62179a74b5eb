"""A local Hugging Face hub for the real client. It serves folders as repositories and can simulate failures.

Start it with `with Hub({"owner/name": folder}) as hub` and set `HF_ENDPOINT=hub.address` in the client's environment.
Datasets have branches: `Hub(datasets={"owner/name": {"main": folder, "old": other_folder}})`; a model may have more
than `main` in `branches`.
"""

import hashlib
import http.server
import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = re.compile(
    r"/(?:api/)?(?:models/|(?P<is_set>datasets/))?(?P<name>.+?)"
    r"(?:/(?P<endpoint>resolve|revision|tree|paths-info)/(?P<rest>.+))?"
)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Hub:
    """`repositories` maps model names to folders; `datasets` maps names to one folder per branch.

    Files of `gated` repositories need `token`; `private` ones return "not found" without it; `moved` ones redirect to
    their new name. `invalid_token` is always rejected. `commits` overrides `commit_of` for a (name, branch). If
    `echo_status` is set, every file request fails with that status and an error that quotes the token.

    `cut_after`: the first download of weights or Parquet breaks off after that many bytes. `stall_after`: it stalls
    there until the client disconnects or the hub closes.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    datasets: dict[str, dict[str, Path]] = field(default_factory=dict)
    branches: dict[str, dict[str, Path]] = field(default_factory=dict)
    gated: frozenset[str] = frozenset()
    private: frozenset[str] = frozenset()
    moved: dict[str, str] = field(default_factory=dict)
    commits: dict[tuple[str, str], str] = field(default_factory=dict)
    token: str = ""
    invalid_token: str = ""
    echo_status: int = 0
    cut_after: int | None = None
    stall_after: int | None = None
    chunk: int = 1 << 20
    requests: list[Request] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
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
        """The Range header of each download of the file, in order."""
        downloads = [r for r in self.requests if r.method == "GET" and "/resolve/" in r.path]
        return [r.range for r in downloads if r.path.endswith(f"/{file}")]


def commit_of(name: str, branch: str = "main") -> str:
    return hashlib.sha1((name if branch == "main" else f"{name}@{branch}").encode()).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.hub.requests.append(Request(self.command, unquote(url.path), self.headers.get("Range"), token))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        match = REPOSITORY.fullmatch(url.path)
        name, endpoint = match["name"], match["endpoint"]
        revision, _, path = (match["rest"] or "main").partition("/")  # a slash in a branch name is sent as %2F
        revision, path = unquote(revision), unquote(path)
        if token and token == self.hub.invalid_token:
            return self._answer(401, message="Invalid credentials in Authorization header")
        if name in self.hub.moved:
            return self._moved(self.path.replace(name, self.hub.moved[name], 1))
        branches = self.hub.datasets.get(name) if match["is_set"] else None
        if not match["is_set"] and name in self.hub.repositories:
            branches = {"main": self.hub.repositories[name]} | self.hub.branches.get(name, {})
        if branches is None or (name in self.hub.private and token != self.hub.token):
            return self._answer(404 if token else 401, code="RepoNotFound", message="Repository not found")
        commits = {branch: self.hub.commits.get((name, branch)) or commit_of(name, branch) for branch in branches}
        branch = next((branch for branch in branches if revision in (branch, commits[branch])), None)
        if branch is None:
            return self._answer(404, code="RevisionNotFound", message="Revision not found")
        folder, commit = branches[branch], commits[branch]
        if endpoint == "resolve" and name in self.hub.gated and token != self.hub.token:
            return self._answer(403 if token else 401, code="GatedRepo", message="Access is restricted")
        if endpoint == "resolve" and self.hub.echo_status:
            return self._answer(self.hub.echo_status, message=f"Something is wrong with {token}")
        if endpoint == "resolve":
            return self._file(commit, folder, path)
        if endpoint == "tree":
            return self._tree(folder, path, "true" in parse_qs(url.query).get("recursive", [""])[0].lower())
        if endpoint == "paths-info":
            paths = parse_qs(body).get("paths") or json.loads(body or "{}").get("paths", [])
            return self._answer(200, [_entry(folder, folder / path) for path in paths if (folder / path).exists()])
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        siblings = [{"rfilename": file.relative_to(folder).as_posix()} for file in files]
        self._answer(200, {"id": name, "sha": commit, "siblings": siblings, "tags": [], "private": False})

    def _tree(self, folder: Path, path: str, is_recursive: bool) -> None:
        if not (folder / path).is_dir():
            return self._answer(404, code="EntryNotFound", message="Entry not found")
        found = sorted((folder / path).rglob("*") if is_recursive else (folder / path).iterdir())
        self._answer(200, [_entry(folder, path) for path in found])

    def _moved(self, path: str) -> None:
        self.send_response(307)
        self.send_header("Location", path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, status: int, body=None, code: str = "", message: str = "", commit: str = "") -> None:
        content = json.dumps(body if body is not None else {"error": message}).encode()
        self.send_response(status)
        headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}
        for header, value in headers.items():
            if value:
                self.send_header(header, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _file(self, commit: str, folder: Path, file: str) -> None:
        if not (folder / file).is_file():
            return self._answer(404, code="EntryNotFound", message="Entry not found", commit=commit)
        content = (folder / file).read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if "Range" in self.headers else 200)
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "GET":
            self._send(content[start:], file.endswith((".safetensors", ".parquet")))

    def _send(self, content: bytes, is_large: bool) -> None:
        hub, sent = self.hub, 0
        limit = hub.cut_after if hub.cut_after is not None else hub.stall_after
        stops = is_large and limit is not None
        try:
            while sent < len(content):
                size = min(hub.chunk, limit - sent) if stops else hub.chunk
                if stops and size == 0:
                    self._stop(stalls=hub.stall_after is not None)
                    return
                self.wfile.write(content[sent : sent + size])
                sent += size
        except ConnectionError:
            self.close_connection = True  # the client has disconnected

    def _stop(self, stalls: bool) -> None:
        """Break off or stall, once; the next download of the weights succeeds."""
        self.wfile.flush()
        self.hub.cut_after = self.hub.stall_after = None
        self.close_connection = True
        if stalls:
            self.hub.stalled.set()
            self.hub.closing.wait()

    def log_message(self, *_) -> None:
        pass


def _entry(folder: Path, path: Path) -> dict:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": hashlib.sha1(name.encode()).hexdigest()}
    content = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": blob}
