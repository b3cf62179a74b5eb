"""A component for each setting, made from the setting's own description.

A field is named once, in `core.settings.run_config`. Values travel as {dotted name: value}, never by position.
"""

from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import gradio as gr

from core.problems import ConfigError, tr
from core.settings.run_config import RunConfig, fields, flatten
from core.settings.sections import PATHS
from ui.shared.upload_names import with_names, with_paths

# The demo, Unsloth's 4-bit Llamas from 1B to 8B, and models of other families; any other name can be typed.
MODELS = [
    "presets/demo-llama",
    "unsloth/Llama-3.2-1B-Instruct-bnb-4bit",
    "unsloth/Llama-3.2-1B-bnb-4bit",
    "unsloth/tinyllama-bnb-4bit",
    "unsloth/Llama-3.2-3B-Instruct-bnb-4bit",
    "unsloth/Llama-3.2-3B-bnb-4bit",
    "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit",
    "unsloth/Meta-Llama-3.1-8B-bnb-4bit",
    "unsloth/llama-3-8b-Instruct-bnb-4bit",
    "unsloth/llama-3-8b-bnb-4bit",
    "unsloth/gemma-3-1b-it-bnb-4bit",
    "unsloth/gemma-2-2b-it-bnb-4bit",
    "unsloth/granite-3.2-2b-instruct-bnb-4bit",
    "HuggingFaceTB/SmolLM3-3B",
    "unsloth/Phi-4-mini-instruct-bnb-4bit",
    "unsloth/Qwen3-4B-Instruct-2507-bnb-4bit",
    "unsloth/mistral-7b-instruct-v0.3-bnb-4bit",
    "unsloth/Qwen2.5-7B-Instruct-bnb-4bit",
    "unsloth/Qwen3-14B-bnb-4bit",
]

_CHOICES = {  # words for choices whose names do not explain themselves
    "model.load_in_4bit": [(tr("4-bit"), True), (tr("16-bit"), False)],
    "model.chat_template": [
        (tr("the model's own"), ""),
        ("ChatML", "chatml"),
        ("Llama 3", "llama-3"),
        (tr("Zephyr (no new tokens)"), "zephyr"),
    ],
    "data.header": [(tr("detect from the first rows"), "auto"), (tr("yes"), "yes"), (tr("no"), "no")],
    "data.text_rows": [
        (tr("detect from the text"), "auto"),
        (tr("a line"), "line"),
        (tr("a paragraph"), "paragraph"),
        (tr("the whole file"), "file"),
    ],
    "adapter.trainable_tokens": [
        (tr("all"), "all"),
        (tr("new tokens"), "new"),
        (tr("tokens in your rows"), "seen"),
    ],
    "training.use_gradient_checkpointing": [
        ("unsloth", "unsloth"),
        (tr("standard"), "true"),
        (tr("off"), "false"),
    ],
}
_BATCH = "training.per_device_train_batch_size"
# Any other number can be typed. 32 is not listed, because typing 3 and Enter would choose it.
_BATCHES = ["auto", "1", "2", "4", "8"]
COLUMN_BY_NAME = ("", "")  # nothing chosen: detected by its name
_BACK = {"true": True, "false": False}
_OF_FILES = tuple(f"data.{name}" for name in PATHS)


class Form:
    """The settings' components by dotted name, filled from `config`; the layout creates each with `add`.

    Files in the folder `uploads` are shown by their names.
    """

    def __init__(self, config: RunConfig, uploads: Path | None = None):
        self._values, self._uploads = flatten(config), uploads
        self.components: dict[str, gr.components.Component] = {}

    def add(self, *names: str) -> None:
        """Makes the components of these settings here."""
        for name in names:
            self.components[name] = _component(name, fields()[name], self.shown(name, self._values[name]))

    @property
    def kept(self) -> list[gr.components.Component]:
        """What a page shows again after a reload: all but the consent, which is for rows as they were read once."""
        return [component for name, component in self.components.items() if name != "data.allow_left_out"]

    def checkboxes(self, *parts: str) -> list[gr.components.Component]:
        """The components with boxes to check of these parts of the settings, such as "data"."""
        kinds = gr.Checkbox, gr.CheckboxGroup
        return [c for name, c in self.components.items() if name.startswith(parts) and isinstance(c, kinds)]

    def read(self, values: dict) -> RunConfig:
        """The settings from what Gradio passes, {component: value}. Raises ConfigError."""
        return RunConfig.build(self._nested(values))

    def faults(self, values: dict) -> dict[str, ConfigError]:
        """The settings that cannot be used, by dotted name."""
        return RunConfig.faults(self._nested(values))

    def _nested(self, values: dict) -> dict[str, dict[str, Any]]:
        nested: dict[str, dict[str, Any]] = {part: {} for part in RunConfig.model_fields}
        for name, component in self.components.items():
            part, _, field = name.partition(".")
            nested[part][field] = self._meant(name, values[component])
        return nested

    def fill(self, config: RunConfig) -> dict:
        """Updates that show another config."""
        values = flatten(config)
        shown = {name: self.shown(name, values[name]) for name in self.components}
        return {component: gr.update(value=shown[name]) for name, component in self.components.items()}

    def shown(self, name: str, value: Any) -> Any:
        """A setting's value as its component shows it."""
        shown = _shown(name, value)
        return with_names(shown, self._uploads) if self._uploads and name in _OF_FILES else shown

    def _meant(self, name: str, value: Any) -> Any:
        meant = _meant(name, value)
        return with_paths(meant, self._uploads) if self._uploads and name in _OF_FILES and meant else meant


def _shown(name: str, value: Any) -> Any:
    if name == "training.use_gradient_checkpointing" and isinstance(value, bool):
        return str(value).lower()
    if name == _BATCH:
        return str(value)
    if fields()[name].annotation == list[str]:
        return "\n".join(value)
    return "" if value is None and not _is_number(fields()[name].annotation) else value


def _meant(name: str, value: Any) -> Any:
    annotation = fields()[name].annotation
    if name == "training.use_gradient_checkpointing":
        return _BACK.get(value, value)
    if isinstance(annotation, UnionType) and isinstance(value, str):
        return value.strip() or None
    return value.strip() if isinstance(value, str) and name != "data.prompt_template" else value


def _is_number(annotation: Any) -> bool:
    return annotation in (int, float)


def help_text(info: Any) -> str:
    """One line of help with the bounds: "Size of the adapter. 1 to 512"."""
    low = high = None
    for bound in info.metadata:
        low = next((getattr(bound, key) for key in ("ge", "gt") if getattr(bound, key, None) is not None), low)
        high = next((getattr(bound, key) for key in ("le", "lt") if getattr(bound, key, None) is not None), high)
    if low is None or high is None or high > 1e9:
        return info.description
    values = {"description": info.description, "low": low, "high": high}
    if any(getattr(bound, "gt", None) is not None for bound in info.metadata):
        return tr("{description} (above {low:g}, up to {high:,.10g})", **values)
    return tr("{description} ({low:g} to {high:,.10g})", **values)


def _component(name: str, info: Any, value: Any) -> gr.components.Component:
    label, help_line, annotation = info.title, help_text(info), info.annotation
    common = {"label": label, "info": help_line, "value": value, "elem_id": name.replace(".", "-"), "min_width": 190}
    if name == "model.model_name":
        return gr.Dropdown(MODELS, allow_custom_value=True, **common)
    if name == "data.prompt_template":
        return gr.Textbox(lines=1, max_lines=8, **common)  # several lines: a template may have line breaks
    if name.startswith("data.") and name.endswith("path"):
        return gr.Textbox(lines=1, max_lines=4, **common)  # several lines: one path each
    if name == _BATCH:
        return gr.Dropdown(_BATCHES, allow_custom_value=True, **common)
    if name.endswith("_column"):
        return gr.Dropdown([COLUMN_BY_NAME], allow_custom_value=True, **common)  # the choices come from the rows
    if name == "model.load_in_4bit":
        return gr.Radio(_CHOICES[name], **common)
    if name in _CHOICES:
        return gr.Dropdown(_CHOICES[name], **common)
    if annotation is bool:
        return gr.Checkbox(**common)
    if get_origin(annotation) is Literal:
        return gr.Dropdown(list(get_args(annotation)), **common)
    if annotation == list[str]:
        return gr.Textbox(lines=1, max_lines=8, **common)  # one per line
    if get_origin(annotation) is list:
        return gr.CheckboxGroup(list(get_args(get_args(annotation)[0])), **common)
    if _is_number(annotation):
        return gr.Number(precision=0 if annotation is int else None, step=1 if annotation is int else None, **common)
    return gr.Textbox(**common)
