"""Settings that stay behind when another model is named: those of the preset chosen before are marked.

One click leads to those of a preset for this model.
"""

import json

import gradio as gr
from markupsafe import Markup

from core.problems import Problem, tr
from core.settings.presets import Preset, left_over, with_settings_of
from ui.shared.clicks import CLICKS
from ui.shared.errors import error_text
from ui.shared.html import render_part
from ui.shared.settings_form import Form


class OtherModel:
    """`parts` have what is said, one in each place where it is; `text_now` is drawn with the errors of the settings.

    Of `presets`, by name, only those that come with the program count: one of a person's own is what that person wants.
    """

    def __init__(self, form: Form, preset: gr.Dropdown, presets: dict[str, Preset]):
        self._form, self._preset = form, preset
        self._presets = {name: each for name, each in presets.items() if not each.is_own}
        self.parts: list[gr.HTML] = []

    def say_here(self) -> None:
        """Adds a place where it is said."""
        self.parts.append(gr.HTML(padding=False, elem_classes="other-model", js_on_load=CLICKS))

    def connect(self) -> None:
        """Wires the buttons, once the form has all its fields."""
        settings = list(self._form.components.values())
        for part in self.parts:
            part.asked(
                self._use, set(settings), [*self.parts, self._preset, *settings], api_visibility="private",
                show_progress="hidden",
            )  # fmt: skip

    def text_now(self, values: dict) -> Markup:
        """Nothing, unless settings of the chosen preset are left over and there is a preset for this model."""
        chosen = self._presets.get(values[self._preset])
        name = values[self._form.components["model.model_name"]]
        better = next((each for each in self._presets.values() if each.config.model.model_name == name), None)
        if not chosen or not better or better.config.model.model_name == chosen.config.model.model_name:
            return Markup()
        try:
            left = left_over(self._form.read(values), chosen, better)
        except Problem:  # shown at the field
            return Markup()
        if not left:
            return Markup()
        marks = json.dumps(dict.fromkeys([name.replace(".", "-") for name in left], tr("other model")))
        return render_part("model/model.html", "other_model", chosen=chosen, better=better, marks=marks)

    def _use(self, values: dict, asked: gr.EventData) -> dict:
        better = self._presets[asked.name]
        try:
            config = with_settings_of(self._form.read(values), better)
        except Problem as error:
            return dict.fromkeys(self.parts, error_text(error, self._form))
        return self._form.fill(config) | dict.fromkeys(self.parts, "") | {self._preset: better.name}
