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

from core.problems import ModelError

# Weights as safetensors only: a pickle can run code when it is read. original/ holds Meta's own copy of the weights.
FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


NOT_FILES = ["original/*", "*/*"]


Report = Callable[[str, float | None], None]  # what is going on, and the share done (0 to 1) where it is known


def files_on_hub(name: str, revision: str | None, token: str | None) -> list[str]:
    """What the repository holds and was not fetched. Empty when the hub cannot be asked any more."""
    try:
        return sorted(list_repo_files(name, revision=revision, token=token or None))
    except (httpx.HTTPError, HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return []


def download(name: str, revision: str | None, token: str | None, report: Report, is_trusted: bool) -> str:
    class Bar(tqdm):
        """Hands the bytes of all files on as one share."""

        bars: dict[int, "Bar"] = {}

        def __init__(self, *args, **kwargs):
            # The client draws each file twice, as bytes that arrive and as bytes of the file that are there.
            self.counts_bytes = kwargs.get("unit") == "B" and kwargs.get("desc", "").startswith("Reconstructing")
            super().__init__(*args, **kwargs | {"disable": True})
            # A disabled bar keeps no totals of its own.
            self.total, self.n = kwargs.get("total"), kwargs.get("initial", 0)
            if self.counts_bytes:
                Bar.bars[id(self)] = self

        def update(self, n=1):
            self.n += n or 0
            total = sum(bar.total or 0 for bar in Bar.bars.values())
            if self.counts_bytes and total:
                done = min(sum(bar.n for bar in Bar.bars.values()), total)
                report(f"Fetching {name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB", done / total)

    try:
        return snapshot_download(
            name,
            revision=revision,
            token=token or None,
            allow_patterns=[*FILES, "*.py"] if is_trusted else FILES,
            ignore_patterns=NOT_FILES,
            tqdm_class=Bar,
        )
    except GatedRepoError:
        raise ModelError(
            f"{name} is gated: ask for access on its Hugging Face page, then give a token of that account under More."
        ) from None
    except RevisionNotFoundError:
        raise ModelError(f"{name} has no revision {revision!r}; leave it empty for the newest.") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"Hugging Face has no model {name}, or it is private; check the name, or give a token under More."
        ) from None
    except HFValidationError:
        raise ModelError(f"{name!r:.80} is neither a folder nor a name like owner/model.") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, EntryNotFoundError, httpx.HTTPError, HfHubHTTPError):
        raise ModelError(_BROKEN.format(name=name)) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise ModelError(
                f"{name} could not be kept on this disk: {error.strerror}; make room and load again."
            ) from None
        raise ModelError(_BROKEN.format(name=name)) from None
    except RuntimeError as error:  # the client's own downloader, hf_xet, has no kind of its own
        said = str(error).replace(token, "the token") if token else str(error)
        raise ModelError(f"{name} could not be fetched: {said.splitlines()[0]:.200}; load again.") from None


_BROKEN = (
    "{name} could not be fetched: no answer from Hugging Face, or the connection broke; check the network and load "
    "again; files that are complete are not fetched again."
)
