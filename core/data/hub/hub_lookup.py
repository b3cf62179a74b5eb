"""What Hugging Face says of a data set's name, before anything of it is fetched. Knows nothing of its rows."""

import re
from typing import NamedTuple

from core.problems import DataError
from core.settings.sections import DataConfig

TIMEOUT = 20  # seconds


class Found(NamedTuple):
    """A data set's full name, the commit that the revision means now, and whether a program of its own reads it."""

    name: str
    commit: str
    has_script: bool


def checked_token(token: str | None) -> str | None:
    """Raises DataError for what cannot be a token: the client would quote it in its error, and so in the log."""
    token = (token or "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise DataError("The Hugging Face token holds characters that no token has; copy it again.")
    return token or None


def look_up(config: DataConfig, token: str | None) -> Found | None:
    """None when the hub does not answer. Raises DataError for what is not there or not for everyone."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    path = config.path
    try:
        info = HfApi(token=token).dataset_info(path, revision=config.revision or None, timeout=TIMEOUT)
    except GatedRepoError:
        raise gated(path) from None
    except RepositoryNotFoundError:
        raise DataError(
            f"Hugging Face has no data set {path}, or it is private; check the name, or give a token under More on the "
            "Model tab."
        ) from None
    except RevisionNotFoundError:
        raise DataError(f"{path} has no revision {config.revision!r}; leave it empty for the newest.") from None
    except HFValidationError:
        raise DataError(f"{path!r:.80} is neither a file nor a name like owner/name.") from None
    except HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise DataError(
                "Hugging Face does not know the token; copy it again from its settings, or empty the field."
            ) from None
        return None
    except (httpx.HTTPError, OSError):
        return None
    script = f"{info.id.rpartition('/')[2]}.py"
    return Found(info.id, info.sha, any(file.rfilename == script for file in info.siblings or ()))


def gated(name: str) -> DataError:
    return DataError(
        f"{name} is gated: ask for access on its Hugging Face page, then give a token of that account under More on "
        "the Model tab."
    )
