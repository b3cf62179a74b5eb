"""Puts a folder into a repository on Hugging Face: an export, or a checkpoint while its run goes on."""

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import get_token

from core.hub_names import Token, checked_token, is_hub_name
from core.model.download import Report
from core.problems import ConfigError, ExportError, mark, tr
from core.settings.paths import PROJECT_DIR
from core.threads import ShouldStop, leave_if

NOT_A_NAME = mark("{name!r:.100} is not the name of a repository; write OWNER/NAME, such as ada/my-adapter.")
NO_TOKEN = mark(
    "Pushing needs a token that may write; create one at https://huggingface.co/settings/tokens and set HF_TOKEN to "
    "it, or enter it under More."
)
ENDED = mark(
    "The upload to {name} ended without an answer; push again: files that have arrived are not uploaded again."
)
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Repository:
    """A model's repository: OWNER/NAME and a branch, `main` if it is None. Both are created if they do not exist.

    `is_private`: whether only its owner can see it once it is created; one that exists stays as it is.
    """

    name: str
    revision: str | None = None
    is_private: bool = True

    def check(self) -> None:
        """Raises ConfigError if the name is not OWNER/NAME."""
        if not is_hub_name(self.name) or "/" not in self.name:
            raise ConfigError(NOT_A_NAME, name=self.name)


@dataclass(frozen=True)
class Pushed:
    """What was pushed: its address, the id of the commit, and whether the repository is private."""

    url: str
    commit: str
    is_private: bool


def token_for_pushing(token: Token) -> str:
    """The token, or that of this machine's login if it is None. Raises ExportError without one, and ModelError."""
    found = False if token is False else checked_token(token) or get_token()
    if not found:
        raise ExportError(NO_TOKEN)
    return found


def push_folder(
    folder: Path,
    to: Repository,
    message: str,
    token: Token,
    report: Report = lambda text, share: None,
    should_stop: ShouldStop = lambda: False,
) -> Pushed:
    """Uploads the files of `folder` in one commit with this message; files that are there already are left out.

    Raises ConfigError about the name, ExportError if there is no token or the hub refuses or cannot be reached, and
    Stopped within a second after `should_stop` says so. What was uploaded by then is not uploaded again.
    """
    to.check()
    sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    asked = {"folder": str(folder), "to": asdict(to), "message": message, "token": token_for_pushing(token)}
    words, total, sent = tr("Uploading to {name}", name=to.name), sum(sizes.values()), 0
    report(words, None)
    with _Worker(asked) as worker:
        while True:
            leave_if(should_stop)
            answer = worker.next_answer()
            leave_if(should_stop)  # Ctrl-C may have ended the worker as well
            if answer is None:
                raise ExportError(ENDED, name=to.name)
            if "template" in answer:
                raise ExportError(answer["template"], **answer["values"])
            if "url" in answer:
                report(words, 1.0)
                return Pushed(**answer)
            sent += answer.get("sent", 0)
            if sent:
                done = {"name": to.name, "sent": sent / 1e6, "total": total / 1e6}
                report(tr("Uploading to {name}: {sent:,.0f} of {total:,.0f} MB", **done), min(sent / total, 1.0))


class _Worker:
    """A process that uploads. It can be killed at any time, which no call of the client in this process could be."""

    def __init__(self, asked: dict):
        self._asked = asked
        self._answers: queue.Queue[dict | None] = queue.Queue()

    def __enter__(self) -> "_Worker":
        # Without a network hf_xet would try again for six minutes; the bars count what was sent.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "core.export.hub_worker"],
            cwd=PROJECT_DIR,
            env={"HF_XET_CLIENT_RETRY_MAX_DURATION": "30s"} | os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        # The token goes neither into the command line nor into the environment, which others may be able to read.
        print(json.dumps(self._asked), file=self._process.stdin, flush=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._reader.join()
        self._process.__exit__(None, None, None)

    def next_answer(self) -> dict | None:
        """The next answer, {} if there is none for a moment, None if the process has ended."""
        try:
            return self._answers.get(timeout=SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            return {}

    def _read(self) -> None:
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)
