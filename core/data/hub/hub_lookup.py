"""Looks up a dataset on Hugging Face before anything is downloaded."""

from typing import NamedTuple

from core.data.display import for_display
from core.hub_names import Token
from core.problems import DataError
from core.settings.sections import DataConfig

TIMEOUT_SECONDS = 20


class HubDataset(NamedTuple):
    """A dataset's full name, the commit of the revision, and whether it is loaded by a script of its own."""

    name: str
    commit: str
    has_script: bool


def look_up(config: DataConfig, token: Token) -> HubDataset | None:
    """The dataset, or None if the hub cannot be reached. Raises DataError if it does not exist or needs access."""
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
        info = HfApi(token=token).dataset_info(path, revision=config.revision or None, timeout=TIMEOUT_SECONDS)
    except GatedRepoError:
        raise gated(path) from None
    except RepositoryNotFoundError:
        raise DataError(
            "Hugging Face has no dataset {dataset}, or it is private; check the name, or enter a token under More on "
            "the Model tab.",
            dataset=path,
        ) from None
    except RevisionNotFoundError:
        raise DataError(
            "{dataset} has no revision {revision!r}; leave the field empty for the latest.",
            dataset=path,
            revision=config.revision,
        ) from None
    except HFValidationError:
        raise DataError(
            "{path!r} is neither a file nor a name on Hugging Face; check the path, or write owner/name.",
            path=for_display(path),
        ) from None
    except HfHubHTTPError as error:
        if error.response.status_code == 401:
            raise DataError(
                "Hugging Face does not know this token; copy it again from its settings, or clear the field."
            ) from None
        return None
    except (httpx.HTTPError, OSError):
        return None
    script = f"{info.id.rpartition('/')[2]}.py"
    return HubDataset(info.id, info.sha, any(file.rfilename == script for file in info.siblings or ()))


def gated(name: str) -> DataError:
    return DataError(
        "{dataset} is gated: request access on its Hugging Face page, then enter a token of that account under More on "
        "the Model tab.",
        dataset=name,
    )
