"""The Data tab: which rows, what their columns mean, and each row exactly as the model will see it."""

import json

import gradio as gr

from core.data.prepared.left_out import CONSENT_SHARE, LeftOut
from core.data.prompts.prompt_templates import TEMPLATES
from core.problems import DataError, Problem, tr
from core.settings.run_config import RunConfig
from core.threads import Stopped
from core.workbench.desk import READING
from core.workbench.rows_of_the_form import Look
from core.workbench.workbench import Workbench
from ui.data.figures_view import OTHER_ROWS, preparing_text
from ui.data.rows_view import LOADING, SEND_BLANKS, blanks_text, legend_text, look_text, row_heading, row_text
from ui.shared.errors import error_text
from ui.shared.formatting import notice
from ui.shared.settings_form import COLUMN_BY_NAME, Form

COLUMNS = ["instruction_column", "input_column", "answer_column", "system_column", "text_column"]
PROMPTS = [
    (tr("the model's chat template"), "chat"),
    ("Alpaca", "alpaca"),
    (tr("Alpaca in Korean"), "alpaca_korean"),
    (tr("your own text"), "own"),
]


class DataTab:
    """Layout and handlers; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench, form: Form, token: gr.Textbox, tab: gr.Tab):
        self._workbench, self._form, self._token, self._tab = workbench, form, token, tab
        with gr.Row():
            with gr.Column(scale=3):
                form.add("data.path")
                with gr.Row():
                    form.add("data.validation_share", "data.validation_path")
            with gr.Column(scale=2):
                label = tr("Or drop files here")
                self.upload = gr.File(label=label, file_count="multiple", height=150, elem_id="upload")
        more = tr("More: Hugging Face, header row, text files, seed, duplicates, long rows")
        with gr.Accordion(more, open=False, elem_id="data-more"):
            with gr.Row():
                form.add("data.name", "data.split", "data.revision")
            with gr.Row():
                form.add("data.header", "data.text_rows", "data.seed", "data.drop_duplicates", "data.drop_long_rows")
        self.trouble = gr.HTML(padding=False, elem_id="data-trouble")
        self.about = gr.HTML(padding=False, elem_id="data-about")
        self.blanks = gr.HTML(padding=False, elem_id="fill-in", js_on_load=SEND_BLANKS)
        self.use_guess = gr.Button(tr("Use the guess"), size="md", visible=False, elem_id="use-guess")
        with gr.Accordion(tr("Columns and prompt"), open=False, elem_id="mapping") as self.mapping:
            with gr.Row():
                form.add(*(f"data.{name}" for name in COLUMNS))
            with gr.Row():
                self.kind = gr.Radio(
                    PROMPTS,
                    value="chat",
                    label=tr("Prompt template"),
                    info=tr("How a question and its answer become one text."),
                    elem_id="prompt-kind",
                )
                form.add("model.chat_template", "data.response_starts_after")
            form.add("data.prompt_template")
            form.components["data.prompt_template"].visible = False  # until the person chooses a text of their own
            form.add("data.fill_in")
        with gr.Row(elem_id="row-bar"):
            gr.HTML(row_heading(), padding=False)
            self.back = gr.Button("◂", size="sm", min_width=44, scale=0, elem_id="row-back")
            self.number = gr.Number(
                1,
                precision=0,
                label=tr("Row"),
                show_label=False,
                container=False,
                min_width=90,
                scale=0,
                elem_id="row-number",
            )
            self.forth = gr.Button("▸", size="sm", min_width=44, scale=0, elem_id="row-forth")
        self.view = gr.HTML(padding=False, elem_id="row-view")
        gr.HTML(legend_text(), padding=False)
        with gr.Row():
            self.check = gr.Button(tr("Check all rows"), elem_id="check-rows")
            self.stop = gr.Button(tr("Stop reading"), visible=False, elem_id="stop-reading")
        self.check_trouble = gr.HTML(padding=False, elem_id="check-trouble")
        self._add_figures()

    def _add_figures(self) -> None:
        self.known = gr.Textbox(visible="hidden")  # changes when other rows have been read
        self.tokens = TokensArrived(self._workbench)
        with gr.Column(elem_id="survey"):
            self.reading = gr.HTML(padding=False)
            with gr.Column() as self.figures:  # shown where they are of the rows that this page names
                self.whole = gr.HTML(padding=False)
                with gr.Row():
                    self.download = gr.DownloadButton(
                        tr("Download the rows left out"), size="md", visible=False, elem_id="left-out-file"
                    )
                    self.download_theirs = gr.DownloadButton(
                        tr("Download the validation rows left out"), size="md", visible=False
                    )
                self._form.add("data.allow_left_out")
                self._form.components["data.allow_left_out"].visible = False

    def connect(self) -> None:
        """Wires the handlers, once the form has all its fields."""
        part = {name: self._form.components[f"data.{name}"] for name in _NAMES}
        settings = set(self._form.components.values()) | {self._token, self.number}
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        # One after the other: of two looks at once, the second would find the rows busy.
        looking = hidden | {"concurrency_id": "rows", "concurrency_limit": 1, "trigger_mode": "always_last"}
        columns = [part[name] for name in COLUMNS]
        consent = part["allow_left_out"]
        shown = [
            self.trouble, self.about, self.blanks, self.use_guess, self.mapping, self.view, self.check_trouble,
            self.figures, consent, *columns,
        ]  # fmt: skip

        gr.on(
            [self.upload.upload, self.upload.delete, self.upload.clear], self._paths, [self.upload],
            [part["path"], self.number, part["fill_in"], *columns], **hidden,
        ).then(self._look, settings, shown, **looking)  # fmt: skip
        typed = [part[name] for name in _NAMES if name not in (*_CHOSEN, *COLUMNS, "allow_left_out")]
        chosen = [*(part[name] for name in (*_CHOSEN, *COLUMNS)), self._form.components["model.chat_template"]]
        events = [box.submit for box in typed] + [box.blur for box in typed] + [box.input for box in chosen]
        gr.on([*events, self._tab.select], self._look, settings, shown, **looking)
        self.use_guess.click(self._take_guess, settings, columns, **hidden).then(self._look, settings, shown, **looking)

        self.blanks.asked(self._fill, settings, [part["fill_in"]], api_name="fill_in", **hidden).then(
            self._look, settings, shown, **looking
        )

        self.kind.input(_template_of, [self.kind, part["prompt_template"]], [part["prompt_template"]], **hidden).then(
            self._look, settings, shown, **looking
        )
        part["prompt_template"].change(
            _kind_of, [part["prompt_template"]], [self.kind, part["prompt_template"]], **hidden
        )

        moved = [self.number.submit, self.number.blur, self.number.change]
        gr.on(moved, self._row, settings, [self.view], **looking)
        for button, step in ((self.back, -1), (self.forth, 1)):
            # Counted in the browser, so that a second click that comes before the answer to the first is not lost.
            count = f"number => Math.max((number || 1) + {step}, 1)"
            button.click(None, [self.number], [self.number], js=count, **hidden)
        self.known.change(
            self._known_changed, settings | {self.check_trouble}, [self.check_trouble, self.figures, self.blanks],
            api_name="rows_known", queue=False, **hidden,
        )  # fmt: skip
        self.tokens.box.change(self._look, settings, shown, **looking)
        self.check.click(self._check, settings, [self.check_trouble], **hidden).then(
            self._row, settings, [self.view], **looking
        )
        self.stop.click(self._workbench.stop_reading, **hidden)

    def live(self) -> dict:
        state, busy = self._workbench.preparing, self._workbench.busy_with
        left = [left for left in (state.left_out, state.validation_left_out) if left and left.total]
        needs_consent = any(left.share > CONSENT_SHARE for left in left)
        return {
            self.check: {
                "interactive": not busy,
                "value": tr("Check all rows ({doing})", doing=tr(busy)) if busy else tr("Check all rows"),
            },
            self.stop: {"visible": state.doing and busy == READING},
            self.reading: {"value": preparing_text(state) if state.doing else ""},
            self.whole: {"value": "" if state.doing else preparing_text(state)},
            self.known: {"value": str(hash((state.path, str(state.survey), state.error, state.doing)))},
            self.download: _download(state.left_out),
            self.download_theirs: _download(state.validation_left_out),
            self._form.components["data.allow_left_out"]: {"visible": needs_consent},
        }

    def _look(self, values: dict) -> dict:
        try:
            config = self._form.read(values)
            look = self._workbench.look(config, values[self._token])
        except Problem as error:
            left = self.trouble, self.about, self.blanks, self.use_guess, self.view
            shown = error_text(error, self._form, stays=True), "", "", gr.update(visible=False), ""
            return dict(zip(left, shown, strict=True)) | self._figures_of(None)
        choices = [COLUMN_BY_NAME, *((column, column) for column in look.columns)]
        columns = {self._form.components[f"data.{name}"]: gr.update(choices=choices) for name in COLUMNS}
        guessed = look.shape is not None and not look.shape.is_sure
        found = columns | self._figures_of(config)
        return found | {
            self.trouble: "",
            self.about: look_text(look),
            self.blanks: self._blanks(config, look),
            self.use_guess: gr.update(visible=guessed),
            self.mapping: gr.update(open=True) if guessed or look.trouble else gr.skip(),
            self.view: "" if look.trouble else notice(tr(LOADING)) if look.waits else self._row(values),
            # Consent to leave out rows is for that set of rows, read with those settings.
            self._form.components["data.allow_left_out"]: gr.skip() if self._workbench.has_checked(config) else False,
        }

    def _figures_of(self, config: RunConfig | None) -> dict:
        """The figures where they are of the rows that the form names, else a sentence in their place."""
        state = self._workbench.preparing
        are_other = config is None or not self._workbench.shows_rows_of(config)
        words = tr(OTHER_ROWS) if config is not None and are_other and (state.survey or state.error) else ""
        return {self.figures: gr.update(visible=not are_other), self.check_trouble: notice(words, "warning")}

    def _known_changed(self, values: dict) -> dict:
        """After all rows were read here, on another page, or by a run."""
        try:
            config = self._form.read(values)
            found = self._figures_of(config)
            if self._workbench.has_checked(config):
                found[self.blanks] = self._blanks(config)
        except Problem:
            found = self._figures_of(None)
        said = values[self.check_trouble]
        if said and said != notice(tr(OTHER_ROWS), "warning"):  # such as that reading was stopped
            del found[self.check_trouble]
        return found

    def _blanks(self, config: RunConfig, look: Look | None = None) -> str:
        """A field for each placeholder that was found in the first rows or in all, or is filled in already."""
        filled = config.data.words_for_placeholders
        names = [*filled, *(look.data.placeholders if look and look.data else ())]
        survey = self._workbench.preparing.survey
        if survey and self._workbench.has_checked(config):
            names += survey.placeholders
        return blanks_text({name: filled.get(name, "") for name in names})

    def _fill(self, values: dict, asked: gr.EventData) -> str:
        """The setting with what was typed into the fields; an empty one fills in nothing."""
        return "\n".join(f"{name} = {word.strip()}" for name, word in json.loads(asked.words) if word.strip())

    def _paths(self, files: list[str] | None) -> tuple:
        """The dropped files as the value of the path setting; the first row, and nothing chosen for them yet."""
        return self._form.shown("data.path", "\n".join(files or [])), 1, "", *[""] * len(COLUMNS)

    def _take_guess(self, values: dict) -> dict:
        """Fills in the guessed columns where a person would choose them."""
        columns = {name: self._form.components[f"data.{name}"] for name in COLUMNS}
        try:
            shape = self._workbench.look(self._form.read(values), values[self._token]).shape
        except Problem:  # the look that follows shows the error
            return dict.fromkeys(columns.values(), gr.skip())
        guessed = shape.columns if shape else {}
        return {component: guessed.get(name.removesuffix("_column"), "") for name, component in columns.items()}

    def _row(self, values: dict) -> str:
        try:
            config = self._form.read(values)
            row = self._workbench.row(config, int(values[self.number] or 1), values[self._token])
            return row_text(row, config.model.max_seq_length)
        except Problem as error:
            return error_text(error, self._form, "warning", stays=True)

    def _check(self, values: dict) -> str:
        try:
            self._workbench.check_rows(self._form.read(values), values[self._token])
        except Stopped:
            return notice(tr("Stopped before all rows were read."), "warning")
        except DataError:
            return ""  # shown below, where it stays after a reload
        except Problem as error:
            return error_text(error, self._form)
        return ""


class TokensArrived:
    """A part of its own for `ui.live`, so that pages which do not show the Data tab do nothing."""

    def __init__(self, workbench: Workbench):
        self._workbench = workbench
        self.box = gr.Textbox(visible="hidden")  # changes when a tokenizer was loaded, or could not be

    def live(self) -> dict:
        return {self.box: {"value": str(self._workbench.tokenizing)}}


_CHOSEN = ["header", "text_rows", "drop_duplicates", "drop_long_rows"]
_NAMES = [
    "path", "name", "split", "revision", "validation_path", "validation_share", "seed", "response_starts_after",
    "prompt_template", "fill_in", "allow_left_out", *_CHOSEN, *COLUMNS,
]  # fmt: skip


def _download(left: LeftOut | None) -> dict:
    """A download button, visible when there is something to download."""
    path = left.path if left and left.total else None
    return {"visible": path is not None, "value": path and str(path)}


def _template_of(kind: str, template: str) -> str:
    if kind != "own":
        return kind
    return template if "{" in template else "{text}"


def _kind_of(template: str) -> tuple:
    kind = template if template == "chat" or template in TEMPLATES else "own"
    return kind, gr.update(visible=kind == "own")
