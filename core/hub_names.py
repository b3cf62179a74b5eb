"""Names of repositories on Hugging Face, and the tokens that open them."""

import re

from core.problems import ModelError
from core.settings.sections import ModelConfig

PREQUANTISED = ("-unsloth-bnb-4bit", "-bnb-4bit")
_HUB_NAME = re.compile(r"\w[\w-]*|\w[\w.-]*/\w[\w.-]*", re.ASCII)  # owner/name, or one of the hub's own names


def is_hub_name(name: str) -> bool:
    """Whether this can be the name of a repository on Hugging Face. A relative path can look the same."""
    return _HUB_NAME.fullmatch(name) is not None


def exact_name(config: ModelConfig) -> str:
    """The repository that is really loaded: one of 4-bit weights has no 16-bit ones, and Unsloth keeps those under
    the name without the ending."""
    ending = next((end for end in PREQUANTISED if config.model_name.endswith(end)), "")
    return config.model_name if config.load_in_4bit else config.model_name.removesuffix(ending)


def checked_token(token: str | None) -> str | None:
    """Raises ModelError for what cannot be a token: the client would quote it in its error."""
    token = (token or "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise ModelError("The Hugging Face token holds characters that no token has; copy it again.")
    return token or None
