"""The Train tab: the settings, Start, and the run: its progress, charts, answers and receipt."""

from collections.abc import Iterator

import gradio as gr
from markupsafe import Markup

from core.problems import Problem, RunError, mark, tr
from core.runs.snapshot import Snapshot
from core.workbench.desk import TRAINING
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from ui.model.other_model import OtherModel
from ui.shared.clicks import CLICKS, LEAD_THERE
from ui.shared.errors import error_text
from ui.shared.formatting import notice
from ui.shared.run_charts import charts
from ui.shared.run_names import RunNames
from ui.shared.settings_form import Form
from ui.train.before_start import start_after_look
from ui.train.fit_form import FitForm
from ui.train.group_heading import LAYERS_TITLE, group_heading
from ui.train.queue_panel import QueuePanel
from ui.train.receipt_view import receipt_text
from ui.train.run_figures import end_text, next_steps_text
from ui.train.run_state_text import best_button, best_text, can_resume, line_text, resume_text, state_text
from ui.train.samples_view import samples_text

# Below "All settings": each group's title, and the settings in its rows. The first has the adapted layers.
OTHER_SETTINGS = {
    LAYERS_TITLE: (
        ("adapter.target_modules", "adapter.continue_from"),
        ("adapter.modules_to_save", "adapter.trainable_tokens", "adapter.lora_dropout"),
        ("adapter.use_rslora", "adapter.use_dora", "training.neftune_noise_alpha"),
        ("training.completion_only_loss", "training.packing", "training.train_sampling_strategy"),
    ),
    mark("Schedule, optimizer and memory"): (
        ("training.warmup_steps", "training.lr_scheduler_type", "training.num_cycles"),
        ("training.optim", "training.adam_beta2", "training.weight_decay"),
        ("training.max_grad_norm", "training.use_gradient_checkpointing", "training.seed"),
    ),
    mark("While it trains: checks, checkpoints, when to stop"): (
        ("training.eval_steps", "training.save_steps", "training.save_total_limit"),
        ("training.early_stopping_patience", "training.stop_at_loss", "training.report_to"),
        ("training.sample_prompts", "training.hub_model_id", "training.hub_private_repo"),
    ),
}
# With another preset the form comes first again, unless a run is in progress.
UNFOLD = """preset => {
    if (!document.querySelector("#run-line .going-on")) document.getElementById("frame").dataset.form = "open";
    return [preset];
}"""


class TrainTab:
    """Layout and handlers; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench, form: Form, other: OtherModel, preset: gr.Dropdown, token: gr.Textbox):
        self._workbench, self._form, self._preset, self._token = workbench, form, preset, token
        self._summary = ("", "")  # the run that was shown last, and what it does
        self._drawn: tuple[tuple, dict] | None = None  # what was drawn last, and the result
        self.queue = None if workbench.rules else QueuePanel(workbench, form, preset, token)
        self.run_line = gr.HTML(padding=False, elem_id="run-line")
        with gr.Column(elem_id="train-form"):  # folded while a run comes first (run.js)
            other.say_here()
            self._add_form(form, token)
        self.trouble = gr.HTML(padding=False, elem_id="train-trouble", js_on_load=LEAD_THERE)
        self.elsewhere = gr.HTML(padding=False, elem_id="last-run-elsewhere")
        self.shown_run = gr.Textbox("", visible="hidden")  # changes when a run begins and when it ends
        with gr.Column(elem_id="last-run") as self.last_run:
            self._add_run()
        if self.queue:  # it may go on when the last run is no longer shown
            self.queue.add_list()
        with gr.Column(elem_id="about-last-run") as self.about_last_run:
            self._add_about_run()

    def _add_form(self, form: Form, token: gr.Textbox) -> None:
        """How long, how strong, how many rows at once and how fast; the rest unfolds; whether it fits, and Start."""
        with gr.Row(elem_id="quick", equal_height=True):
            with gr.Column(min_width=200):
                form.add("training.max_steps", "training.num_train_epochs")
            with gr.Column(min_width=200):
                form.add("adapter.r", "adapter.lora_alpha")
                self.twice = gr.Button(tr("alpha = 2 × rank"), size="sm", elem_id="twice")
            with gr.Column(min_width=200):
                form.add("training.per_device_train_batch_size", "training.gradient_accumulation_steps")
            with gr.Column(min_width=200):
                form.add("training.learning_rate", "training.embedding_learning_rate")
        with gr.Accordion(tr("All settings"), open=False, elem_id="all-settings"):
            headings = {}
            for title, rows in OTHER_SETTINGS.items():
                headings[title] = gr.HTML(group_heading(title), padding=False)
                for names in rows:
                    with gr.Row(equal_height=True):
                        form.add(*names)
        self.fit = FitForm(self._workbench, form, token, headings[LAYERS_TITLE])
        self.start = gr.Button(tr("Start training"), variant="primary", elem_id="start")
        if self.queue:
            self.queue.add_form()

    def _add_run(self) -> None:
        """The run in progress, or the last one: how far it is."""
        self.state = gr.HTML(padding=False, elem_id="train-state")
        with gr.Row(elem_classes="run-action"):
            self.resume = gr.Button(tr("Resume"), size="md", visible=False, elem_id="resume")
            self.resume_words = gr.HTML(padding=False, elem_id="resume-words")

    def _add_about_run(self) -> None:
        """How it went."""
        self.end = gr.HTML(padding=False, elem_id="train-end", js_on_load=CLICKS)
        self.charts = gr.HTML(padding=False, elem_id="charts")
        with gr.Row(elem_classes="run-action"):
            words = tr("Compare with the best checkpoint")
            self.best = gr.Button(words, size="md", visible=False, elem_id="compare-best")
            self.best_words = gr.HTML(padding=False, elem_id="best-words")
        self.best_trouble = gr.HTML(padding=False, elem_id="best-trouble")
        self.samples = gr.HTML(padding=False, elem_id="samples")
        self.receipt = gr.HTML(padding=False, elem_id="receipt")

    def connect(self) -> None:
        """Wires the handlers, once the form has all its fields."""
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        rank, alpha = self._form.components["adapter.r"], self._form.components["adapter.lora_alpha"]
        self.twice.click(lambda r: 2 * (r or 0), [rank], [alpha], **hidden)
        inputs = set(self._form.components.values()) | {self._token, self._preset}
        started = self.start.click(self._start, inputs, [self.trouble], **hidden)
        queued = self.queue.connect(self.trouble) if self.queue else []
        self.actions = [started, *queued]  # the page is drawn anew at once after these, so that the run comes first
        at_once = hidden | {"queue": False}
        self.shown_run.change(
            lambda: (gr.update(visible=True), gr.update(visible=True), "", ""), None,
            [self.last_run, self.about_last_run, self.elsewhere, self.best_trouble], api_name="show_run", **at_once,
        )  # fmt: skip
        # Names of their own, so that /resume stays free for API clients.
        self.resume.click(self._resume, [self._token], [self.trouble], api_name="press_resume", **hidden)
        self.best.click(self._load_best, [self._token], [self.best_trouble], api_name="load_best", **hidden)

    def follow(self, preset_chosen: gr.Textbox) -> None:
        """Once a person chooses another preset, the form comes first, and the last run may be about something else."""
        preset_chosen.change(
            self._other_preset, [self._preset], [self.last_run, self.about_last_run, self.elsewhere], js=UNFOLD,
            api_visibility="private", show_progress="hidden", queue=False,
        )  # fmt: skip

    def live(self) -> dict:
        workbench = self._workbench
        busy = workbench.busy_with, workbench.start_waits_for
        shown = workbench.snapshot, workbench.model_state, *busy, workbench.trouble
        # Snapshots and states are immutable, so the same ones look the same. Drawing a long run takes a while.
        if self._drawn is None or any(a is not b for a, b in zip(self._drawn[0], shown, strict=True)):
            self._drawn = shown, self._draw(*shown)
        return self._drawn[1]

    def _draw(self, snapshot: Snapshot | None, state: ModelState, busy: str, waits_for: str, trouble: str) -> dict:
        start, resume = tr("Start training"), tr("Resume")
        if waits_for:
            why = tr(waits_for)
            start, resume = tr("Start training ({why})", why=why), tr("Resume ({why})", why=why)
        if is_queued := self._is_queued(waits_for):
            start = tr("Add to queue")
        has_charts = snapshot is not None and (snapshot.steps or snapshot.memory or not snapshot.is_over)
        drawn = charts(snapshot, has_choices=True) if has_charts else ""
        return {
            self.shown_run: {"value": f"{snapshot.run_id} {snapshot.is_over}" if snapshot else ""},
            self.start: {"interactive": not waits_for or is_queued, "value": start},
            self.run_line: {"value": line_text(snapshot, self._summary_of(snapshot))},
            self.state: {"value": notice(trouble, "error") + state_text(snapshot)},
            self.resume: {
                "visible": can_resume(snapshot),
                "interactive": not waits_for,
                "value": resume,
            },
            self.resume_words: {"value": resume_text(snapshot)},
            self.receipt: {"value": receipt_text(snapshot.receipt) if snapshot and snapshot.receipt else ""},
            self.charts: {"value": drawn},
            self.best: best_button(snapshot, state, busy),
            self.best_words: {"value": best_text(snapshot, state)},
            self.end: {"value": self._next_steps(snapshot) + end_text(snapshot)},
            self.samples: {"value": samples_text(snapshot) if snapshot else ""},
        }

    def _summary_of(self, snapshot: Snapshot | None) -> str:
        if snapshot is not None and snapshot.run_id != self._summary[0]:
            try:
                self._summary = snapshot.run_id, self._workbench.runs.open(snapshot.run_id).config().summary
            except RunError:  # the Runs tab says what is wrong with its folder
                return snapshot.name
        return self._summary[1]

    def _next_steps(self, snapshot: Snapshot | None) -> Markup:
        if snapshot is None or not snapshot.is_over:
            return Markup()
        try:
            return next_steps_text(self._workbench.runs.open(snapshot.run_id), snapshot)
        except RunError:  # deleted meanwhile
            return Markup()

    def _other_preset(self, preset: str) -> tuple[dict, dict, str]:
        """With another preset chosen, a run that is over says nothing about it: the Runs tab has the run."""
        snapshot = self._workbench.snapshot
        if snapshot is None or not snapshot.is_over or preset == self._workbench.runs.preset_of(snapshot.run_id):
            return gr.update(visible=True), gr.update(visible=True), ""
        label = RunNames(self._workbench.runs).run(snapshot.run_id)
        words = tr(
            "The last run, {run} ({status}), is on the Runs tab, with its charts and checkpoints.",
            run=label,
            status=tr(snapshot.status),
        )
        return gr.update(visible=False), gr.update(visible=False), notice(words)

    def _is_queued(self, waits_for: str) -> bool:
        """Whether what is started now waits in the queue for the run in progress."""
        return self.queue is not None and waits_for == TRAINING

    def _start(self, values: dict) -> Iterator[str]:
        try:
            config, token = self._form.read(values), values[self._token]
            if self._is_queued(self._workbench.busy_with):
                yield self.queue.add(config, values)
                return
            yield from start_after_look(self._workbench, config, token, values[self._preset])
        except Problem as error:
            yield error_text(error, self._form)

    def _resume(self, token: str) -> str:
        snapshot = self._workbench.snapshot
        try:
            if can_resume(snapshot):  # else another page has resumed it already
                self._workbench.resume(snapshot.run_id, token)
        except Problem as error:
            return error_text(error, self._form)
        return ""

    def _load_best(self, token: str) -> str:
        snapshot = self._workbench.snapshot
        try:
            if snapshot and snapshot.best:
                self._workbench.lab.load_run(snapshot.run_id, token, snapshot.best.step)
        except Problem as error:
            return error_text(error, self._form)
        return ""
