"""The Measure tab: base and tuned on many rows, each figure with its uncertainty."""

from collections.abc import Callable

import gradio as gr
from markupsafe import Markup

from core.evaluation.record import Evaluation, Source
from core.evaluation.saved import load_evaluations
from core.problems import Problem, RunError, mark, tr
from core.workbench.desk import MEASURING
from core.workbench.measure_job import Measuring
from core.workbench.measure_run import MOST_ROWS
from core.workbench.workbench import Workbench
from ui.compare.measure_view import TEMPLATE, choice_label, evaluation_text
from ui.shared.errors import clear_on
from ui.shared.formatting import duration, notice, run_label
from ui.shared.html import render_part
from ui.shared.run_names import RunNames

SOURCES = [
    (tr("its validation rows"), "validation"),
    (tr("a file of rows"), "file"),
    (tr("a file of prompts"), "prompts"),
]
MAX_ROWS = 10_000  # rows at most: more would take hours and add no certainty
FILES = {
    "file": mark("Questions and answers, in any form that the Data tab reads; they are read with the run's settings."),
    "prompts": mark(
        "Questions without answers: one per line, or CSV, JSON or JSONL. Measures that need a reference are left out."
    ),
}


class MeasureTab:
    """Layout and handlers; `live` says what its parts show now. All pages share one measurement at a time."""

    def __init__(self, workbench: Workbench, token: gr.Textbox):
        self._workbench, self._token = workbench, token
        self._label = RunNames(workbench.runs).run
        with gr.Row():
            self.run = gr.Dropdown(
                # A run that is deleted while it is in the list must reach our own error.
                [], label=tr("Run"), info=tr("Its adapter is measured against its base."), elem_id="measure-run",
                allow_custom_value=True,
            )  # fmt: skip
            self.kind = gr.Radio(SOURCES, value="validation", label=tr("Measure on"), elem_id="measure-kind")
            self.most = gr.Number(
                MOST_ROWS, precision=0, label=tr("Maximum rows"), elem_id="measure-most",
                info=tr("Chosen at random, the same ones each time. (1 to {limit:,})", limit=MAX_ROWS),
            )  # fmt: skip
        self.file = gr.File(label=tr("File"), visible=False, height=120, elem_id="measure-file")
        self.about_file = gr.HTML(padding=False, elem_id="measure-about-file")
        with gr.Row(elem_id="measure-buttons"):
            self.measure = gr.Button(tr("Measure"), variant="primary", elem_id="measure")
            self.stop = gr.Button(tr("Stop measuring"), visible=False, elem_id="stop-measuring")
        self.trouble = gr.HTML(padding=False, elem_id="measure-trouble")
        self.progress = gr.HTML(padding=False, elem_id="measure-progress")
        self.known = gr.Textbox(visible="hidden")  # changes when there are other runs to choose from
        self.ended = gr.Textbox(visible="hidden")  # changes when a measurement has ended
        self.kept = gr.Dropdown([], label=tr("Measured before"), visible=False, elem_id="measure-kept")
        self.result = gr.HTML(padding=False, elem_id="measure-result")

    def connect(self) -> None:
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        asked = [self.run, self.kind, self.file, self.most, self._token]
        self.measure.click(self._measure, asked, [self.trouble], api_name="measure_start", **quiet)
        uploads = (self.file.upload, self.file.clear)
        clear_on([*(part.input for part in (self.run, self.kind, self.most)), *uploads], self.trouble)
        self.stop.click(self._workbench.measuring.stop, api_name="measure_stop", **quiet)
        self.known.change(self._offer, [self.run], [self.run], api_name="measure_offer", **quiet)
        self.kind.change(
            lambda kind: (gr.update(visible=kind in FILES, value=None), notice(tr(FILES.get(kind, "")))),
            [self.kind], [self.file, self.about_file], api_name="measure_kind", **quiet,
        )  # fmt: skip
        gr.on(
            [self.run.change, self.ended.change], self._newest, [self.run], [self.kept, self.result],
            api_name="measure_newest", **quiet,
        )  # fmt: skip
        self.kept.input(self._earlier, [self.run, self.kept], [self.result], api_name="measure_earlier", **quiet)

    def live(self) -> dict:
        state, busy = self._workbench.measuring.state, self._workbench.busy_with
        runs = self._runs()
        return {
            self.known: {"value": str(hash(tuple((run, self._label(run)) for run in runs)))},
            self.measure: {
                "interactive": bool(runs) and not busy and not state.is_doing,
                "value": tr("Measure") if runs else tr("Measure (finish a run first)"),
            },
            self.stop: {"visible": state.is_doing, "interactive": not state.is_stopping},
            self.progress: {"value": progress_text(state, busy, self._label)},
            self.ended: {"value": str(state.ended)},
        }

    def _runs(self) -> list[str]:
        return [row.id for row in self._workbench.runs.rows() if row.has_adapter]

    def _offer(self, chosen: str | None) -> dict:
        """The runs to choose from. What a person chose stays as long as it exists."""
        runs, first = self._runs(), self._workbench.measuring.state.run_id or self._workbench.model_state.adapter
        value = next((run for run in (chosen, first, *runs) if run in runs), None)
        return gr.update(choices=[(self._label(run), run) for run in runs], value=value)

    def _measure(self, run_id: str | None, kind: str, file: str | None, most: float | None, token: str) -> str:
        try:
            if not run_id:
                raise RunError("Choose a run first.")
            if kind in FILES and not file:
                raise RunError("Choose a file first.")
            if most is None or not 1 <= most <= MAX_ROWS:
                raise RunError("Maximum rows must be a number from 1 to {limit:,}.", limit=MAX_ROWS)
            run = self._workbench.runs.open(run_id)
            self._workbench.measuring.start(
                run, Source(kind=kind, path=file if kind in FILES else ""), int(most), token
            )
        except Problem as error:
            return notice(str(error), "error")
        return ""

    def _newest(self, run_id: str | None) -> tuple[dict, str]:
        """The evaluations of a run to choose from, and the newest of them."""
        found, troubles = self._kept(run_id)
        choices = [(choice_label(one), str(one.made)) for one in found]
        value = choices[0][1] if choices else None
        shown = Markup().join([troubles, *(evaluation_text(one, self._label) for one in found[:1])])
        return gr.update(choices=choices, value=value, visible=len(choices) > 1), shown

    def _earlier(self, run_id: str | None, made: str) -> str:
        found, troubles = self._kept(run_id)
        return Markup().join([troubles, *(evaluation_text(one, self._label) for one in found if str(one.made) == made)])

    def _kept(self, run_id: str | None) -> tuple[list[Evaluation], Markup]:
        """A run's evaluations, the newest first, and notices about those that cannot be read."""
        if not run_id:
            return [], Markup()
        unread: list[str] = []
        try:
            found = load_evaluations(self._workbench.runs.open(run_id).folder, unread.append)
        except RunError as error:
            return [], notice(str(error), "error")
        return found, Markup().join(notice(sentence, "warning") for sentence in unread)


def progress_text(state: Measuring, busy: str, label: Callable[[str], str] = run_label) -> Markup:
    """The progress, why there is no result, or why measuring must wait."""
    if state.is_doing:
        left = state.seconds_left
        has_time_left = left is not None and left >= 0.5 and not state.is_stopping  # less is written as 0:00
        told = f"{label(state.run_id)}: {tr(state.words)}"
        if has_time_left:
            told = tr("{doing}, about {time} left", doing=told, time=duration(left))
        return render_part(TEMPLATE, "progress", words=told, share=state.share)
    if busy and busy != MEASURING:
        return notice(tr("Measuring must wait: {doing}.", doing=tr(busy)))
    if not state.said:
        return Markup()
    if state.was_stopped:
        return notice(tr(state.said), "warning")
    about = f"{label(state.run_id)}: " if state.run_id else ""  # another run may be chosen by now
    return notice(about + state.said, "error")
