"""Where the buttons of a run that has ended lead: to its answers, and to measuring it. *Export* is the Export tab's."""

import gradio as gr

from core.problems import Problem
from core.runs.adapter_ref import Pane
from core.workbench.workbench import Workbench
from ui.shared.formatting import notice
from ui.shared.run_names import RunNames


class NextSteps:
    """Made once all tabs are there. `lab` has the tabs inside Compare, `run` is the run to measure."""

    def __init__(self, workbench: Workbench, tabs: gr.Tabs, lab: gr.Tabs, run: gr.Dropdown, token: gr.Textbox):
        self._workbench, self._tabs, self._lab, self._run, self._token = workbench, tabs, lab, run, token

    def opened_from(self, ended: gr.HTML, trouble: gr.HTML) -> None:
        """`ended` has the buttons; `trouble` says why the run cannot be loaded."""
        self._trouble = trouble
        shown = [self._tabs, self._lab, self._run, trouble]
        ended.asked(
            self._lead, [self._token], shown, api_name="next_step", api_visibility="private", show_progress="hidden"
        )

    def _lead(self, token: str, asked: gr.EventData) -> dict:
        if asked.ask == "export":
            return {self._trouble: gr.skip()}  # Gradio takes an empty dict for a value
        compare = {self._tabs: gr.Tabs(selected="compare")}
        if asked.ask == "measure":
            names = RunNames(self._workbench.runs)
            runs = [(names.run(row.id), row.id) for row in self._workbench.runs.rows() if row.has_adapter]
            return compare | {
                self._lab: gr.Tabs(selected="measure"),
                self._run: gr.update(choices=runs, value=asked.run),
            }
        step = int(asked.step) if asked.step else None
        state = self._workbench.model_state
        try:
            if Pane(state.adapter, state.step) != Pane(asked.run, step):
                self._workbench.lab.load_run(asked.run, token, step)
        except Problem as error:
            return {self._trouble: notice(str(error), "error")}
        return compare | {self._lab: gr.Tabs(selected="chat"), self._trouble: ""}
