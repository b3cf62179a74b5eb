"""What all sections of a RunConfig are."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """One section of a RunConfig. Unknown names are refused, and values are validated when it is built.

    A validator raises a ConfigError of a few words, which the sentence about the setting ends with.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)
