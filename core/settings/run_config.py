"""The settings of a run: what each is called, what it means, its bounds and its default.

Everything else that shows or takes a setting (form, presets, command line, saved runs, help) is made from these
fields. Field names are the argument names of unsloth, peft, trl and datasets, so handing them on is no translation.
Knows nothing of gradio or torch.
"""

import difflib
from typing import Any, get_args

import yaml
from pydantic import Field, ValidationError, model_validator

from core.problems import ConfigError
from core.settings.plain_yaml import parse_yaml
from core.settings.sections import AdapterConfig, DataConfig, ModelConfig, Part, TrainingConfig


class RunConfig(Part):
    """Everything that decides a run. Saved beside its result as YAML, and readable from it again."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)

    @model_validator(mode="before")
    @classmethod
    def _absent_parts_are_default(cls, values: Any) -> Any:
        # `data:` with nothing below it is None in YAML and means "as usual".
        return {k: {} if v is None else v for k, v in values.items()} if isinstance(values, dict) else values

    @classmethod
    def build(cls, values: Any) -> "RunConfig":
        """A RunConfig from nested plain values. Raises ConfigError with one sentence about the first fault."""
        if not isinstance(values, dict):
            raise ConfigError(f"Settings are four sections (model, data, adapter, training), not {values!r:.60}.")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from None

    @classmethod
    def from_yaml(cls, text: str) -> "RunConfig":
        """The inverse of `to_yaml`. Raises ConfigError."""
        return cls.build(parse_yaml(text))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)

    def with_settings(self, settings: list[str]) -> "RunConfig":
        """A copy with `part.field=value` applied, the value read as YAML. Raises ConfigError."""
        values = self.model_dump()
        for setting in settings:
            key, equals, text = setting.partition("=")
            part, _, field = key.strip().partition(".")
            if not equals or not field:
                raise ConfigError(f"{setting!r} is no setting; write part.field=value, as in training.max_steps=20.")
            if part not in values:
                raise ConfigError(f"{part!r} is no part of the settings; there are {', '.join(values)}.")
            values[part][field] = _setting_value(f"{part}.{field}", text)
        return RunConfig.build(values)

    def with_batch(self, batch: int, accumulation: int) -> "RunConfig":
        """A copy whose steps are so many micro-batches of so many rows."""
        shared_out = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        return self.model_copy(update={"training": self.training.model_copy(update=shared_out)})


def _setting_value(name: str, text: str) -> Any:
    """The value that a setting's text stands for. Raises ConfigError."""
    takes_text = name in fields() and str in (fields()[name].annotation, *get_args(fields()[name].annotation))
    try:
        value = parse_yaml(text)
    except ConfigError:
        if takes_text:
            return text
        raise
    # {title} is a prompt with a column, not a mapping of YAML, and 007 is a name of a branch.
    return value if value is None or isinstance(value, str | list) or not takes_text else text


def fields() -> dict[str, Any]:
    """Every setting by its dotted name, `part.field`, with its pydantic FieldInfo, in the order of the form."""
    return {
        f"{part}.{name}": info
        for part, section in RunConfig.model_fields.items()
        for name, info in section.annotation.model_fields.items()
    }


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    # Of a setting with several kinds of values pydantic also names the kind.
    place = next((name for name in fields() if place.startswith(f"{name}.")), place)
    place = " ".join(place.split())[:80]
    if first["type"] == "extra_forbidden":
        known = list(fields()) if "." in place else list(RunConfig.model_fields)
        near = difflib.get_close_matches(place, known, n=1, cutoff=0.75)
        return f"{place} is not a setting" + (f"; did you mean {near[0]}?" if near else ".")
    message = first["msg"].removeprefix("Value error, ")
    if place in fields():
        place = f"{fields()[place].title} ({place})"
    return f"{place} cannot be {first['input']!r:.80}: {message[:1].lower()}{message[1:]}."


def flatten(config: RunConfig) -> dict[str, Any]:
    return {f"{part}.{name}": value for part, values in config.model_dump().items() for name, value in values.items()}
