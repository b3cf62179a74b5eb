"""The first screen: until there is a run, one sentence on what this is, and three ways in; later the last of them."""

import gradio as gr
from markupsafe import Markup

from core.problems import Problem, tr
from core.settings.presets import DEMO, DEMO_TIME
from core.workbench.workbench import Workbench
from ui.shared.clicks import LEAD_THERE, PLACE_OF_RUN, Way
from ui.shared.errors import error_text
from ui.shared.html import render_part
from ui.shared.settings_form import Form

HERE = tr("Fine-tune a Llama on this computer, and see what changed.")
PUBLIC = tr("Fine-tune a Llama, and see what changed.")
# The first is for the person at this machine, the second for visitors of a public page.
DEMO_WAYS = (
    Way("demo", PLACE_OF_RUN, tr("Try the demo"), tr("Takes {time} and no graphics card", time=tr(DEMO_TIME))),
    Way("demo", PLACE_OF_RUN, tr("Try the demo"), tr("Takes {time} once it is your turn", time=tr(DEMO_TIME))),
)
DATA_WAYS = (
    Way("data", "#data-path textarea", tr("Use my own data"), tr("CSV, JSON, text, or a Hugging Face name")),
    Way("data", "#upload button", tr("Use my own data"), tr("A file that you upload: CSV, JSON or text")),
)
FIT_WAY = Way("fit", "#card", tr("Will it fit my card?"), tr("How much memory training takes, on any card"))


class Welcome:
    """Layout and handlers; `live` shows all of it until there is a run."""

    def __init__(self, workbench: Workbench, form: Form):
        self._workbench, self._form = workbench, form
        # A page that is built for visitors does not know yet who will come; few have been here before.
        is_new = bool(workbench.rules) or not workbench.runs.rows()
        first = welcome_text(bool(workbench.rules)) if is_new else fit_way_text()
        self.ways = gr.HTML(first, padding=False, elem_id="welcome", js_on_load=LEAD_THERE)

    def connect(self, preset: gr.Dropdown, token: gr.Textbox, tabs: gr.Tabs, trouble: gr.HTML) -> None:
        """Wires the buttons, once the form has all its fields. `trouble` says why the demo cannot start."""
        self._preset, self._tabs, self._trouble = preset, tabs, trouble
        changed = [self.ways, preset, *self._form.components.values(), tabs, trouble]
        self.ways.asked(
            self._lead, [token], changed, api_name="welcome", api_visibility="private", show_progress="hidden"
        )

    def live(self) -> dict:
        workbench = self._workbench
        has_run = workbench.snapshot is not None or bool(workbench.runs.rows())
        return {self.ways: {"value": fit_way_text() if has_run else welcome_text(bool(workbench.rules))}}

    def _lead(self, token: str, asked: gr.EventData) -> dict:
        if asked.ask == "data":
            return {self._tabs: gr.Tabs(selected="data")}
        there = {self._tabs: gr.Tabs(selected="train")}
        return there | self._start_demo(token) if asked.ask == "demo" else there

    def _start_demo(self, token: str) -> dict:
        try:
            config = self._workbench.find_preset(DEMO).config
        except Problem as error:
            return {self._trouble: error_text(error, self._form)}
        filled = self._form.fill(config) | {self._preset: DEMO}
        try:
            self._workbench.start(config, token=token, preset=DEMO)
        except Problem as error:
            return filled | {self._trouble: error_text(error, self._form)}
        return filled | {self._trouble: "", self.ways: fit_way_text()}


def welcome_text(is_public: bool) -> Markup:
    """The sentence and the ways; `is_public` for visitors of a page that everyone can use."""
    ways = [DEMO_WAYS[is_public], DATA_WAYS[is_public], FIT_WAY]
    return render_part("model/welcome.html", "welcome", sentence=PUBLIC if is_public else HERE, ways=ways)


def fit_way_text() -> Markup:
    """The way to Will it fit, for those who have runs."""
    return render_part("model/welcome.html", "fit_way", way=FIT_WAY)
