"""Downloads a model from Hugging Face. Broken connections are resumed, and complete files are not downloaded again."""

import errno
from collections.abc import Callable

import httpx
from huggingface_hub import list_repo_files, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

from core.hub_names import Token
from core.problems import ModelError, mark, tr

# Of weights only safetensors, because reading a pickle can run code. original/ has Meta's own copy of the weights.
FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "README.md"]  # which names the license
SMALL_FILES = FILES[1:]
NOT_FILES = ["original/*", "*/*"]
BROKEN = mark(
    "{name} could not be downloaded: Hugging Face did not answer, or the connection broke; check the network and load "
    "again; complete files are not downloaded again."
)
DOWNLOADING = mark("Downloading {name}: {done:,.0f} of {total:,.0f} MB")

Report = Callable[[str, float | None], None]  # what is being done, and the share done (0 to 1) where it is known


def files_on_hub(name: str, revision: str | None, token: Token) -> list[str]:
    """All files of the repository, sorted; empty if Hugging Face does not answer."""
    try:
        return sorted(list_repo_files(name, revision=revision, token=token))
    except (httpx.HTTPError, HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return []


def download(
    name: str, revision: str | None, token: Token, report: Report, is_trusted: bool, with_weights: bool = True
) -> str:
    """The folder in the cache that the files are in now. Raises ModelError.

    With `is_trusted` the repository's Python code is fetched too.
    """
    files = FILES if with_weights else SMALL_FILES
    try:
        return snapshot_download(
            name,
            revision=revision,
            token=token,
            allow_patterns=[*files, "*.py"] if is_trusted else files,
            ignore_patterns=NOT_FILES,
            tqdm_class=_bar(name, report),
        )
    except (HFValidationError, EntryNotFoundError, httpx.HTTPError, HfHubHTTPError, OSError, RuntimeError) as error:
        raise _as_sentence(error, name, revision, token) from None


def _as_sentence(error: Exception, name: str, revision: str | None, token: Token) -> ModelError:
    if isinstance(error, GatedRepoError):
        return ModelError(
            "{name} is gated: request access on its Hugging Face page, then enter a token of that account under More.",
            name=name,
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(
            "{name} has no revision {revision!r}; leave it empty for the latest.", name=name, revision=revision
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            "Hugging Face has no model {name}, or it is private; check the name, or enter a token under More.",
            name=name,
        )
    if isinstance(error, HFValidationError):
        return ModelError("{name!r:.80} is neither a folder nor a name like owner/model.", name=name)
    if isinstance(
        error,
        LocalEntryNotFoundError | OfflineModeIsEnabled | EntryNotFoundError | httpx.HTTPError | HfHubHTTPError,
    ):
        return ModelError(BROKEN, name=name)
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            return ModelError(
                "{name} could not be saved on this disk: {reason}; free some space and load again.",
                name=name,
                reason=error.strerror,
            )
        return ModelError(BROKEN, name=name)
    # The client's own downloader, hf_xet, raises RuntimeErrors without a class of their own.
    text = str(error).replace(token, tr("the token")) if token else str(error)
    reason = text.splitlines()[0]
    return ModelError("{name} could not be downloaded: {reason:.200}; load again.", name=name, reason=reason)


def _bar(name: str, report: Report) -> type[tqdm]:
    class Bar(tqdm):
        """Draws nothing; reports the bytes of all files as one share."""

        bars: dict[int, "Bar"] = {}

        def __init__(self, *args, **kwargs):
            # The client has two bars for each file: bytes that arrive, and bytes of the file that are complete.
            self.counts_bytes = kwargs.get("unit") == "B" and kwargs.get("desc", "").startswith("Reconstructing")
            super().__init__(*args, **kwargs | {"disable": True})
            # A disabled bar does not count.
            self.total, self.n = kwargs.get("total"), kwargs.get("initial", 0)
            if self.counts_bytes:
                Bar.bars[id(self)] = self

        def update(self, n=1):
            self.n += n or 0
            total = sum(bar.total or 0 for bar in Bar.bars.values())
            if self.counts_bytes and total:
                done = min(sum(bar.n for bar in Bar.bars.values()), total)
                report(tr(DOWNLOADING, name=name, done=done / 1e6, total=total / 1e6), done / total)

    return Bar
