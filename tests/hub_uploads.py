"""A local Hugging Face hub that models are uploaded to with the real client. It keeps what arrives, and can fail.

Start it with `with UploadHub() as hub`, set `HF_ENDPOINT=hub.address` for the client, and look at `hub.repositories`
afterwards. With `HF_HUB_DISABLE_XET=1` the client sends large files as Git LFS does; otherwise hf_xet stores them in a
place that its own tests have: in the client's memory, as `memory://`, or in a folder, as `local://FOLDER`.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

REPOSITORY = re.compile(r"/api/models/(?P<name>[^/]+/[^/]+)(?:/(?P<endpoint>[a-z-]+)(?:/(?P<revision>[^/]+))?)?")
LARGE = (".safetensors", ".gguf")


@dataclass
class Repository:
    """Files of each branch as {path: SHA-256}, how often it was committed to, and what was sent to create it."""

    is_private: bool
    branches: dict[str, dict[str, str]] = field(default_factory=lambda: {"main": {}})
    messages: list[str] = field(default_factory=list)


@dataclass
class UploadHub:
    """The account `user` has one token, which may write to its own repositories unless `role` is "read".

    `is_full`: no large file is taken any more. `cut_after`: that many bytes into a large file the connection is cut,
    `cuts` times in all; `stall_after`: nothing more is read from there on until the hub closes. `cut_commits`: so often
    the connection is cut when a commit is made. If `echo_status` is set, commits fail with that status and an error
    that quotes the token. `xet` is where hf_xet stores files.
    """

    user: str = "ada"
    token: str = "hf_may_write"
    role: str = "write"
    repositories: dict[str, Repository] = field(default_factory=dict)
    is_full: bool = False
    cut_after: int | None = None
    cuts: int = 1
    stall_after: int | None = None
    cut_commits: int = 0
    echo_status: int = 0
    xet: str = "memory://"
    objects: dict[str, bytes] = field(default_factory=dict)  # large files by SHA-256
    arrivals: Counter = field(default_factory=Counter)  # how often each of them was sent to its end
    requests: list[tuple[str, str]] = field(default_factory=list)
    stalled: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "UploadHub":
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)

    def reset(self) -> None:
        """Forget everything that arrived and every fault that was asked for; what still stalls is let go."""
        self.closing.set()
        self.__init__(self.user, self.token)  # the server is not a field, so it keeps running

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """The variables of a client that sends large files as Git LFS does, and has nothing but this token."""
        named = {"HF_HOME": str(home), "HF_ENDPOINT": self.address, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        return named | {"HF_TOKEN": token, "HUGGING_FACE_HUB_TOKEN": ""}

    def count(self, method: str, ending: str) -> int:
        """How many requests of this method had a path with this ending."""
        return sum(made == method and path.endswith(ending) for made, path in self.requests)


def uploading_processes() -> list[psutil.Process]:
    """Those below this process that upload to a hub. One that has ended is not among them, even if nobody has waited
    for it yet."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "core.export.hub_worker" in one.cmdline():
                found.append(one)
    return found


def commit_of(repository: Repository) -> str:
    return hashlib.sha1(repr((repository.branches, len(repository.messages))).encode()).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: UploadHub

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.requests.append((self.command, path))
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client was killed in the middle of its request
            self.close_connection = True
            return None
        if self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._answer(401, message="Invalid credentials in Authorization header")
        if path == "/api/whoami-v2":
            about = {"type": "user", "name": hub.user, "orgs": [], "auth": {"accessToken": {"role": hub.role}}}
            return self._answer(200, about)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(path[1:].partition(".git/")[0], json.loads(body))
        match = REPOSITORY.fullmatch(urlsplit(self.path).path)
        name, endpoint, revision = match["name"], match["endpoint"], unquote(match["revision"] or "main")
        repository = hub.repositories.get(name)
        if repository is None:
            return self._answer(404, code="RepoNotFound", message="Repository not found")
        if endpoint not in (None, "revision") and not self._may_write(name):
            return self._answer(403, message=f"You don't have the rights to write to {name}, {hub.token}")
        if endpoint == "xet-write-token":
            return self._answer(200, {"casUrl": hub.xet, "exp": int(time.time()) + 3600, "accessToken": "for xet"})
        if endpoint == "branch":
            return self._branch(repository, revision)
        if revision not in repository.branches:
            return self._answer(404, code="RevisionNotFound", message="Invalid rev id")
        if endpoint == "preupload":
            return self._preupload(repository.branches[revision], json.loads(body))
        if endpoint == "commit":
            return self._commit(name, revision, [json.loads(line) for line in body.splitlines()])
        files = [{"rfilename": file} for file in repository.branches[revision]]
        about = {"id": name, "sha": commit_of(repository), "private": repository.is_private}
        self._answer(200, about | {"siblings": files, "tags": []})

    def _may_write(self, name: str) -> bool:
        return self.hub.role == "write" and name.startswith(f"{self.hub.user}/")

    def _create(self, wanted: dict) -> None:
        name = f"{wanted['organization'] or self.hub.user}/{wanted['name']}"
        if not self._may_write(name):
            return self._answer(403, message=f"You don't have the rights to create a model in {name}, {self.hub.token}")
        url = f"{self.hub.address}/{name}"
        if name in self.hub.repositories:
            return self._answer(409, {"error": "You already created this model repo", "url": url})
        # What is not asked for is public, as on the real hub.
        self.hub.repositories[name] = Repository(is_private=wanted.get("visibility") == "private")
        self._answer(200, {"url": url})

    def _branch(self, repository: Repository, branch: str) -> None:
        if branch in repository.branches:
            return self._answer(409, message="Reference already exists")
        repository.branches[branch] = dict(repository.branches["main"])
        self._answer(200, {})

    def _preupload(self, files: dict[str, str], asked: dict) -> None:
        """How each file is to be sent; the client leaves out what has not changed."""

        def described(file: dict) -> dict:
            is_large = file["path"].endswith(LARGE)
            mode = {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            return mode | {"oid": files.get(file["path"]) if is_large else None}

        self._answer(200, {"files": [described(file) for file in asked["files"]]})

    def _batch(self, name: str, asked: dict) -> None:
        if not self._may_write(name):
            return self._answer(403, message="Forbidden")
        if self.hub.is_full:
            message = "Private repository storage limit reached, please upgrade your plan"
            return self._answer(403, message=message)
        objects = [{"oid": one["oid"], "size": one["size"]} for one in asked["objects"]]
        for one in objects:
            if one["oid"] not in self.hub.objects:
                one["actions"] = {"upload": {"href": f"{self.hub.address}/lfs/{one['oid']}"}}
        self._answer(200, {"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        hub, digest = self.hub, self.path.removeprefix("/lfs/")
        hub.requests.append(("PUT", self.path))
        length, content = int(self.headers["Content-Length"]), bytearray()
        while len(content) < length:
            content += self.rfile.read1(min(1 << 16, length - len(content)))
            with hub.lock:
                is_cut = hub.cut_after is not None and len(content) >= hub.cut_after and hub.cuts > 0
                hub.cuts -= is_cut
            if is_cut:
                self.close_connection = True
                return None
            if hub.stall_after is not None and len(content) >= hub.stall_after:
                hub.stalled.set()
                hub.closing.wait()
                self.close_connection = True
                return None
        assert hashlib.sha256(content).hexdigest() == digest
        hub.objects[digest] = bytes(content)
        hub.arrivals[digest] += 1
        self._answer(200, {})

    def _commit(self, name: str, branch: str, lines: list[dict]) -> None:
        repository = self.hub.repositories[name]
        if self.hub.cut_commits > 0:
            self.hub.cut_commits -= 1
            self.close_connection = True
            return None
        if self.hub.echo_status:
            return self._answer(self.hub.echo_status, message=f"Something is wrong with {self.hub.token}")
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                content = base64.b64decode(value["content"])
                repository.branches[branch][value["path"]] = hashlib.sha256(content).hexdigest()
            else:
                repository.branches[branch][value["path"]] = value["oid"]
        commit = commit_of(repository)
        url = f"{self.hub.address}/{name}/commit/{commit}"
        self._answer(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def _answer(self, status: int, body=None, code: str = "", message: str = "") -> None:
        content = json.dumps(body if body is not None else {"error": message}).encode()
        self.send_response(status)
        for header, value in {"X-Error-Code": code, "X-Error-Message": message}.items():
            if value:
                self.send_header(header, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass
