"""The settings of a run: each one's name, meaning, bounds and default.

Everything that accepts a setting (presets, command line, saved runs) is made from these fields, and so are its field in
the form and the help there; but the form shows only what a tab adds to it (`ui.shared.settings_form.Form.add`).
Field names are the argument names of unsloth, peft, trl and datasets, so passing them on needs no translation.

    config = RunConfig.from_yaml(text).with_settings(["training.max_steps=20"])
"""

import difflib
from copy import copy
from functools import cache
from typing import Any, get_args, get_origin

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from core.problems import ConfigError, tr
from core.settings.part import Part
from core.settings.plain_yaml import parse_text, parse_yaml
from core.settings.reasons import reason_of
from core.settings.run_name import run_name, run_summary
from core.settings.sections import PATHS, AdapterConfig, DataConfig, ModelConfig
from core.settings.training_section import TrainingConfig


class RunConfig(Part):
    """Everything that decides a run. Saved as YAML with its result, and can be read back."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)

    @model_validator(mode="before")
    @classmethod
    def _absent_parts_are_default(cls, values: Any) -> Any:
        # `data:` with nothing below it is None in YAML and means the defaults.
        return {k: {} if v is None else v for k, v in values.items()} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _chat_template_is_used(self) -> "RunConfig":
        if self.model.chat_template and self.data.prompt_template != "chat":
            raise ConfigError(
                "The chat template {name} is for the prompt template chat only: choose that one "
                "(data.prompt_template), or no chat template (model.chat_template).",
                settings=("model.chat_template",), name=self.model.chat_template,
            )  # fmt: skip
        return self

    @property
    def run_name(self) -> str:
        """What a run with these settings is called until a person gives it a name."""
        training = self.training
        return run_name(self.model.model_name, self.data.path, training.max_steps, training.num_train_epochs)

    @property
    def summary(self) -> str:
        """What a run with these settings does, in one line."""
        training = self.training
        length = training.max_steps, training.num_train_epochs
        return run_summary(self.model.model_name, self.data.path, self.adapter.r, *length)

    @classmethod
    def build(cls, values: Any) -> "RunConfig":
        """A RunConfig from nested plain values. Raises ConfigError about the first invalid one."""
        if not isinstance(values, dict):
            raise ConfigError(
                "Settings need the four sections model, data, adapter and training, not {value!r:.60}.", value=values
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _config_error(error.errors(include_url=False)[0]) from None

    @classmethod
    def faults(cls, values: dict[str, Any]) -> dict[str, ConfigError]:
        """What is wrong with nested plain values: the first error about each setting, by its dotted name."""
        try:
            cls.model_validate(values)
        except ValidationError as error:
            found: dict[str, ConfigError] = {}
            for fault in map(_config_error, error.errors(include_url=False)):
                found |= {name: fault for name in fault.settings if name not in found}
            return found
        return {}

    @classmethod
    def from_yaml(cls, text: str) -> "RunConfig":
        """The inverse of `to_yaml`. Raises ConfigError."""
        return cls.build(parse_yaml(text))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)

    def with_settings(self, settings: list[str]) -> "RunConfig":
        """A copy with `part.field=value` applied. Raises ConfigError.

        Text is taken as typed, except that quotes around all of it are removed, `null` or nothing empties a setting
        that may be empty, and a setting that takes several texts also takes a list, [a, "b"]. Numbers, switches and
        all else are read as YAML.
        """
        values = self.model_dump()
        for setting in settings:
            key, equals, text = setting.partition("=")
            part, _, field = key.strip().partition(".")
            if not equals or not field:
                raise ConfigError(
                    "{setting!r} is not a setting; write section.name=value, as in training.max_steps=20.",
                    setting=setting,
                )
            if part not in values:
                raise ConfigError(
                    "The settings have no section {section!r}; the sections are {known}.",
                    section=part,
                    known=", ".join(values),
                )
            # In "name = value" the spaces are not part of the value.
            text = text.lstrip() if key != key.rstrip() else text
            values[part][field] = _setting_value(f"{part}.{field}", text)
        return RunConfig.build(values)

    def with_batch(self, batch: int, accumulation: int) -> "RunConfig":
        """A copy whose steps have `accumulation` micro-batches of `batch` rows each."""
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation}
        return self.model_copy(update={"training": self.training.model_copy(update=sizes)})


def _setting_value(name: str, text: str) -> Any:
    """The value of a setting given as text. Raises ConfigError.

    A text setting takes it as typed: in YAML, ` #` would begin a comment, and 010 would be 8.
    """
    if name not in fields():
        return text  # refused by its name
    annotation = fields()[name].annotation
    is_list = get_origin(annotation) is list
    of_list = get_args(annotation)[0] if is_list else annotation
    options = get_args(of_list) or (of_list,)
    if str in options or all(isinstance(option, str) for option in options):
        if type(None) in options and text in ("", "null"):
            return None
        return parse_text(text, may_be_list=is_list or name in (f"data.{path}" for path in PATHS))
    try:
        return int(text)
    except ValueError:
        return parse_yaml(text)


@cache
def fields() -> dict[str, Any]:
    """Every setting as `part.field`, with its pydantic FieldInfo, in the order of the form. Title and description are
    in the person's language."""
    return {
        f"{part}.{name}": _translated(info)
        for part, section in RunConfig.model_fields.items()
        for name, info in section.annotation.model_fields.items()
    }


def _translated(info: Any) -> Any:
    shown = copy(info)
    shown.title, shown.description = tr(info.title), tr(info.description)
    return shown


def _config_error(fault: ErrorDetails) -> ConfigError:
    """A fault that pydantic found, in terms of our settings; one about several settings is a whole sentence already."""
    error = fault.get("ctx", {}).get("error")
    if isinstance(error, ConfigError) and error.settings:
        return error
    place = ".".join(str(part) for part in fault["loc"] if not isinstance(part, int))
    # For a setting that takes several types, pydantic appends the type.
    place = next((name for name in fields() if place.startswith(f"{name}.")), place)
    place = " ".join(place.split())[:80]
    if fault["type"] == "extra_forbidden":
        known = list(fields()) if "." in place else list(RunConfig.model_fields)
        near = difflib.get_close_matches(place, known, n=1, cutoff=0.75)
        if near:
            return ConfigError("{setting} is not a setting; did you mean {near}?", setting=place, near=near[0])
        return ConfigError("{setting} is not a setting.", setting=place)
    values = {"setting": place, "value": fault["input"], "reason": reason_of(fault)}
    if place in fields():
        values["title"] = fields()[place].title
        return ConfigError("{title} ({setting}) cannot be {value!r:.80}: {reason}.", settings=(place,), **values)
    return ConfigError("{setting} cannot be {value!r:.80}: {reason}.", **values)


def flatten(config: RunConfig) -> dict[str, Any]:
    """Every setting's value by its dotted name, in the order of `fields`."""
    return {f"{part}.{name}": value for part, values in config.model_dump().items() for name, value in values.items()}
