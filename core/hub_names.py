"""Names of repositories on Hugging Face, and the tokens that open them."""

import re
from typing import Literal

from core.problems import ModelError

Token = str | Literal[False] | None  # None: the login of this machine, if it has one; False: none at all

PREQUANTIZED = ("-unsloth-bnb-4bit", "-bnb-4bit")
_HUB_NAME = re.compile(r"\w[\w-]*|\w[\w.-]*/\w[\w.-]*", re.ASCII)  # owner/name, or one of the hub's own names


def is_hub_name(name: str) -> bool:
    """Whether this can be the name of a repository on Hugging Face. A relative path can look the same."""
    return _HUB_NAME.fullmatch(name) is not None


def exact_name(model_name: str, load_in_4bit: bool) -> str:
    """The repository that is really loaded for these settings.

    A repository with 4-bit weights has no 16-bit ones; Unsloth publishes those under the name without the suffix.
    """
    if load_in_4bit:
        return model_name
    suffix = next((suffix for suffix in PREQUANTIZED if model_name.endswith(suffix)), "")
    return model_name.removesuffix(suffix)


def checked_token(token: Token) -> Token:
    """The token without spaces around it, None if empty; False stays False.

    Raises ModelError for what cannot be a token, because the client would quote it in its error.
    """
    if token is False:
        return False
    token = (token or "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise ModelError("The Hugging Face token has characters that cannot be part of a token; copy it again.")
    return token or None
