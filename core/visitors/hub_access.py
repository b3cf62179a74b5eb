"""Whether a visitor may read a repository on Hugging Face, with a token of their own or without any.

The owner of the machine may have fetched private or gated repositories, and the libraries take what is in the cache
even when the hub refuses access. So the hub is asked first, and what it does not confirm is not used.
"""

import threading
import time
from typing import Literal

import httpx
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from core.hub_names import Token
from core.problems import NotAllowed, mark, tr

Kind = Literal["model", "dataset"]
KINDS: dict[Kind, str] = {"model": mark("model"), "dataset": mark("dataset")}
KNOWN_SECONDS = 300  # how long the hub's word is good
TIMEOUT_SECONDS = 20


class HubAccess:
    """Asks the hub, and remembers for a while what it allowed."""

    def __init__(self):
        self._allowed: dict[tuple, float] = {}
        self._lock = threading.Lock()

    def is_known(self, name: str, kind: Kind, revision: str | None, token: Token) -> bool:
        """Whether the hub has just allowed this. Asks nobody."""
        with self._lock:
            return time.monotonic() - self._allowed.get((name, kind, revision, token), float("-inf")) < KNOWN_SECONDS

    def check(self, name: str, kind: Kind, revision: str | None, token: Token) -> None:
        """Raises NotAllowed unless the files of this revision can be read with this token, False for none."""
        if self.is_known(name, kind, revision, token):
            return
        about = {"repo_type": kind, "revision": revision}
        try:
            info = HfApi(token=token).repo_info(name, timeout=TIMEOUT_SECONDS, **about)
            for file in (info.siblings or ())[:1]:  # what can be known about a gated repository says nothing of files
                url = hf_hub_url(name, file.rfilename, repo_type=kind, revision=info.sha)
                get_hf_file_metadata(url, token=token, timeout=TIMEOUT_SECONDS)
        except GatedRepoError:
            raise NotAllowed(
                "{name} is gated: request access on its Hugging Face page, then enter a token of that account.",
                name=name,
            ) from None
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError):
            raise NotAllowed(
                "Hugging Face has no {kind} {name:.80}, or it is private; check the name and the revision, or enter a "
                "token of yours.",
                kind=tr(KINDS[kind]), name=name,
            ) from None  # fmt: skip
        except (HfHubHTTPError, httpx.HTTPError, OfflineModeIsEnabled, OSError):
            raise NotAllowed(
                "Hugging Face does not say whether you may use {name:.80}; try again later.", name=name
            ) from None
        with self._lock:
            now = time.monotonic()
            self._allowed = {key: at for key, at in self._allowed.items() if now - at < KNOWN_SECONDS}
            self._allowed[name, kind, revision, token] = now
