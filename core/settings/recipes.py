"""Recipes: what belongs together from the first look at the rows to the model to take home, one YAML file each.

A recipe has stages, each a RunConfig of its own; a stage continues from an earlier one if its `adapter.continue_from`
is the name of that. What it asks, measures and exports is below them, and in `small` what is different with the demo
model and a few rows of our own, so that the whole of it can be tried on any computer.

    recipe = find_recipe("price-from-text", small=True).with_settings(["price.training.max_steps=20"])
"""

import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError

from core.disk.tolerant_reading import Unreadable, read_text
from core.problems import ConfigError, mark, tr
from core.settings.part import Part
from core.settings.paths import PRESETS_DIR
from core.settings.plain_yaml import parse_yaml
from core.settings.presets import ABOUT
from core.settings.reasons import reason_of
from core.settings.run_config import RunConfig

RECIPES_DIR = PRESETS_DIR / "recipes"
BASE = "base"  # whose answers come first; no stage has this name
NAME = r"[a-z][a-z0-9-]{0,30}"  # of a stage, as it is typed in --set
NOT_A_STAGE_SETTING = mark(
    "{setting!r:.80} is not a setting of a stage; write stage.section.name=value, as in {stage}.training.max_steps=20."
)
TWICE = mark("Two stages are called {stage!r:.80}; give one of them another name.")
CONTINUES_LATER = mark(
    "The stage {stage} continues from {other}, which does not come before it; put that one first, or name another."
)
P = TypeVar("P", bound=Part)


class _Kept(Part):
    model_config = ConfigDict(frozen=True)


class Before(_Kept):
    """What to look at before the first stage trains: facts of the `data`, and what the base makes of an `example`."""

    data: bool = True
    example: bool = False


class Measures(_Kept):
    """Base and tuned are measured on at most so many validation rows of the last stage; 0 measures nothing."""

    rows: int = Field(100, ge=0, le=10_000)


class Export(_Kept):
    """Something to take home. `push`: to Hugging Face, into the repository of the last stage's training.hub_model_id;
    if that is empty, it is left out."""

    to: Literal["adapter", "merged", "gguf", "lora-gguf", "ollama"]
    quant: tuple[str, ...] = ("q8_0",)
    push: bool = False


class Stage(_Kept):
    """A training. `name` is what --set calls it, and what later stages continue from."""

    name: str = Field(pattern=f"^{NAME}$")
    title: str = ""
    config: RunConfig

    @property
    def shown(self) -> str:
        return self.title or self.name


class Recipe(_Kept):
    """`name` is the file's name without `.yaml`. `models` are those that all stages are trained on, one after the
    other, by the name to show: what each changes in the section model. Without any, each stage has its own.

    `questions` are asked of the base before the first stage, and of the model after each stage, with at most
    `answer_tokens` tokens for an answer, in the prompts of the last stage.
    """

    name: str
    title: str
    description: str = ""
    card: str = ""
    is_small: bool = False
    before: Before = Before()
    stages: tuple[Stage, ...] = Field(min_length=1)
    models: dict[str, dict[str, Any]] = {}
    questions: tuple[str, ...] = Field((), max_length=20)
    answer_tokens: int = Field(128, ge=1, le=8192)
    measures: Measures = Measures()
    exports: tuple[Export, ...] = ()

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def last(self) -> Stage:
        return self.stages[-1]

    def config_of(self, stage: Stage, model: str = "") -> RunConfig:
        """The settings of a stage, on one of the recipe's models if it has several; what that pushes has the model's
        name at the end. Raises ConfigError."""
        if not model:
            return stage.config
        values = stage.config.model_dump()
        values["model"] |= self.models[model]
        if repository := stage.config.training.hub_model_id:
            values["training"]["hub_model_id"] = f"{repository}-{model}"
        return RunConfig.build(values)

    def with_stage(self, name: str, config: RunConfig) -> "Recipe":
        """A copy in which that stage has other settings."""
        stages = [s.model_copy(update={"config": config}) if s.name == name else s for s in self.stages]
        return self.model_copy(update={"stages": tuple(stages)})

    def with_settings(self, settings: list[str]) -> "Recipe":
        """A copy with `stage.part.field=value` applied, as `RunConfig.with_settings` reads it. Raises ConfigError."""
        changed = self
        for setting in settings:
            name, dot, rest = setting.strip().partition(".")
            if not dot or "=" in name:
                raise ConfigError(NOT_A_STAGE_SETTING, setting=setting, stage=self.stages[0].name)
            stage = next((stage for stage in changed.stages if stage.name == name), None)
            if stage is None:
                raise ConfigError(
                    "The recipe has no stage {stage!r:.80}; its stages are {known}.",
                    stage=name,
                    known=", ".join(stage.name for stage in self.stages),
                )
            changed = changed.with_stage(name, stage.config.with_settings([rest]))
        return changed


def read_recipe(path: Path, small: bool = False) -> Recipe:
    """Raises ConfigError, which names the file, when it is not a recipe."""
    try:
        values = parse_yaml(read_text(path))
        if not isinstance(values, dict) or not isinstance(values.get("stages"), list) or not values["stages"]:
            raise ConfigError("A recipe needs a list of stages, each with a name and its settings.")
        less = values.pop("small", None)
        if small:
            values = _small(values, less)
        about = {key: str(values.pop(key, "") or "") for key in ABOUT}
        about["title"] = about["title"] or path.stem
        is_ours = path.resolve().parent == RECIPES_DIR
        stages = tuple(_stage(stage, is_ours) for stage in values.pop("stages"))
        _check_stages(stages)
        if is_ours:
            about = {key: tr(text) for key, text in about.items()}
        recipe = _build(Recipe, values | about | {"name": path.stem, "is_small": small, "stages": stages})
        for model in recipe.models:
            for stage in stages:
                recipe.config_of(stage, model)  # raises what is wrong with the settings of a model
        return recipe
    except Unreadable as error:
        raise ConfigError("{file:.80} cannot be read: {reason}.", file=path.name, reason=error) from None
    except ConfigError as error:
        raise ConfigError("{file:.80}: {reason}", file=path.name, reason=error) from None


def recipe_names() -> set[str]:
    """Of the recipes that come with the program."""
    return {path.stem for path in RECIPES_DIR.glob("*.yaml")}


def list_recipes() -> list[Recipe]:
    """The recipes that come with the program, by name."""
    return [read_recipe(path) for path in sorted(RECIPES_DIR.glob("*.yaml"))]


def find_recipe(name: str, small: bool = False) -> Recipe:
    """The recipe with that name, or the one in that YAML file. Raises ConfigError."""
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return read_recipe(Path(name), small)
    files = {path.stem: path for path in sorted(RECIPES_DIR.glob("*.yaml"))}
    if name not in files:
        known = ", ".join(files)
        raise ConfigError("There is no recipe {name!r:.80}; the recipes are {known}.", name=name, known=known)
    return read_recipe(files[name], small)


def _small(values: dict[str, Any], less: Any) -> dict[str, Any]:
    """The recipe with what its section `small` says instead. Raises ConfigError."""
    if not isinstance(less, dict):
        raise ConfigError("This recipe has no section small, which says what is different with --small.")
    changes = less.get("stages") or {}
    if not isinstance(changes, dict):
        raise ConfigError("In the section small, stages need a name each, with the settings that are different.")
    stages = [dict(stage) if isinstance(stage, dict) else stage for stage in values["stages"]]
    named = {stage.get("name"): stage for stage in stages if isinstance(stage, dict)}
    for name, parts in changes.items():
        if name not in named or not isinstance(parts, dict):
            raise ConfigError(
                "The section small changes a stage {stage!r:.80}, which is not among the stages {known}.",
                stage=name,
                known=", ".join(map(str, named)),
            )
        for part, settings in parts.items():
            before = named[name].get(part)
            both = isinstance(before, dict) and isinstance(settings, dict)
            named[name][part] = before | settings if both else settings
    return values | {key: value for key, value in less.items() if key != "stages"} | {"stages": stages}


def _stage(values: Any, is_ours: bool) -> Stage:
    if not isinstance(values, dict) or "name" not in values:
        raise ConfigError("Each stage needs a name, as in name: instructions.")
    name = str(values["name"])
    settings = {key: value for key, value in values.items() if key not in ("name", "title")}
    try:
        config = RunConfig.build(settings)
    except ConfigError as error:
        raise ConfigError("In the stage {stage:.80}: {reason}", stage=name, reason=error) from None
    title = str(values.get("title") or "")
    return _build(Stage, {"name": name, "title": tr(title) if is_ours else title, "config": config})


def _check_stages(stages: tuple[Stage, ...]) -> None:
    """Raises ConfigError for a name that is not free, and for a stage that continues from a later one."""
    names = [stage.name for stage in stages]
    for place, stage in enumerate(stages):
        if stage.name == BASE or stage.name in names[:place]:
            raise ConfigError(TWICE, stage=stage.name)
        other = stage.config.adapter.continue_from
        if other in names[place:]:
            raise ConfigError(CONTINUES_LATER, stage=stage.name, other=other)


def _build(kind: type[P], values: dict[str, Any]) -> P:
    """Raises ConfigError about the first value that is invalid."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = [name for name in kind.model_fields if name not in ("name", "is_small")]
        raise ConfigError("{setting:.80} is not a part of a recipe; its parts are {known}.", setting=place,
                          known=", ".join([*known, "small"]))  # fmt: skip
    if fault["type"] == "string_pattern_mismatch":
        raise ConfigError("A stage's name has small letters, digits and hyphens, so it cannot be {value!r:.80}.",
                          value=fault["input"])  # fmt: skip
    raise ConfigError(
        "{setting:.80} cannot be {value!r:.80}: {reason}.", setting=place, value=fault["input"], reason=reason_of(fault)
    )
