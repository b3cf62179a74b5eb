"""The opened run on the Runs tab: its components, what they show, and the buttons that concern this run alone."""

import gradio as gr
from markupsafe import Markup

from core.problems import Problem, RunError, mark, tr
from core.runs.adapter_ref import Pane
from core.runs.overview import Overview
from core.runs.run_list import RunList
from core.workbench.workbench import Workbench
from ui.runs.group_view import group_text
from ui.runs.run_view import course_text, head_text, kept_text, log_text
from ui.runs.runs_table import Shown
from ui.shared.clicks import CLICKS
from ui.shared.errors import clear_on
from ui.shared.formatting import notice
from ui.shared.settings_form import Form
from ui.train.run_state_text import RESUMABLE
from ui.train.samples_view import samples_text

# A run opened below a long table is scrolled into view, once for each run.
SCROLL_TO_OPENED = """
let before = '';
const look = () => {
    const id = element.querySelector('[data-opened]')?.dataset.opened ?? '';
    if (id && id !== before) element.scrollIntoView({block: 'start', behavior: 'smooth'});
    before = id;
};
look();
watch('value', look);
"""
CONTINUES_FROM_RUN = mark("The Train tab now has the settings of this run and continues from {run}; start it there.")
CONTINUES_FROM_STEP = mark(
    "The Train tab now has the settings of this run and continues from {run}, step {step:,}; start it there."
)
RUN_IS_LOADED = mark("{run} is loaded. Ask base and tuned the same question on the Compare tab.")
STEP_IS_LOADED = mark("{run}, step {step:,}, is loaded. Ask base and tuned the same question on the Compare tab.")


class OpenedRun:
    """Layout and handlers. `parts` are the components that change with the run that is opened."""

    def __init__(
        self,
        workbench: Workbench,
        runs: RunList,
        form: Form,
        preset: gr.Dropdown,
        token: gr.Textbox,
        tabs: gr.Tabs,
    ):
        self._workbench, self._runs = workbench, runs
        self._form, self._preset, self._token, self._tabs = form, preset, token, tabs
        # Changes when another adapter has been loaded. Outside the column, which would show it when it becomes visible.
        self.loaded, self.loaded_words = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden")
        with gr.Column(visible=False, elem_id="opened") as self.box:
            self.head = gr.HTML(padding=False, elem_id="run-head", js_on_load=SCROLL_TO_OPENED)
            with gr.Row():
                self.name = gr.Textbox(
                    label=tr("Name"), max_lines=1, max_length=200, elem_id="run-name", scale=1, min_width=190
                )
                self.note = gr.Textbox(
                    label=tr("Note"),
                    placeholder=tr("What you tried, and how it went"),
                    max_lines=6,
                    max_length=5000,
                    scale=3,
                    min_width=190,
                    elem_id="run-note",
                )
            with gr.Row(elem_id="run-buttons"):
                self.save = _button(tr("Save name and note"), "run-save")
                self.resume = _button(tr("Resume"), "run-resume")
                self.delete = _button(tr("Delete"), "run-delete")
                self.close = _button(tr("Close"), "run-close")
            self._lay_out_details()
        self.parts = [
            self.box, self.name, self.note, self.resume, self.delete, self.trouble, self.head, self.kept, self.course,
            self.samples, self.log, self.folder, self.settings_box, self.settings,
        ]  # fmt: skip

    def _lay_out_details(self) -> None:
        self.trouble = gr.HTML(padding=False, elem_id="run-trouble", js_on_load=CLICKS)  # asks before a run is deleted
        self.kept = gr.HTML(padding=False, elem_id="run-kept", js_on_load=CLICKS)
        self.course = gr.HTML(padding=False, elem_id="run-course")
        self.samples = gr.HTML(padding=False, elem_id="run-samples")
        self.log = gr.HTML(padding=False, elem_id="run-log")
        self.folder = gr.Textbox(
            label=tr("Folder"), interactive=False, buttons=["copy"], max_lines=1, elem_id="run-folder"
        )
        with gr.Accordion(tr("Settings"), open=False, elem_id="run-settings") as self.settings_box:
            # Not a `gr.Code`, whose editor is a sixth of all that a browser loads for this page.
            self.settings = gr.Textbox(
                label="config.yaml", interactive=False, buttons=["copy"], max_lines=24, elem_id="run-yaml"
            )

    def connect(self, shown: gr.State) -> None:
        """Wires Resume and the buttons of the adapters; `shown` is the page's `Shown`."""
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        self.resume.click(self._resume, [shown, self._token], [self.trouble], api_name="press_resume", **hidden)
        clear_on([self.name.change, self.note.change], self.trouble)
        # Once another adapter is loaded, what was said before goes, unless it is just that this one is loaded. In the
        # browser, because an answer from the server could overtake what is said next.
        kept = "(words, said) => said === words ? said : ''"
        self.loaded.change(None, [self.loaded_words, self.trouble], [self.trouble], js=kept, **hidden)
        filled = [self._preset, *self._form.components.values(), self._tabs]
        self.kept.asked(self._use, [self._token], [self.trouble, *filled], api_name="use_run", **hidden)

    def show(self, row: Overview | None) -> dict:
        """The opened run without its name and note, which a person may be writing; None hides it."""
        if row is None:
            return {self.box: gr.update(visible=False), self.head: ""}
        run = self._runs.open(row.id)
        snapshot = run.snapshot()
        try:
            settings = run.config().to_yaml()
        except RunError:  # the head says what is wrong with them
            settings = ""
        delete = tr("Delete (this run is in progress)") if row.is_going_on else tr("Delete")
        return {
            self.box: gr.update(visible=True),
            self.head: self.head_of(row),
            self.resume: gr.update(visible=row.status in RESUMABLE),
            self.delete: gr.update(interactive=not row.is_going_on, value=delete),
            self.kept: kept_text(run, snapshot),
            self.course: course_text(snapshot),
            self.samples: samples_text(snapshot),
            self.log: log_text(run),
            self.folder: str(run.folder.resolve()),
            self.settings_box: gr.update(visible=bool(settings)),
            self.settings: settings,
        }

    def head_of(self, row: Overview) -> Markup:
        """The run's facts, and the table of the variations that it is one of."""
        return head_text(row) + group_text(self._runs, row.group, row.id)

    def open(self, row: Overview) -> dict:
        """The run with its name and note, as it is just being opened."""
        return self.show(row) | {self.name: row.name, self.note: row.note, self.trouble: ""}

    def live(self) -> dict:
        state = self._workbench.model_state
        if not state.adapter:
            return {self.loaded: {}, self.loaded_words: {}}
        name = self._runs.name_of(state.adapter) or state.adapter
        return {
            self.loaded: {"value": Pane(state.adapter, state.step).key},
            self.loaded_words: {"value": _loaded_text(name, state.step)},
        }

    def _resume(self, shown: Shown, token: str) -> str:
        try:
            self._workbench.resume(self._runs.find(shown.opened).id, token or None)
        except Problem as error:
            return notice(str(error), "error")
        return ""  # the head says that it is in progress

    def _use(self, token: str, asked: gr.EventData) -> dict:
        """Loads the adapter of a run or of a checkpoint, or sets the form to continue training from it.

        The button that takes it home is the Export tab's.
        """
        if asked.ask == "export":
            return {self.trouble: gr.skip()}  # Gradio takes an empty dict for a value
        step = int(asked.step) if asked.step else None
        try:
            run = self._runs.open(asked.run)
            if asked.ask == "load":
                self._workbench.lab.load_run(run.id, token, step=step)
                return {self.trouble: _loaded_text(run.name, step)}
            place = run.id if step is None else f"{run.id}/checkpoints/{run.checkpoint(step).folder.name}"
            config = run.config()
        except Problem as error:
            return {self.trouble: notice(str(error), "error")}
        config.adapter.continue_from = place
        presets = {preset.name for preset in self._workbench.presets()}
        continues = CONTINUES_FROM_RUN if step is None else CONTINUES_FROM_STEP
        return self._form.fill(config) | {
            self.trouble: notice(tr(continues, run=run.name, step=step), "good"),
            self._preset: run.preset if run.preset in presets else gr.skip(),
            self._tabs: gr.Tabs(selected="train"),
        }


def _loaded_text(name: str, step: int | None) -> str:
    return notice(tr(RUN_IS_LOADED if step is None else STEP_IS_LOADED, run=name, step=step), "good")


def _button(words: str, elem_id: str) -> gr.Button:
    return gr.Button(words, size="sm", scale=0, min_width=80, elem_id=elem_id)
