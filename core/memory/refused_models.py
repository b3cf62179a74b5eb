"""Models that cannot be trained whatever their family: each is refused with one to use instead."""

from collections.abc import Mapping
from typing import Any

from core.families import has_experts, has_other_senses, instead_of
from core.problems import ModelError, mark

EXPERTS = mark(
    "{name} is a mixture of experts, which cannot be trained here: choose a model without experts, such as {instead}."
)
OTHER_SENSES = mark(
    "{name} also takes images or sound, and such models cannot be trained here: choose a text model, such as {instead}."
)


def check_family(values: Mapping[str, Any], name: str) -> None:
    """Raises ModelError if a model with this config.json is a mixture of experts or takes more than text."""
    instead = instead_of(str(values.get("model_type")))
    if has_experts(values):
        raise ModelError(EXPERTS, name=name, instead=instead)
    if has_other_senses(values):
        raise ModelError(OTHER_SENSES, name=name, instead=instead)
