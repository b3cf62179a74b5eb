"""The cards of the Export tab: what each kind of export is for, its choices, and its button."""

from dataclasses import replace

import gradio as gr

from core.export.hub import Repository
from core.export.llama_cpp import is_installed
from core.export.wanted import PRECISIONS, Chat, Wanted, wanted_of
from core.problems import ConfigError, tr
from core.runs.run_folder import Run
from ui.compare.sampling_form import SamplingForm
from ui.export.export_view import Sizes, head_text

GGUF_FORMS = [
    (tr("with a Modelfile"), "ollama"),
    (tr("without a Modelfile"), "gguf"),
    (tr("LoRA alone"), "lora-gguf"),
]
PUSHED = [(tr("adapter"), "adapter"), (tr("merged model"), "merged"), ("GGUF", "gguf")]
SIZED = ("adapter", "merged", "gguf")  # the cards that say what is written to the disk


class ExportCards:
    """Made inside a row. `heads` and `buttons` are by kind: "adapter", "merged", "gguf", "script" and "push".

    `sizing` are the choices that sizes depend on, `chatting` what goes into a Modelfile,
    `pushing` those about the repository, `checkboxes` those that are one.
    """

    def __init__(self, sampling: SamplingForm):
        self._sampling = sampling
        self.heads, self.buttons = {}, {}
        self.dtype = gr.Dropdown(
            ["bfloat16", "float16", "float32"], value="bfloat16", label=tr("Precision"), elem_id="export-dtype",
            render=False,
        )  # fmt: skip
        self.form = gr.Dropdown(
            GGUF_FORMS, value="ollama", label=tr("Contents"), elem_id="export-form", render=False,
            info=tr("Ollama needs a Modelfile; the LoRA alone needs its base in GGUF."),
        )  # fmt: skip
        self.quant = gr.Dropdown(
            list(PRECISIONS), value=["q8_0"], multiselect=True, label=tr("Precisions, a file for each"),
            elem_id="export-quant", render=False,
        )  # fmt: skip
        self.as_compared = gr.Checkbox(
            False, label=tr("With the settings of Compare"), elem_id="export-as-compared", render=False,
            info=tr("Copies the system prompt, temperature and top-p from the Compare tab."),
        )  # fmt: skip
        self.install = gr.Checkbox(
            False, label=tr("Install llama.cpp for the test (34 MB)"), elem_id="export-install", render=False,
            visible=not is_installed(),
            info=tr("A GGUF file is tested with llama.cpp itself, from PyPI."),
        )  # fmt: skip
        self.what = gr.Dropdown(PUSHED, value="adapter", label=tr("What to push"), elem_id="push-what", render=False)
        self.name = gr.Textbox(
            label=tr("Repository"), placeholder=tr("OWNER/NAME"), max_lines=1, elem_id="push-name", render=False
        )
        self.branch = gr.Textbox(
            label=tr("Branch"), placeholder="main", max_lines=1, elem_id="push-branch", render=False
        )
        self.public = gr.Checkbox(
            False, label=tr("Public"), elem_id="push-public", render=False,
            info=tr("For a new repository. An existing one keeps its visibility."),
        )  # fmt: skip
        choices = {
            "adapter": [], "merged": [self.dtype],
            "gguf": [self.form, self.quant, self.as_compared, self.install],
            "push": [self.what, self.name, self.branch, self.public], "script": [],
        }  # fmt: skip
        words = {
            "adapter": tr("Export the adapter"), "merged": tr("Export the merged model"), "gguf": tr("Export GGUF"),
            "script": tr("Write the script"), "push": tr("Push"),
        }  # fmt: skip
        for kind, parts in choices.items():
            with gr.Column(min_width=230, elem_classes="take-card"):
                self.heads[kind] = gr.HTML(head_text(kind, None, Sizes()), padding=False, elem_id=f"about-{kind}")
                for part in parts:
                    part.render()
                self.buttons[kind] = gr.Button(words[kind], size="md", elem_id=f"export-{kind}")
        self.sizing = [self.dtype, self.form, self.quant]
        self.chatting = [self.as_compared, self.install, sampling.system, sampling.temperature, sampling.top_p]
        self.pushing = [self.what, self.name, self.branch, self.public]
        self.checkboxes = [self.as_compared, self.install, self.public]

    def wanted(self, kind: str, run: Run, step: int | None, onto: str, values: dict) -> Wanted:
        """What the card of this kind asks for. Raises ConfigError."""
        to = values[self.form] if kind == "gguf" else values[self.what] if kind == "push" else kind
        if to in ("gguf", "ollama") and not values[self.quant]:
            raise ConfigError("Choose at least one precision for the GGUF file.")
        wanted = wanted_of(run, to, values[self.quant] or (), values[self.dtype], onto, step)
        return replace(wanted, chat=self._chat(values)) if to == "ollama" and values[self.as_compared] else wanted

    def _chat(self, values: dict) -> Chat:
        form, temperature = self._sampling, values[self._sampling.temperature]
        return Chat(values[form.system] or "", temperature, values[form.top_p] if temperature else None)

    def repository(self, values: dict) -> Repository:
        """Where the last card pushes to."""
        branch = (values[self.branch] or "").strip() or None
        return Repository((values[self.name] or "").strip(), branch, not values[self.public])
