"""The Data tab: which rows, and the first of them exactly as the model will see them. Knows nothing of torch."""

from html import escape

import gradio as gr

from core.config import ConfigError
from core.dataset import UPLOAD_SUFFIXES, DataError, Example, Pieces, PreparedData
from core.hub import ModelError
from core.templates import TemplateError
from core.workbench import Busy, Workbench
from ui.form import Form
from ui.words import count, notice, percent

SHOWN_ROWS = 3
READ_ROWS = 200  # enough to judge by, few enough to answer at once


class DataTab:
    """Layout and handlers."""

    def __init__(self, workbench: Workbench, form: Form, token: gr.Textbox):
        self._workbench, self._form, self._token = workbench, form, token
        with gr.Row():
            with gr.Column(scale=3):
                form.add("data.path")
                with gr.Row():
                    form.add("data.prompt_template", "data.validation_share")
            with gr.Column(scale=2):
                self.upload = gr.File(
                    label="or drop a JSON or JSONL file here", file_types=list(UPLOAD_SUFFIXES), height=150, elem_id="upload"
                )
        with gr.Accordion("More: Hugging Face configuration and split, seed of the split", open=False), gr.Row():
            form.add("data.name", "data.split", "data.seed")
        self.show = gr.Button("Show what the model sees", elem_id="preview")
        self.trouble = gr.HTML(padding=False, elem_id="data-trouble")
        self.view = gr.HTML(notice("Rows in Alpaca shape (instruction, input, output) or as chat messages; press the button."), padding=False)

    def connect(self) -> None:
        """Wires the handlers, once the form has all its fields."""
        path = self._form.components["data.path"]
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        self.upload.upload(lambda file: file, [self.upload], [path], **hidden)
        self.show.click(
            self._preview,
            set(self._form.components.values()) | {self._token},
            [self.trouble, self.view],
            api_visibility="private",
            show_progress="minimal",
        )

    def _preview(self, values: dict) -> dict:
        try:
            data, seen = self._workbench.preview(self._form.read(values), READ_ROWS, SHOWN_ROWS, values[self._token])
        except (ConfigError, ModelError, DataError, TemplateError, Busy) as error:
            return {self.trouble: notice(str(error), "error"), self.view: ""}
        return {self.trouble: "", self.view: preview_text(data, seen)}


def preview_text(data: PreparedData, seen: list[Pieces]) -> str:
    """What was recognised, what is left out, and the first rows."""
    examples = data.in_order
    parts = [
        notice(f"{count(data.rows, 'row')}. Read as {data.shape.name}: {data.shape.reason}.", "good"),
        f'<p class="figures">Of the first {count(min(READ_ROWS, data.rows), "row")}: '
        f"{len(data.train):,} to train, {len(data.validation):,} to check with; "
        f"{percent(data.trained_tokens_share)} of the tokens are trained on; "
        f"longest row {max(len(example.input_ids) for example in examples):,} tokens.</p>",
    ]
    cut = sum(example.is_cut for example in examples)
    if cut:
        parts.append(notice(f"{count(cut, 'row')} longer than the model's length: the end is cut off.", "warning"))
    for reason, number in data.left_out.most_common():
        parts.append(notice(f"{count(number, 'row')} left out: {reason}.", "warning"))
    parts.append('<p class="legend"><mark class="trained">trained on</mark> <span class="read">read only</span></p>')
    return "".join([*parts, *map(row_text, examples, seen)])


def row_text(example: Example, pieces: Pieces) -> str:
    """One row's text, special tokens and all, with what is trained on marked."""
    marked = "".join(
        f'<mark class="trained">{escape(text)}</mark>' if trained else f'<span class="read">{escape(text)}</span>'
        for text, trained in pieces
    )
    cut = " · cut off at the end" if example.is_cut else ""
    caption = f"row {example.row} · {count(len(example.input_ids), 'token')}{cut}"
    return f'<figure class="rendered"><figcaption>{caption}</figcaption><pre>{marked}</pre></figure>'
