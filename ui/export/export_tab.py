"""The Export tab: a run as an adapter, a merged model, GGUF or a script, on this machine or on Hugging Face."""

import itertools
import json
import shutil
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from core.disk.file_manager import can_open, open_folder
from core.export.hub import Pushed
from core.export.ollama import is_running
from core.export.record import load_exports
from core.export.wanted import Wanted, default_folder
from core.hub_names import exact_name
from core.model.adapter_kind import WEIGHTS
from core.problems import ConfigError, Problem, RunError, mark, tr
from core.runs.run_folder import Run
from core.workbench.desk import EXPORTING
from core.workbench.export_job import Created, Exporting
from core.workbench.workbench import Workbench
from ui.compare.sampling_form import SamplingForm
from ui.export.export_cards import SIZED, ExportCards
from ui.export.export_view import TEMPLATE, Sizes, head_text, made_text, script_text
from ui.shared.clicks import CLICKS, COPY
from ui.shared.errors import clear_on
from ui.shared.formatting import disk, notice
from ui.shared.html import render_part
from ui.shared.run_names import RunNames

FINAL = ""  # the value of a run's own adapter among those to export; a checkpoint's is its step
ABOUT_BASE = mark(
    "With the 4-bit weights the merged model answers as in Compare. The adapter was not trained on the original "
    "weights, so its answers change with them."
)


class ExportTab:
    """Layout and handlers; `live` says what its parts show now. All pages share one export at a time."""

    def __init__(self, workbench: Workbench, token: gr.Textbox, sampling: SamplingForm):
        self._workbench, self._token = workbench, token
        self._label = RunNames(workbench.runs).run
        self._calls = itertools.count()
        any_value = {"allow_custom_value": True}  # a run that is deleted meanwhile must reach our own error
        with gr.Row():
            self.run = gr.Dropdown([], label=tr("Run"), elem_id="export-run", **any_value)
            self.adapter = gr.Dropdown([], label=tr("Adapter"), elem_id="export-adapter-choice", **any_value)
        with gr.Row():
            self.onto = gr.Radio(
                [(tr("as you tried it"), "trained"), (tr("the original 16-bit weights"), "original")],
                value="trained",
                label=tr("Merge into"),
                info=tr(ABOUT_BASE),
                elem_id="export-onto",
            )
            self.test = gr.Checkbox(
                True,
                label=tr("Test each export before it is handed over"),
                info=tr("It is loaded as other programs load it, and compared with the model on validation rows."),
                elem_id="export-test",
            )
        with gr.Row(elem_id="take", equal_height=True):
            self.cards = ExportCards(sampling)
        self.trouble = gr.HTML(padding=False, elem_id="export-trouble")
        self.progress = gr.HTML(padding=False, elem_id="export-progress")
        self.stop = gr.Button(tr("Stop exporting"), visible=False, elem_id="stop-export")
        self.made = gr.HTML(padding=False, elem_id="exports", js_on_load=CLICKS + COPY)
        self.known = gr.Textbox(visible="hidden")  # changes when there are other runs to choose from
        self.ended = gr.Textbox(visible="hidden")  # changes when an export has ended
        self.wanted = gr.Textbox(visible="hidden")  # the run and step that another tab asks for

    def connect(self) -> None:
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        chosen = [self.run, self.adapter, self.onto, *self.cards.sizing]
        asked = {*chosen, self.test, *self.cards.pushing, *self.cards.chatting, self._token}
        for kind, button in self.cards.buttons.items():
            button.click(
                lambda values, kind=kind: self._export(kind, values), asked, [self.trouble],
                api_name=f"export_{kind}", **quiet,
            )  # fmt: skip
        clear_on(
            [part.input for part in (*chosen, self.test, self.cards.as_compared, *self.cards.pushing)], self.trouble
        )
        self.stop.click(self._workbench.exporting.stop, api_name="stop_export", **quiet)
        offered = [self.run, self.adapter, self.onto, self.wanted]
        self.known.change(self._offer, [self.run, self.wanted], [self.run], api_name="export_offer", **quiet)
        self.wanted.change(self._take, [self.wanted], [self.run, self.adapter], api_name="export_wanted", **quiet)
        self.run.change(self._chosen, offered, [self.adapter, self.onto], api_name="export_run", **quiet)
        heads = list(self.cards.heads.values())
        gr.on(
            [part.change for part in chosen], self._describe, {*chosen, *self.cards.chatting}, heads,
            api_name="export_about", trigger_mode="always_last", **quiet,
        )  # fmt: skip
        gr.on([self.run.change, self.ended.change], self._made, [self.run], [self.made], api_name="exports", **quiet)
        self.made.asked(self._asked, [self.run], [self.trouble], api_name="export_asked", **quiet)

    def opened_from(self, tabs: gr.Tabs, *places: gr.HTML) -> None:
        """The buttons in these places that ask to export a run, or one of its checkpoints, lead here."""
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        for place in places:
            place.asked(self._of_kept, None, [tabs, self.wanted], api_name=f"export_from_{place.elem_id}", **quiet)

    def live(self) -> dict:
        state, busy = self._workbench.exporting.state, self._workbench.busy_with
        runs = self._runs()
        can_export = bool(runs) and not busy and not state.is_doing
        buttons = {button: {"interactive": can_export} for button in self.cards.buttons.values()}
        return buttons | {
            self.known: {"value": str(hash(tuple((run, self._label(run)) for run in runs)))},
            self.stop: {"visible": state.is_doing, "interactive": not state.is_stopping},
            self.progress: {"value": self._progress_text(state, busy, bool(runs))},
            self.ended: {"value": str(state.ended)},
        }

    # What can be exported

    def _runs(self) -> list[str]:
        return [row.id for row in self._workbench.runs.rows() if row.has_adapter or row.checkpoints]

    def _offer(self, chosen: str | None, wanted: str) -> dict:
        """The runs to choose from. What a person chose, here or on another tab, stays as long as it exists."""
        runs, first = self._runs(), self._workbench.model_state.adapter
        value = next((run for run in (chosen, _asked_for(wanted)[0], first, *runs) if run in runs), None)
        return gr.update(choices=[(self._label(run), run) for run in runs], value=value)

    def _chosen(self, run_id: str | None, step: str | None, onto: str, wanted: str) -> tuple[dict, dict]:
        """The adapters of the run, and what they can be merged into."""
        if step is None and _asked_for(wanted)[0] == run_id:  # none was chosen here yet
            step = _asked_for(wanted)[1]
        try:
            run = self._open(run_id)
            config = run.config()
        except RunError:
            return gr.update(choices=[], value=None), gr.skip()
        choices = _adapters(run)
        value = step if step in [value for _, value in choices] else choices[0][1] if choices else None
        is_4bit, exact = config.model.load_in_4bit, config.model.model_name
        named = exact_name(config.model.model_name, load_in_4bit=False)
        size = self._sizes(run, FINAL).parameters * 2
        original = tr("the original 16-bit weights")
        if named != exact and size:
            original = tr("the original 16-bit weights, a download of about {size}", size=disk(size))
        bases = [(tr("as you tried it"), "trained"), (original, "original")]
        onto = onto if is_4bit else "trained"
        return gr.update(choices=choices, value=value), gr.update(choices=bases, value=onto, visible=is_4bit)

    def _open(self, run_id: str | None) -> Run:
        if not run_id:
            raise RunError("Choose a run first.")
        return self._workbench.runs.open(run_id)

    def _sizes(self, run: Run, step: str | None) -> Sizes:
        folder = run.folder / "checkpoints" / f"step-{step}" if step else run.adapter_dir
        try:
            adapter = (folder / WEIGHTS).stat().st_size
        except OSError:
            adapter = 0
        try:
            parameters = self._workbench.shape_of(run.config().model, None, fetch=False).parameters
        except Problem:  # its config.json is not on this machine
            parameters = 0
        return Sizes(parameters, adapter, shutil.disk_usage(run.folder).free)

    def _wanted(self, kind: str, run: Run, values: dict) -> tuple[Wanted, int | None]:
        """What the choices ask for, and the checkpoint's step. Raises ConfigError."""
        chosen = values[self.adapter]
        if chosen is None or chosen not in [value for _, value in _adapters(run)]:
            raise ConfigError("This adapter does not exist any more; choose one from the list.")
        step = int(chosen) if chosen else None
        return self.cards.wanted(kind, run, step, values[self.onto], values), step

    def _describe(self, values: dict) -> dict:
        try:
            run = self._open(values[self.run])
            sizes = self._sizes(run, values[self.adapter])
        except RunError:
            run, sizes = None, Sizes()
        found = {}
        for kind, head in self.cards.heads.items():
            try:
                wanted = self._wanted(kind, run, values)[0] if run and kind in SIZED else None
            except ConfigError:  # no adapter or precision yet
                wanted = None
            found[head] = head_text(kind, wanted, sizes)
        return found

    # What is asked for

    def _export(self, kind: str, values: dict) -> str:
        job, token = self._workbench.exporting, values[self._token]
        try:
            run = self._open(values[self.run])
            if kind == "script":
                job.script(run, default_folder(run, "script").resolve(), token)
            else:
                wanted, step = self._wanted(kind, run, values)
                how = step, values[self.test], token, values[self.cards.install]
                if kind == "push":
                    job.push(run, wanted, self.cards.repository(values), *how)
                else:
                    job.export(run, wanted, *how)
        except Problem as error:
            return notice(str(error), "error")
        return ""

    def _made(self, run_id: str | None) -> str:
        if not run_id:
            return ""
        unread: list[str] = []
        try:
            run = self._open(run_id)
        except RunError as error:
            return notice(str(error), "error")
        exports = load_exports(run, unread.append)
        is_owner = not self._workbench.rules
        shown = script_text(run) + made_text(run, exports, is_owner and can_open(), is_owner and is_running())
        return Markup().join([shown, *(notice(sentence, "warning") for sentence in unread)])

    def _asked(self, run_id: str | None, asked: gr.EventData) -> str:
        """A press of a button beside an export: for whoever runs the program, not for visitors."""
        try:
            run = self._open(run_id)
            exports = load_exports(run)
            if asked.ask == "ollama" and asked.modelfile in {str(f.path) for one in exports for f in one.files}:
                self._workbench.exporting.create_in_ollama(run, Path(asked.modelfile))
            elif asked.ask == "open" and not self._workbench.rules and asked.folder in {str(e.out) for e in exports}:
                open_folder(Path(asked.folder))
        except Problem as error:
            return notice(str(error), "error")
        except OSError as error:
            words = tr("The folder cannot be shown ({reason}); its path is below.", reason=error.strerror)
            return notice(words, "error")
        return ""

    def _progress_text(self, state: Exporting, busy: str, has_runs: bool) -> str:
        """The progress, why there is no result, or why exporting must wait."""
        if state.is_doing:
            told = f"{self._label(state.run_id)}: {tr(state.what)}. {tr(state.words)}…"
            return render_part(TEMPLATE, "progress", words=told, share=state.share)
        if busy and busy != EXPORTING:
            return notice(tr("Exporting must wait: {busy}.", busy=tr(busy)))
        if not has_runs:
            return notice(tr("There is nothing to export yet: finish a run first."))
        if isinstance(state.found, Pushed):
            return render_part(TEMPLATE, "pushed", url=state.found.url, is_private=state.found.is_private)
        if isinstance(state.found, Created):
            return render_part(TEMPLATE, "created", name=state.found.name)
        if not state.said:
            return ""
        about = "" if state.was_stopped else f"{self._label(state.run_id)}: "  # another run may be chosen by now
        return notice(about + state.said, "warning" if state.was_stopped else "error")

    # From other tabs

    def _of_kept(self, asked: gr.EventData) -> tuple:
        if asked.ask != "export":
            return gr.skip(), gr.skip()
        return gr.Tabs(selected="export"), json.dumps([asked.run, asked.step, next(self._calls)])

    def _take(self, wanted: str) -> tuple[dict, dict]:
        run_id, step = _asked_for(wanted)
        try:
            adapters = _adapters(self._open(run_id))
        except RunError:
            return gr.skip(), gr.skip()
        return gr.update(value=run_id), gr.update(choices=adapters, value=step)


def _asked_for(wanted: str) -> tuple[str | None, str | None]:
    """The run and the step that another tab asks for, if one does."""
    run_id, step, _ = json.loads(wanted) if wanted else (None, None, None)
    return run_id, step


def _adapters(run: Run) -> list[tuple[str, str]]:
    """The adapters of a run to choose from, the final one first."""
    final = [(tr("final"), FINAL)] if run.has_adapter else []
    kept = [(tr("checkpoint at step {step:,}", step=one.step), str(one.step)) for one in reversed(run.checkpoints())]
    return final + kept
