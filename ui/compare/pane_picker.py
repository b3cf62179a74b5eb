"""Which models the chat asks: the run to load, and the two or three panes."""

import gradio as gr

from core.problems import Problem, RunError
from core.runs.adapter_ref import BASE, Pane
from core.workbench.workbench import Workbench
from ui.shared.formatting import notice, pane_label
from ui.shared.run_names import RunNames

NONE = ("none", "")


class PanePicker:
    """Made inside a layout; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench):
        self._workbench, self._names = workbench, RunNames(workbench.runs)
        # A run that is deleted while it is in a list must reach the lab, which says so in a sentence.
        any_value = {"allow_custom_value": True, "min_width": 200}
        with gr.Row(elem_id="pick"):
            self.runs = gr.Dropdown(
                [], label="Tuned", info="A run whose adapter is compared with its base.", scale=3, elem_id="runs",
                **any_value,
            )  # fmt: skip
            self.load = gr.Button("Load it", scale=0, min_width=110, elem_id="load-run")
        with gr.Row(elem_id="pick-panes"):
            base = (pane_label(BASE), BASE.key)
            self.left = gr.Dropdown([base], value=BASE.key, label="Left", elem_id="pane-left", **any_value)
            self.right = gr.Dropdown([NONE, base], value="", label="Right", elem_id="pane-right", **any_value)
            self.third = gr.Dropdown([NONE, base], value="", label="Third", elem_id="pane-third", **any_value)
        # The chosen values change when one of these does, not whenever there is another run to choose.
        self.loaded, self.suggested = gr.Textbox(BASE.key, visible="hidden"), gr.Textbox("", visible="hidden")
        self.choices = [self.left, self.right, self.third]

    def connect(self, token: gr.Textbox, trouble: gr.HTML, **event_options) -> None:
        self.load.click(self.load_run, [self.runs, token], [trouble], **event_options)
        self.loaded.change(self._default_panes, [self.loaded], [self.left, self.right], **event_options)
        self.suggested.change(self.suggest, [self.suggested, self.runs], [self.runs], **event_options)

    def live(self) -> dict:
        state = self._workbench.model_state
        runs = [(self._names.run(run.id), run.id) for run in self._workbench.runs.rows() if run.has_adapter]
        choices, loaded = self._panes(), Pane(state.adapter, state.step)
        # A run in progress is on the model, but there is nothing to ask before its adapter is saved.
        can_be_asked = state.adapter and loaded.key in [key for _, key in choices]
        return {
            self.runs: {"choices": runs},
            self.suggested: {"value": self._suggested()},
            self.load: {"interactive": bool(runs) and not self._workbench.busy_with},
            self.left: {"choices": choices},
            self.right: {"choices": [NONE, *choices]},
            self.third: {"choices": [NONE, *choices]},
            self.loaded: {"value": loaded.key if can_be_asked else BASE.key},
        }

    def _panes(self) -> list[tuple[str, str]]:
        return [(self._names.pane(pane), pane.key) for pane in self._workbench.lab.choices()]

    def chosen(self, values: dict) -> tuple[Pane, ...]:
        """The panes that the form names; the left one is always there."""
        keys = [key for key in (values[self.left] or BASE.key, values[self.right], values[self.third]) if key]
        if not all(isinstance(key, str) for key in keys):  # the page never sends that, but a client can
            raise gr.Error("A pane is named by text: base, or a run's id.", print_exception=False)
        return tuple(Pane.from_key(key) for key in keys)

    def load_run(self, run_id: str | None, token: str) -> str:
        run_id = run_id or self._suggested()  # a click may come before the box shows it
        try:
            if not run_id:
                raise RunError("Choose a run first.")
            self._workbench.lab.load_run(self._workbench.runs.find(run_id).id, token)
        except Problem as error:
            return notice(str(error), "error")
        return ""

    def suggest(self, run_id: str, chosen: str | None) -> str | None:
        """The loaded run. While none is loaded, what was chosen stays; otherwise it is the newest run."""
        is_loaded = run_id and run_id == self._workbench.model_state.adapter
        return (run_id if is_loaded else chosen or run_id) or None

    def _default_panes(self, loaded: str) -> tuple[dict, dict]:
        """The base, and next to it the loaded adapter; with the choices, which give the values their names."""
        panes = self._panes()
        right = "" if loaded == BASE.key else loaded
        return gr.update(choices=panes, value=BASE.key), gr.update(choices=[NONE, *panes], value=right)

    def _suggested(self) -> str:
        """The loaded run, or else the newest that has an adapter; empty when there is none."""
        runs = [run.id for run in self._workbench.runs.rows() if run.has_adapter]
        wanted = self._workbench.model_state.adapter or next(iter(runs), "")
        return wanted if wanted in runs else ""
