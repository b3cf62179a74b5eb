"""A process of its own that uploads a folder to Hugging Face, so that it can be ended in the middle of a file.

The first line of the input is what to do, as JSON; see `core.export.hub`. Each line of the output is an answer: how
many more bytes were sent, and at the end what was pushed, or the sentence that says why not.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from urllib.parse import quote

import httpx
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session

from core.model.library_patches.hub_parts import count_uploaded_bytes
from core.problems import ExportError, first_line, mark

TOKENS = "https://huggingface.co/settings/tokens"
BROKEN = mark(
    "{name} could not be pushed: Hugging Face did not answer, or the connection broke; check the network and push "
    "again: files that have arrived are not uploaded again."
)
OFFLINE = mark("Pushing to {name} needs the network, and HF_HUB_OFFLINE is set; remove it and push again.")
BAD_TOKEN = mark("Hugging Face does not accept the token; create one that may write at {tokens}.")
READ_ONLY = mark("The token may not write to {name}; create one that may at {tokens}.")
NOT_THE_OWNER = mark(
    "The token may not write to {name}: it is that of {accounts}; choose another owner or another token."
)
FULL = mark(
    "There is no room for {name} on Hugging Face ({reason:.200}); delete files there, or get more storage, and push "
    "again."
)
REFUSED = mark("{name} could not be pushed ({reason:.200}); put that right and push again.")
MESSAGE_EVERY = 1 << 18  # bytes
SECONDS_TO_ANSWER = 120


def main() -> None:
    answers, lock = os.fdopen(os.dup(1), "w", encoding="utf-8"), threading.Lock()
    os.dup2(2, 1)  # what libraries print must not get between the answers

    def answer(**values) -> None:
        with lock:
            print(json.dumps(values), file=answers, flush=True)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the app decides what Ctrl-C means
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_app, daemon=True).start()
    try:
        answer(**push(asked, _in_steps(answer)))
    except ExportError as error:
        answer(template=error.template, values=error.values)


def push(asked: dict, sent: Callable[[int], None]) -> dict:
    """Uploads and returns the fields of Pushed; raises ExportError. `sent` is called with numbers of bytes."""
    to = asked["to"]
    name, revision = to["name"], to["revision"]
    api = HfApi(token=asked["token"])
    count_uploaded_bytes(sent)
    get_session().timeout = SECONDS_TO_ANSWER  # the client's own is to wait for ever
    try:
        api.create_repo(name, private=to["is_private"], exist_ok=True)
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        made = api.upload_folder(
            repo_id=name, folder_path=asked["folder"], commit_message=asked["message"], revision=revision
        )
        about = api.model_info(name, revision=revision)
    except Exception as error:  # each becomes a sentence; hf_xet has no classes of its own for most of its errors
        raise _as_sentence(error, name, api) from None
    url = f"{api.endpoint}/{name}" + (f"/tree/{quote(revision)}" if revision else "")
    return {"url": url, "commit": made.oid, "is_private": about.private}


def _as_sentence(error: BaseException, name: str, api: HfApi) -> ExportError:
    known = (HfHubHTTPError, httpx.HTTPError, ConnectionError, TimeoutError)
    while not isinstance(error, known) and error.__cause__ is not None:  # the client wraps errors of single files
        error = error.__cause__
    if isinstance(error, OfflineModeIsEnabled):
        return ExportError(OFFLINE, name=name)
    if not isinstance(error, HfHubHTTPError):
        if isinstance(error, known):
            return ExportError(BROKEN, name=name)
        return ExportError(REFUSED, name=name, reason=_without_token(first_line(error), api))
    status, said = error.response.status_code, error.server_message or first_line(error)
    if status == 401 and api.token:
        return ExportError(BAD_TOKEN, tokens=TOKENS)
    reason = _without_token(said, api)
    if status in (402, 413, 507) or "storage" in said.lower():
        return ExportError(FULL, name=name, reason=reason)
    if status in (403, 404):
        return _not_allowed(name, api)
    if status == 429 or status >= 500:
        return ExportError(BROKEN, name=name)
    return ExportError(REFUSED, name=name, reason=reason)


def _not_allowed(name: str, api: HfApi) -> ExportError:
    """Why the token may not write to the repository: because of its owner, or at all."""
    try:
        account = api.whoami()
    except (httpx.HTTPError, OSError):
        return ExportError(READ_ONLY, name=name, tokens=TOKENS)
    accounts = [account["name"], *(one["name"] for one in account.get("orgs", []))]
    if name.partition("/")[0] in accounts:
        return ExportError(READ_ONLY, name=name, tokens=TOKENS)
    return ExportError(NOT_THE_OWNER, name=name, accounts=", ".join(accounts))


def _without_token(text: str, api: HfApi) -> str:
    return " ".join(text.replace(str(api.token), "the token").split()).rstrip(".")


def _in_steps(answer: Callable[..., None]) -> Callable[[int], None]:
    """Adds up bytes, which come from several threads, and answers when there are enough of them."""
    lock, waiting = threading.Lock(), 0

    def sent(count: int) -> None:
        nonlocal waiting
        with lock:
            waiting += count
            if waiting >= MESSAGE_EVERY:
                answer(sent=waiting)
                waiting = 0

    return sent


def _end_with_the_app() -> None:
    """Ends this process when its input is closed: the app that asked is gone."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
