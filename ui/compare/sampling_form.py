"""How answers are sampled: the settings of the chat, and reading them into a `Sampling`."""

import gradio as gr
from pydantic import ValidationError

from core.answering.sampling import Sampling
from core.problems import ModelError, mark, tr
from core.settings.reasons import reason_of

# Temperature and top-p.
PRESETS = {mark("exact"): (0.0, 1.0), mark("balanced"): (0.7, 0.9), mark("creative"): (1.0, 0.95)}


def make_sampling(temperature, top_p=1.0, max_new_tokens=128, seed=3407) -> Sampling:
    """Raises ModelError with a sentence when a value is out of bounds."""
    try:
        return Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            "{setting} cannot be {value!r:.80}: {reason}.",
            setting=first["loc"][0],
            value=first["input"],
            reason=reason_of(first),
        ) from None


def section_label(draws: str, tokens: int | None, *more: str) -> str:
    """The label of the folded settings, as in "Settings: exact · 128 tokens"; `draws` says how tokens are chosen."""
    parts = [draws, tr("{tokens} tokens", tokens=tokens or 0), *more]
    return tr("Settings: {settings}", settings=" · ".join(parts))


class SamplingForm:
    """A folded section whose label says what is set; made inside a layout."""

    def __init__(self):
        with gr.Accordion(section_label(tr("exact"), 128), open=False) as self.section:
            self.preset = gr.Radio(
                [(tr(name), name) for name in PRESETS], value="exact", label=tr("Sampling"), elem_id="sampling",
                info=tr(
                    "Exact (greedy) gives the same answer each time; balanced and creative sample from likely ones."
                ),
            )  # fmt: skip
            self.system = gr.Textbox(
                label=tr("System prompt"), info=tr("Comes before the questions. May be empty."), elem_id="system"
            )
            with gr.Row():
                self.temperature = gr.Slider(
                    0, 2, 0, step=0.05, label=tr("Temperature"), elem_id="temperature",
                    info=tr("0 always picks the most likely token (exact)."),
                )  # fmt: skip
                self.top_p = gr.Slider(
                    0.05, 1, 1, step=0.05, label=tr("Top-p"), elem_id="top-p",
                    info=tr("Samples only from the most likely tokens whose probabilities add up to this."),
                )  # fmt: skip
            with gr.Row():
                self.max_new_tokens = gr.Number(
                    128, precision=0, label=tr("Max new tokens"), elem_id="max-tokens",
                    info=tr("Where an answer is cut off. (1 to 8,192)"),
                )  # fmt: skip
                self.seed = gr.Number(
                    3407, precision=0, label=tr("Seed"), elem_id="seed",
                    info=tr("The same random noise for all panes."),
                )  # fmt: skip
        self.draws = [self.temperature, self.top_p, self.max_new_tokens, self.seed]
        self.inputs = [self.system, *self.draws]

    def connect(self, **event_options) -> None:
        self.preset.input(lambda name: PRESETS[name], [self.preset], [self.temperature, self.top_p], **event_options)
        changes = [draw.change for draw in self.draws]
        gr.on(changes, settings_in_force, self.draws, [self.section, self.preset], **event_options)

    def read(self, values: dict) -> Sampling:
        """The sampling from what Gradio passes, {component: value}. Raises ModelError."""
        return make_sampling(*(values[draw] for draw in self.draws))


def settings_in_force(temperature, top_p, max_new_tokens, seed) -> tuple:
    """The label of the section, and the preset that these settings are, if any."""
    presets = (name for name, draws in PRESETS.items() if draws == (temperature, top_p) or temperature == draws[0] == 0)
    preset = next(presets, None)
    if preset:
        draws = tr(preset)
    else:
        draws = tr("temperature {temperature:g}, top-p {top_p:g}", temperature=temperature, top_p=top_p)
    seeds = [tr("seed {seed}", seed=tr("none") if seed is None else seed)] if temperature else []
    return gr.update(label=section_label(draws, max_new_tokens, *seeds)), preset
