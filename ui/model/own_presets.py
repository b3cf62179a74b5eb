"""Presets of one's own: the form saved under a title, chosen from the same list, and deleted again.

Visitors of a page have none: for them none of this is on the page.
"""

from collections.abc import Iterable

import gradio as gr
from markupsafe import Markup

from core.problems import Problem, mark, tr
from core.settings.presets import TITLE_CHARACTERS, Preset, delete_preset, own_presets_dir, save_preset
from core.workbench.workbench import Workbench
from ui.gradio_patches import take_choices_of_now
from ui.model.recipe_strip import HEADING, PREFIX, recipe_choices
from ui.shared.clicks import CLICKS
from ui.shared.errors import error_text
from ui.shared.formatting import notice
from ui.shared.html import render_part
from ui.shared.settings_form import Form

HEADING_HELP = mark(
    "A recipe looks at the rows, trains one or more stages, asks the same questions before and after, measures, and "
    "exports: choose one below this heading."
)
_SEND_TITLE = """
const send = () => trigger('asked', {title: element.querySelector('input').value});
element.addEventListener('click', event => {
    if (event.target.closest('button[data-save]')) send();
});
element.addEventListener('keydown', event => {
    if (event.key === 'Enter' && event.target.matches('input')) send();
});
"""


class OwnPresets:
    """What is about the preset that is chosen in the list `preset`, and saving the form as another one.

    `first` is the name of the preset that a page begins with.
    """

    def __init__(self, workbench: Workbench, form: Form, preset: gr.Dropdown, first: str):
        self._workbench, self._form, self._preset, self._first = workbench, form, preset, first
        self._drawn: tuple[int, list] | None = None  # when the folder had changed last, and the choices then
        self.about = gr.HTML(self.about_text(first), padding=False, elem_id="about-preset", js_on_load=CLICKS)
        self.save = None
        if not workbench.rules:
            self.save = gr.HTML(save_text(), padding=False, elem_id="save-preset", js_on_load=_SEND_TITLE)

    def connect(self) -> None:
        """Wires the handlers, once the form has all its fields."""
        if self.save is None:
            return
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        inputs = set(self._form.components.values())
        self.save.asked(self._save, inputs, [self.save, self._preset], api_name="save_preset", **hidden)
        self.about.asked(self._delete, None, [self.about, self._preset], api_name="delete_preset", **hidden)

    def live(self) -> dict:
        """The list, also on pages that were open when it changed."""
        return {} if self.save is None else {self._preset: {"choices": self._choices()}}

    def about_text(self, name: str) -> Markup:
        """What the preset of that name is for; one of one's own can be deleted."""
        if not self._workbench.rules and name.startswith((HEADING, PREFIX)):
            return notice(tr(HEADING_HELP)) if name == HEADING else Markup()
        try:
            preset = self._workbench.find_preset(name)
        except Problem as error:  # deleted on another page, or damaged
            return notice(str(error), "warning")
        return render_part("model/model.html", "about_preset", preset=preset)

    def _choices(self) -> list[tuple[str, str]]:
        try:
            changed = own_presets_dir(self._workbench.runs_dir).stat().st_mtime_ns
        except OSError:
            changed = 0
        if self._drawn is None or self._drawn[0] != changed:
            self._drawn = changed, choices_of(self._workbench.presets())
        return self._drawn[1]

    def _save(self, values: dict, asked: gr.EventData) -> dict:
        try:
            saved = save_preset(self._workbench.runs_dir, asked.title, self._form.read(values))
        except Problem as error:
            return {self.save: save_text(error_text(error, self._form), asked.title)}
        chosen = gr.update(choices=choices_of(self._workbench.presets()), value=saved.name)
        words = tr("Saved as {title}; on the command line its name is {name}.", title=saved.title, name=saved.name)
        return {self.save: save_text(notice(words, "good")), self._preset: chosen}

    def _delete(self, asked: gr.EventData) -> dict:
        try:
            delete_preset(self._workbench.runs_dir, asked.name)
        except Problem as error:
            return {self.about: notice(str(error), "error")}
        return {self._preset: gr.update(choices=choices_of(self._workbench.presets()), value=self._first)}


def preset_list(workbench: Workbench, presets: Iterable[Preset], chosen: str) -> gr.Dropdown:
    """The list of these presets, of which one is chosen."""
    made = gr.Dropdown(
        choices_of(list(presets), has_recipes=not workbench.rules),
        value=chosen,
        label=tr("Start from"),
        info=tr("Fills in all tabs. You can change any setting."),
        elem_id="preset",
    )
    if not workbench.rules:
        take_choices_of_now(made, lambda: choices_of(workbench.presets()))
    return made


def choices_of(presets: list[Preset], has_recipes: bool = True) -> list[tuple[str, str]]:
    """The presets as a list has them: each with the card it is meant for, or that it is the person's own; and below
    them the recipes."""
    found = [(f"{p.title} · {tr('your own') if p.is_own else p.card}", p.name) for p in presets]
    return [*found, *recipe_choices()] if has_recipes else found


def save_text(said: Markup | None = None, refused: str | None = None) -> Markup:
    """The field for a title, folded unless one was `refused`; and what came of saving."""
    most = TITLE_CHARACTERS
    return render_part("model/model.html", "save_as", said=said or Markup(), refused=refused, most=most)
