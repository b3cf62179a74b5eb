"""Placeholders in rows, such as {{name}}, and what a person fills in for them.

Published rows have them where each user is meant to put something of their own, for example the assistant's name.
"""

import re
from collections.abc import Mapping
from typing import Any

PLACEHOLDER = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


def filled_in(value: Any, words: Mapping[str, str]) -> Any:
    """The value with its placeholders replaced, in texts at any depth of lists and objects; those that `words` lacks
    stay."""
    if not words:
        return value
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda found: words.get(found[1], found[0]), value)
    if isinstance(value, list):
        return [filled_in(part, words) for part in value]
    if isinstance(value, dict):
        return {key: filled_in(part, words) for key, part in value.items()}
    return value


def placeholders_in(text: str) -> list[str]:
    """The names of the placeholders in a text, each once, in the order in which they come."""
    return list(dict.fromkeys(PLACEHOLDER.findall(text)))
