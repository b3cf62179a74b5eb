"""The Model tab: the preset to start from, the model to load, and the model that is loaded."""

import gradio as gr
from markupsafe import Markup

from core.model.loaded_model import ModelReport
from core.model.model_files import code_warning
from core.problems import Busy, ConfigError, ModelError, tr, trn
from core.settings.presets import DEMO_TIME, Preset
from core.workbench.workbench import Workbench
from ui.model.other_model import OtherModel
from ui.model.own_presets import OwnPresets, preset_list
from ui.model.recipe_strip import HEADING, PREFIX, RecipeStrip
from ui.shared.choices import chosen_in
from ui.shared.errors import clear_on, error_text
from ui.shared.formatting import big, gib, notice, pace
from ui.shared.html import render_part
from ui.shared.settings_form import Form


class ModelTab:
    """Layout and handlers; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench, form: Form, presets: dict[str, Preset], chosen: str):
        self._workbench, self._form = workbench, form
        gr.HTML(notice(workbench.rules), padding=False, elem_id="rules")
        self.preset = preset_list(workbench, presets.values(), chosen)
        self.preset_chosen = chosen_in(self.preset)
        self.presets = OwnPresets(workbench, form, self.preset, chosen)
        self.recipe = None if workbench.rules else RecipeStrip(workbench, form)
        form.add("model.model_name")
        self.other = OtherModel(form, self.preset, presets)
        self.other.say_here()
        with gr.Row():
            form.add("model.load_in_4bit", "model.max_seq_length")
        self.warning = gr.HTML(padding=False, elem_id="code-warning")
        with gr.Accordion(tr("More: token, revision, precision"), open=False, elem_id="model-more"):
            self.token = gr.Textbox(
                label=tr("Hugging Face token"),
                info=tr("For gated or private models. Kept in memory only, never saved."),
                type="password",
                elem_id="token",
            )
            with gr.Row():
                form.add("model.revision", "model.dtype")
            form.add("model.trust_remote_code")
        self.load = gr.Button(tr("Load model"), variant="primary", elem_id="load")
        self.trouble = gr.HTML(padding=False, elem_id="model-trouble")
        self.loaded = gr.Textbox(visible="hidden")  # changes when another model has been loaded
        self.state = gr.HTML(padding=False, elem_id="model-state")

    def connect(self) -> None:
        """Wires the handlers, once the form has all its fields."""
        fields = set(self._form.components.values())
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        # Not when the preset changes, which a page that reattaches to a run sets too.
        strip = [self.recipe.part] if self.recipe else []
        self.preset_chosen.change(self._take_preset, [self.preset], [*fields, *strip], **hidden)
        about = self.presets.about
        self.preset.change(self._about, [self.preset], [about], api_name="about_preset", **hidden)
        self.presets.connect()
        self.other.connect()
        if self.recipe:
            self.recipe.connect(self.token)
        clear_on([self.loaded.change], self.trouble)
        trusted = self._form.components["model.trust_remote_code"]
        trusted.change(_code_warning, [trusted], [self.warning], api_visibility="private", show_progress="hidden")
        self.load.click(
            self._load, fields | {self.token}, [self.trouble], api_visibility="private", show_progress="hidden"
        )

    def live(self) -> dict:
        state, workbench = self._workbench.model_state, self._workbench
        if state.doing:
            text = notice(f"{state.doing}…" + (f" {state.share:.0%}" if state.share is not None else ""))
        elif state.report:
            text = report_text(state.report, is_left=bool(state.error))
        elif state.error:
            text = notice(state.error, "error")
        elif not workbench.is_warm and not workbench.warm_error:
            text = notice(tr("Unsloth is starting, which takes about ten seconds. You can already load a model."))
        else:
            text = notice(tr("No model is loaded yet. Starting a run loads it automatically."))
        if not state.report and not state.doing and not workbench.machine.is_gpu:
            slow = tr("No GPU is in use. The demo takes {time}; real Llamas will be slow.", time=tr(DEMO_TIME))
            text += notice(slow, "warning")
        busy = workbench.busy_with
        words = tr("Load model ({busy})", busy=tr(busy)) if busy else tr("Load model")
        recipe = self.recipe.live() if self.recipe else {}
        return (
            self.presets.live()
            | recipe
            | {
                self.loaded: {"value": f"{state.report.name} {state.report.seconds}"} if state.report else {},
                self.state: {"value": text},
                self.load: {"interactive": not busy, "value": words},
            }
        )

    def _about(self, name: str) -> Markup:
        """What the chosen preset is for. A recipe that a reloaded page had chosen is opened again."""
        if self.recipe:
            self.recipe.open_again(name)
        return self.presets.about_text(name)

    def _take_preset(self, name: str) -> dict:
        unchanged, strip = dict.fromkeys(self._form.components.values(), gr.skip()), {}
        try:
            config = self.recipe.open(name) if self.recipe else None
            if self.recipe:
                strip = self.recipe.shown()
            if config is None and not name.startswith((HEADING, PREFIX)):
                config = self._workbench.find_preset(name).config
        except ConfigError:  # deleted on another page, as it says below the list
            return unchanged | strip
        return (self._form.fill(config) if config else unchanged) | strip

    def _load(self, values: dict) -> str:
        try:
            self._workbench.load_model(self._form.read(values).model, values[self.token])
        except (ConfigError, Busy) as error:
            return error_text(error, self._form)
        except ModelError as error:
            # With no model loaded, the state below shows the error, also after a reload.
            return error_text(error, self._form) if self._workbench.model_state.report else ""
        return ""


def _code_warning(name: str) -> str:
    """Shown outside of "More", so that a preset or a reload cannot turn it on unseen."""
    name = (name or "").strip()
    return notice(code_warning(name), "warning") if name else ""


def report_text(report: ModelReport, is_left: bool = False) -> Markup:
    """What was loaded, in words for someone who has not seen the inside of a model. `is_left`: it is still loaded
    because another one could not be."""
    own = tr("its own") if report.has_chat_template else tr("none; use the Alpaca prompt for questions")
    rows = [
        (tr("Weights"), f"{big(report.parameters)} ({report.parameters:,})"),
        (
            tr("In 4-bit"),
            tr("{number} of {total} linear layers", number=report.linear_layers_4bit, total=report.linear_layers),
        ),
        (tr("Other layers"), report.dtype),
        (
            tr("Embeddings"),
            tr("tied: input and output are one matrix") if report.tied_embeddings else tr("separate input and output"),
        ),
        (
            tr("Chat template"),
            report.chat_template or own,
        ),
        (tr("Maximum length"), trn("{count:,} token", "{count:,} tokens", report.max_seq_length)),
        (tr("Memory"), tr("{size} of weights, on {device}", size=gib(report.memory_gib), device=report.device)),
    ]
    message = tr("Loaded {name} in {time}.", name=report.name, time=pace(report.seconds))
    if is_left:
        message = tr("{name} is still loaded.", name=report.name)
    return render_part("model/model.html", "report", message=message, kind="info" if is_left else "good", rows=rows)
