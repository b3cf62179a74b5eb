"""Settings that stay behind when another model is named: those of the preset chosen before are marked.

One click leads to those of a preset for this model.
"""

import json

import gradio as gr
from markupsafe import Markup

from core.problems import Problem
from core.settings.presets import left_over, with_settings_of
from core.workbench.workbench import Workbench
from ui.shared.clicks import CLICKS
from ui.shared.errors import error_text
from ui.shared.html import render_part
from ui.shared.settings_form import Form


class OtherModel:
    """`text` has what is said below the name of the model; `text_now` is drawn with the errors of the settings."""

    def __init__(self, workbench: Workbench, form: Form, preset: gr.Dropdown):
        self._workbench, self._form, self._preset = workbench, form, preset
        self.text = gr.HTML(padding=False, elem_id="other-model", js_on_load=CLICKS)

    def connect(self) -> None:
        """Wires the button, once the form has all its fields."""
        settings = list(self._form.components.values())
        self.text.asked(
            self._use, set(settings), [self.text, self._preset, *settings], api_name="use_settings_for",
            api_visibility="private", show_progress="hidden",
        )  # fmt: skip

    def text_now(self, values: dict) -> Markup:
        """Nothing, unless settings of the chosen preset are left over and there is a preset for this model."""
        try:
            config, chosen = self._form.read(values), self._workbench.find_preset(values[self._preset] or "")
        except Problem:  # shown at the field, or below the list of presets
            return Markup()
        name = config.model.model_name
        if name == chosen.config.model.model_name:
            return Markup()
        better = next((preset for preset in self._workbench.presets() if preset.config.model.model_name == name), None)
        left = left_over(config, chosen, better) if better else []
        if not left:
            return Markup()
        mark = f"from {chosen.title}"
        marks = {setting.replace(".", "-"): mark for setting in left}
        return render_part("model/model.html", "other_model", chosen=chosen, better=better, marks=json.dumps(marks))

    def _use(self, values: dict, asked: gr.EventData) -> dict:
        try:
            better = self._workbench.find_preset(asked.name)
            config = with_settings_of(self._form.read(values), better)
        except Problem as error:
            return {self.text: error_text(error, self._form)}
        return self._form.fill(config) | {self.text: "", self._preset: better.name}
