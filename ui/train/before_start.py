"""The question before a run starts, where its rows are so badly wrong that it would most likely be for nothing.

All rows are read for it, as *Check all rows* does. The run takes them as they were prepared, and reads none again.
"""

from collections.abc import Iterator

import gradio as gr
from markupsafe import Markup

from core.data.prepared.left_out import CONSENT_SHARE
from core.problems import Problem, mark, tr
from core.settings.run_config import RunConfig
from core.threads import Stopped
from core.workbench.workbench import Workbench
from ui.shared.clicks import PLACE_OF_RUN, Way
from ui.shared.errors import error_text
from ui.shared.formatting import notice
from ui.shared.html import render_part
from ui.shared.settings_form import Form

LOOKING = mark("Reading the rows before the run starts…")
WAYS = (
    Way("data", "#fill-in input, #survey .warning", mark("Go to the data"), ""),
    Way("anyway", PLACE_OF_RUN, mark("Start anyway"), ""),
)


def start_after_look(workbench: Workbench, config: RunConfig, token: str, preset: str) -> Iterator[str]:
    """What to show at Start while the rows are read, and then: nothing once the run has begun, or the question.

    Raises Problem.
    """
    yield notice(tr(LOOKING))
    try:
        findings = workbench.badly_wrong(config, token)
    except Stopped:
        yield notice(tr("Stopped before all rows were read."), "warning")
        return
    if not findings:
        workbench.start(config, token=token, preset=preset)
    yield question_text(findings)


def question_text(findings: tuple[str, ...]) -> Markup:
    """One sentence for each finding, and two buttons; nothing without findings."""
    return render_part("train/before_start.html", "question", findings=findings, ways=WAYS) if findings else Markup()


class BeforeStart:
    """Handles the buttons of the question, which is shown in `trouble`."""

    def __init__(self, workbench: Workbench, form: Form, preset: gr.Dropdown, token: gr.Textbox):
        self._workbench, self._form, self._preset, self._token = workbench, form, preset, token

    def connect(self, trouble: gr.HTML, tabs: gr.Tabs) -> None:
        """Wires the buttons, once the form has all its fields. `trouble` needs `ui.shared.clicks.LEAD_THERE`."""
        self._trouble, self._tabs = trouble, tabs
        consent = self._form.components["data.allow_left_out"]
        trouble.asked(
            self._go_on, {*self._form.components.values(), self._preset, self._token}, [trouble, tabs, consent],
            api_name="before_start", api_visibility="private", show_progress="hidden",
        )  # fmt: skip

    def _go_on(self, values: dict, asked: gr.EventData) -> dict:
        if asked.ask == "data":
            return {self._tabs: gr.Tabs(selected="data")}
        consent = self._form.components["data.allow_left_out"]
        state = self._workbench.preparing
        agrees = any(left and left.share > CONSENT_SHARE for left in (state.left_out, state.validation_left_out))
        try:
            config = self._form.read(values | {consent: True} if agrees else values)
            self._workbench.start(config, token=values[self._token], preset=values[self._preset])
        except Problem as error:
            return {self._trouble: error_text(error, self._form)}
        return {self._trouble: ""} | ({consent: True} if agrees else {})
