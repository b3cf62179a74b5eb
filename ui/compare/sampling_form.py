"""How answers are sampled: the settings of the chat, and reading them into a `Sampling`."""

import gradio as gr
from pydantic import ValidationError

from core.answering.sampling import Sampling
from core.problems import ModelError

PRESETS = {"exact": (0.0, 1.0), "balanced": (0.7, 0.9), "creative": (1.0, 0.95)}  # temperature and top-p


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
            reason=first["msg"].lower(),
        ) from None


class SamplingForm:
    """A folded section whose label says what is set; made inside a layout."""

    def __init__(self):
        with gr.Accordion("Settings: exact · 128 tokens", open=False) as self.section:
            self.preset = gr.Radio(
                list(PRESETS), value="exact", label="Sampling", elem_id="sampling",
                info="Exact (greedy) gives the same answer each time; balanced and creative sample from likely ones.",
            )  # fmt: skip
            self.system = gr.Textbox(
                label="System prompt", info="Comes before the questions. May be empty.", elem_id="system"
            )
            with gr.Row():
                self.temperature = gr.Slider(
                    0, 2, 0, step=0.05, label="Temperature", elem_id="temperature",
                    info="0 always picks the most likely token (exact).",
                )  # fmt: skip
                self.top_p = gr.Slider(
                    0.05, 1, 1, step=0.05, label="Top-p", elem_id="top-p",
                    info="Samples only from the most likely tokens whose probabilities add up to this.",
                )  # fmt: skip
            with gr.Row():
                self.max_new_tokens = gr.Number(
                    128, precision=0, label="Max new tokens", elem_id="max-tokens",
                    info="Where an answer is cut off. (1 to 8,192)",
                )  # fmt: skip
                self.seed = gr.Number(
                    3407, precision=0, label="Seed", elem_id="seed", info="The same random noise for all panes."
                )
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
    words = [preset or f"temperature {temperature:g}, top-p {top_p:g}", f"{max_new_tokens or 0} tokens"]
    if temperature:
        words.append(f"seed {seed if seed is not None else 'none'}")
    return gr.update(label=f"Settings: {' · '.join(words)}"), preset
