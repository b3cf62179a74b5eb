"""Will it fit: the estimate that follows the form, the card it is compared with, and two ways to measure instead.

The estimate is computed in milliseconds from the model's config.json, so its event skips the queue and need not wait
for a run in progress.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import gradio as gr
from markupsafe import Markup

from core.data.prepared.survey import Survey
from core.families import LLAMA_LAYERS, layers_for
from core.hub_names import is_hub_name
from core.memory.cards import ALL_CARDS, Card, find_card, this_machine
from core.memory.embeddings_cost import embeddings_cost
from core.memory.estimate import estimate, verdict
from core.memory.largest import largest
from core.memory.parts import Estimate
from core.memory.probe_log import latest_probe
from core.memory.probe_record import ProbeRecord
from core.memory.suggestions import suggestions, to_fit
from core.problems import Busy, ConfigError, ModelError, Problem, tr, trn
from core.settings.paths import resolve_path
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.settings.steps import steps_of, warmup_warning
from core.threads import Stopped
from core.workbench.desk import PROBING
from core.workbench.probe_job import Probing
from core.workbench.workbench import Workbench
from ui.shared.clicks import CLICKS
from ui.shared.errors import error_text
from ui.shared.formatting import gib, notice
from ui.shared.settings_form import Form
from ui.train.fit_time import time_text
from ui.train.fit_view import THIS_MACHINE, fetch_text, fit_text, probing_text
from ui.train.group_heading import LAYERS_TITLE, group_heading

HERE = ""  # the value of this machine among the cards
HEADROOM = "training.auto_batch_headroom"
LAYERS = "adapter.target_modules"


class FitForm:
    """Layout and handlers; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench, form: Form, token: gr.Textbox, layers: gr.HTML):
        self._workbench, self._form, self._token, self._layers = workbench, form, token, layers
        self.card = gr.Dropdown(
            _choices(workbench),
            value=HERE,
            label=tr("Will it fit?"),
            info=tr("An estimate that follows every change, without loading the model. You can type a size: 10 GB."),
            allow_custom_value=True,
            elem_id="card",
        )
        self.fit = gr.HTML(padding=False, elem_id="fit", js_on_load=CLICKS)
        with gr.Row(elem_id="fit-buttons", equal_height=False):
            self.probe = gr.Button(tr("Probe one step"), size="md", elem_id="probe")
            self.find = gr.Button(tr("Find the largest batch"), size="md", elem_id="find-batch")
            # For a batch size that is a number it only matters to the button, whose answer says what stays free.
            with gr.Column(scale=0, min_width=350, visible=False) as self.headroom:
                form.add(HEADROOM)
            self.stop = gr.Button(tr("Stop probing"), size="md", variant="stop", visible=False, elem_id="stop-probe")
        self.trouble = gr.HTML(padding=False, elem_id="fit-trouble")
        self.doing = gr.HTML(padding=False, elem_id="probing-now")
        # What was measured is drawn for each page, because it may be of other settings than those of the page.
        self.probing = gr.HTML(padding=False, elem_id="probing", js_on_load=CLICKS)
        self.known = gr.Textbox(visible="hidden")  # changes when more is known, such as after a probe

    def connect(self) -> None:
        """Wires the handlers, once the form has all its fields."""
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        at_once = quiet | {"queue": False}
        settings = list(self._form.components.values())
        inputs = {*settings, self.card, self._token}
        changes = [component.change for component in (*settings, self.card, self.known)]
        shown = [self.fit, self.probing, self.headroom, self._layers, self._form.components[LAYERS]]
        gr.on(changes, self._changed, inputs, shown, api_name="fit", trigger_mode="always_last", **at_once)
        for place in (self.fit, self.probing):
            name = f"asked_in_{place.elem_id}"
            place.asked(self._answer, inputs, [self.fit, *settings], api_name=name, concurrency_limit=None, **quiet)
        self.probe.click(self._probe, inputs, [self.trouble], api_name="press_probe", **quiet)
        self.find.click(self._find, inputs, [self.trouble], api_name="press_find_batch", **quiet)
        self.stop.click(self._workbench.stop_probe, api_name="press_stop_probe", **at_once)

    def live(self) -> dict:
        workbench, busy = self._workbench, self._workbench.busy_with
        state, report, survey = workbench.probing, workbench.model_state.report, workbench.preparing.survey
        known = (
            workbench.machine,
            report and report.name,
            survey,
            replace(state, doing="", tried=()),
            bool(state.doing),
        )
        probe, find = tr("Probe one step"), tr("Find the largest batch")
        if busy and busy != PROBING:
            why = tr(busy)
            probe = tr("Probe one step ({why})", why=why)
            find = tr("Find the largest batch ({why})", why=why)
        return {
            self.card: {"choices": _choices(workbench)},
            self.probe: {"interactive": not busy, "value": probe},
            self.find: {"interactive": not busy, "value": find},
            self.stop: {"visible": bool(state.doing)},
            self.doing: {"value": probing_text(state) if state.doing else ""},
            self.known: {"value": str(hash(str(known)))},
        }

    # The estimate

    def _follow(self, values: dict) -> str:
        try:
            config = self._form.read(values)
        except Problem as error:
            return error_text(error, self._form, "warning", stays=True)
        try:
            return self._estimated(config, values[self.card], values[self._token])
        except ConfigError as error:  # no such card
            return error_text(error, self._form, "warning", stays=True)

    def _changed(self, values: dict) -> tuple:
        """The estimate, and what the last probe measured, its error also where there is no estimate; whether the
        headroom is shown: with batch size auto, or while it is wrong; and the layers to choose from, with those that
        are chosen if the model has others."""
        measured, heading, chosen = Markup(), gr.skip(), gr.skip()
        with suppress(Problem):
            config = self._form.read(values)
            measured = self._measured_for(config)
            names = config.adapter.target_modules
            heading = group_heading(LAYERS_TITLE, list(dict.fromkeys((*LLAMA_LAYERS, *names))))
            shape = self._workbench.shape_of(config.model, values[self._token], False)
            heading = group_heading(LAYERS_TITLE, shape.family.layers)
            if not set(names) <= set(shape.family.layers):
                chosen = gr.update(value=layers_for(shape.model_type, names))
        batch = values[self._form.components["training.per_device_train_batch_size"]]
        is_auto = str(batch).strip().lower() == "auto"
        headroom = gr.update(visible=is_auto or HEADROOM in self._form.faults(values))
        return self._follow(values), measured, headroom, heading, chosen

    def _measured_for(self, config: RunConfig) -> Markup:
        """What the last probe measured, if it was of these settings, with the time that a run takes now."""
        state = self._workbench.probing
        if state.doing:
            return Markup()
        if state.record is None or not state.is_of(config):
            return probing_text(state if state.is_of(config) else Probing(), state.record)
        survey = self._workbench.preparing.survey
        rows = survey.train_rows if survey and self._workbench.has_checked(config) else None
        return probing_text(replace(state, record=state.record.model_copy(update={"steps": steps_of(config, rows)})))

    def _estimated(self, config: RunConfig, chosen: str, token: str, fetch: bool = False) -> str:
        """Does not ask the hub unless `fetch`, so that no half-typed name is looked up there."""
        rows = self._checked_rows(config)
        steps = steps_of(config, rows.train_rows if rows else None)
        said = notice(warmup_warning(config.training, steps), "warning")
        try:
            shape = self._workbench.shape_of(config.model, token, fetch)
        except ModelError as error:
            if fetch or not _may_be_on_hub(config.model):
                return said + error_text(error, self._form, "warning", stays=True)
            return said + fetch_text(config.model.model_name)
        longest = rows.longest if rows else None
        card, probe = self._card(chosen), None
        if card.name == THIS_MACHINE:
            probe = latest_probe(self._workbench.runs_dir, self._workbench.machine, config)
        about = (config, shape, card, probe, longest)
        found, cost = estimate(*about), embeddings_cost(config, shape, card)
        kind, most = verdict(found, card), largest(*about)
        time = ""
        if kind != "no" or card.name == THIS_MACHINE:  # nobody asks how long it takes on another card that is too small
            time = time_text(config, shape, card, rows, self._workbench.runs_dir, self._workbench.machine)
        changes = ([], []) if kind == "fits" else (suggestions(*about), to_fit(*about))
        basis, warning = _basis(config, found, probe, longest), cost.warning if cost else ""
        return said + fit_text(found, card, *changes, basis, warning, most, time)

    def _card(self, chosen: str) -> Card:
        """The card chosen in the list, or typed, perhaps as the list has it. Raises ConfigError."""
        name = dict(_choices(self._workbench)).get(chosen, (chosen or HERE).removeprefix(tr("On {card}", card="")))
        if name == HERE:
            return this_machine(self._workbench.machine).model_copy(update={"name": THIS_MACHINE})
        return next((card for card in ALL_CARDS if card.name == name), None) or find_card(name)

    def _checked_rows(self, config: RunConfig) -> Survey | None:
        """The figures of all rows, once they have been checked with these very settings."""
        return self._workbench.preparing.survey if self._workbench.has_checked(config) else None

    # What is asked for

    def _answer(self, values: dict, asked: gr.EventData) -> Iterator[dict]:
        """A press of one of the buttons inside the texts."""
        try:
            config = self._form.read(values)
            if asked.ask == "fetch":
                model = config.model.model_name
                yield {self.fit: notice(tr("Downloading the config.json of {model} from Hugging Face…", model=model))}
                yield {self.fit: self._estimated(config, values[self.card], values[self._token], fetch=True)}
                return
            settings = json.loads(asked.settings)
            filled = self._form.fill(config.with_settings(settings))
            changed = [self._form.components[setting.partition("=")[0]] for setting in settings]
            yield {component: filled[component] for component in changed}  # their change event brings the new estimate
        except Problem as error:
            yield {self.fit: error_text(error, self._form, "warning", stays=True)}

    def _probe(self, values: dict) -> str:
        return self._measured(values, self._workbench.probe)

    def _find(self, values: dict) -> str:
        return self._measured(values, self._workbench.find_batch)

    def _measured(self, values: dict, measure: Callable[[RunConfig, str], object]) -> str:
        try:
            measure(self._form.read(values), values[self._token])
        except (ConfigError, Busy) as error:
            return error_text(error, self._form)
        except Stopped:
            return notice(tr("Stopped before there was a result."), "warning")
        except Problem:
            pass  # the state below shows the error, also after a reload
        return ""


def _basis(config: RunConfig, found: Estimate, probe: ProbeRecord | None, longest: int | None) -> list[str]:
    """What the figures are based on, in sentences."""
    said = []
    if probe:
        measured = gib(probe.peak_gib)
        said.append(tr("Corrected by a probe on this machine, which measured {memory}.", memory=measured))
    if longest:
        said.append(trn("The longest row has {count:,} token.", "The longest row has {count:,} tokens.", longest))
    if config.training.per_device_train_batch_size == "auto":
        said.append(
            tr(
                "Batch size auto: this assumes {batch:,}; the run itself finds the largest that fits.",
                batch=found.batch,
            )
        )
    return said


def _choices(workbench: Workbench) -> list[tuple[str, str]]:
    machine = workbench.machine
    here = tr("On this machine ({name}, {memory})", name=machine.name, memory=gib(machine.total_gib))
    return [(here, HERE), *((tr("On {card}", card=card.name), card.name) for card in ALL_CARDS)]


def _may_be_on_hub(config: ModelConfig) -> bool:
    name = config.model_name
    return resolve_path(name) is None and "/" in name and is_hub_name(name)
