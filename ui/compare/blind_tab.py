"""The blind test: two unnamed answers to each prompt, four buttons, and at the end who won.

Until the vote, a page gets the two texts and their sides and nothing else: which model wrote which stays in
`core.workbench.blind_test`. Both are drawn the same way, and appear together once both are complete.
"""

import functools

import gradio as gr

from core.answering.sampling import Sampling
from core.comparing.prompt_lists import prompts_from_text
from core.comparing.votes import CHOICES
from core.problems import BlindError, ModelError, Problem, mark, tr
from core.runs.adapter_ref import BASE, Pane
from core.workbench.one_blind_test import Shown
from core.workbench.workbench import Workbench
from ui.compare.blind_view import last_text, pair_text, result_text, state_text
from ui.compare.sampling_form import make_sampling, section_label
from ui.shared.choices import chosen_in
from ui.shared.errors import clear_on
from ui.shared.formatting import notice
from ui.shared.run_names import RunNames

BUTTONS = dict(zip(CHOICES, (mark("Left"), mark("Right"), mark("Tie"), mark("Both bad")), strict=True))
EXAMPLES = "The old man reads a book.\nWhere is my hat?\nWe will go home tomorrow."
# Keys 1 to 4 press the buttons, unless they are typed into a field. A second press right after the first was meant for
# the pair before, so it is ignored.
KEYS = """
if (!window.blindKeys) {
    window.blindKeys = true;
    let last = -1000;
    document.addEventListener('keydown', event => {
        const box = document.getElementById('blind-votes');
        const button = box?.querySelectorAll('button')['1234'.indexOf(event.key)];
        const typing = event.target.closest?.('input, textarea, select, [contenteditable="true"]');
        if (!button || !box.checkVisibility() || typing || event.repeat) return;
        if (event.ctrlKey || event.altKey || event.metaKey || event.timeStamp - last < 500) return;
        last = event.timeStamp;
        button.click();
    });
}
"""


class BlindTab:
    """Layout and handlers; `live` says what its parts show now. All pages share one test.

    `actions` are the events that change the test: a page asks what there is to show right after each.
    """

    def __init__(self, workbench: Workbench, token: gr.Textbox):
        self._lab = workbench.lab
        self._blind = workbench.blind_test
        self._label = RunNames(workbench.runs).pane
        with gr.Column(elem_id="blind-setup") as self.setup:
            with gr.Row():
                self.first = gr.Dropdown([], label=tr("One model"), elem_id="blind-first")
                self.second = gr.Dropdown([], label=tr("The other"), elem_id="blind-second")
            with gr.Row():
                self.prompts = gr.Textbox(
                    EXAMPLES, label=tr("Prompts, one per line"), lines=6, max_lines=12, scale=2, min_width=260,
                    elem_id="blind-prompts",
                )  # fmt: skip
                self.file = gr.File(label=tr("Or a file of prompts"), height=150, min_width=190, elem_id="blind-file")
            with gr.Row(elem_id="blind-begin"):
                self.start = gr.Button(tr("Start the blind test"), variant="primary", elem_id="blind-start")
                self.look = gr.Button(tr("Votes so far"), elem_id="blind-look")
            with gr.Accordion(_settings_label(0, 128), open=False) as self.settings, gr.Row():
                self.temperature = gr.Slider(
                    0, 2, 0, step=0.05, label=tr("Temperature"),
                    info=tr("0 always picks the most likely token (exact)."),
                )  # fmt: skip
                self.tokens = gr.Number(
                    128, precision=0, label=tr("Max new tokens"), elem_id="blind-tokens",
                    info=tr("Where an answer is cut off. (1 to 8,192)"),
                )  # fmt: skip
        self.trouble = gr.HTML(padding=False, elem_id="blind-trouble")
        # The pair that this page shows and votes on. Outside the column, which would show this when it becomes visible.
        self.voted = gr.Textbox(visible="hidden")
        self.known = gr.Textbox(visible="hidden")  # changes when there are other models to choose from
        with gr.Column(visible=False, elem_id="blind-test") as self.test:
            self.pair = gr.HTML(padding=False, elem_id="blind-pair", js_on_load=KEYS)
            with gr.Row(elem_id="blind-votes"):
                self.buttons = {
                    choice: gr.Button(f"{tr(word)} · {key}", min_width=80, elem_id=f"blind-{choice}")
                    for key, (choice, word) in enumerate(BUTTONS.items(), 1)
                }
            with gr.Row(elem_id="blind-foot"):
                self.state = gr.HTML(padding=False, elem_id="blind-state")
                self.end = gr.Button(tr("End the test"), size="md", scale=0, min_width=110, elem_id="blind-end")
            self.last = gr.HTML(padding=False, elem_id="blind-last")
        self.result = gr.HTML(padding=False, elem_id="blind-result")

    def connect(self) -> None:
        quiet = {"api_visibility": "private", "show_progress": "hidden"}
        chosen = [self.first, self.second]
        asked = [*chosen, self.prompts, self.file, self.temperature, self.tokens]
        # What these change is drawn by `live` alone. An answer of their own could overtake, or be overtaken by, a poll,
        # and a button that is disabled so stays disabled: a part that did not change is not sent again.
        self.actions = [
            self.start.click(self._start, asked, [self.trouble, self.result], api_name="blind_start", **quiet),
            self.end.click(self._end, None, [self.trouble], api_name="blind_end", **quiet),
        ]
        self.known.change(self._offer, chosen, chosen, api_name="blind_offer", **quiet)
        typed = [part.change for part in (self.prompts, self.temperature, self.tokens)]
        clear_on([*typed, self.file.upload, self.file.clear], self.trouble)
        others = [chosen_in(self.first).change, chosen_in(self.second).change]
        clear_on(others, self.trouble, self.result)  # the result is of other models
        self.look.click(self._look, chosen, [self.trouble, self.result], api_name="blind_look", **quiet)
        for choice, button in self.buttons.items():
            vote = functools.partial(self._vote, choice)
            self.actions.append(
                button.click(vote, [self.voted], [self.trouble], api_name=f"blind_vote_{choice}", **quiet)
            )
        gr.on(
            [self.temperature.change, self.tokens.change],
            lambda temperature, tokens: gr.update(label=_settings_label(temperature, tokens)),
            [self.temperature, self.tokens], [self.settings], api_name="blind_settings", **quiet,
        )  # fmt: skip

    def live(self) -> dict:
        panes = self._lab.choices()
        has_tuned = any(not pane.is_base for pane in panes)
        return self._parts() | {
            self.known: {"value": str(hash(tuple((pane.key, self._label(pane)) for pane in panes)))},
            self.start: {"interactive": has_tuned},
            self.look: {"interactive": has_tuned},
        }

    def _offer(self, first: str | None, second: str | None) -> tuple[dict, dict]:
        """The models to choose from. What a person chose stays as long as it exists."""
        panes = self._lab.choices()
        choices, keys = [(self._label(pane), pane.key) for pane in panes], [pane.key for pane in panes]
        loaded = self._lab.loaded_pane
        default = loaded if loaded in panes and not loaded.is_base else next((p for p in panes if not p.is_base), None)
        return (
            gr.update(choices=choices, value=first if first in keys else BASE.key),
            gr.update(choices=choices, value=second if second in keys else default and default.key),
        )

    def _parts(self) -> dict:
        """What the test itself shows."""
        shown = self._blind.shown()
        is_on, is_voting = shown.stage in ("writing", "voting"), shown.stage == "voting"
        parts = {
            self.setup: {"visible": not is_on},
            self.test: {"visible": is_on},
            self.voted: {"value": shown.pair},
            self.pair: {"value": pair_text(shown) if is_on else ""},
            self.state: {"value": state_text(shown) if is_on else ""},
            self.last: {"value": last_text(shown, self._label)},
            self.result: {"value": ""} if is_on else {},
        }
        parts |= {button: {"interactive": is_voting} for button in self.buttons.values()}
        if shown.stage == "ended":
            parts[self.result] = {"value": self._ended(shown)}
        return parts

    def _ended(self, shown: Shown) -> str:
        try:
            result = self._blind.last_result()
        except Problem as error:
            return notice(str(error), "error")
        told = last_text(shown, self._label) + notice(shown.said, "warning")
        return told + (result_text(result, self._label) if result else "")

    def _start(self, first, second, text, file, temperature, tokens) -> tuple[str, str | dict]:
        try:
            if not first or not second:
                raise BlindError("Choose two models first.")
            prompts = self._blind.read_prompts(file) if file else prompts_from_text(text or "")
            self._blind.start([Pane.from_key(first), Pane.from_key(second)], prompts, _sampling(temperature, tokens))
        except Problem as error:
            return notice(str(error), "error"), gr.skip()
        return "", ""

    def _look(self, first, second) -> tuple[str, str]:
        try:
            if not first or not second:
                raise BlindError("Choose two models first.")
            return "", result_text(self._blind.result([Pane.from_key(first), Pane.from_key(second)]), self._label)
        except Problem as error:
            return notice(str(error), "error"), ""

    def _vote(self, choice: str, pair: str) -> str:
        try:
            self._blind.vote(pair, choice)
        except BlindError as error:
            return notice(str(error), "error")
        return ""

    def _end(self) -> str:
        self._blind.end()
        return ""


def _settings_label(temperature, tokens) -> str:
    draws = tr("exact") if temperature == 0 else tr("temperature {temperature:g}", temperature=temperature)
    return section_label(draws, tokens)


def _sampling(temperature, tokens) -> Sampling:
    """Raises BlindError with a sentence when a value is out of bounds."""
    try:
        return make_sampling(temperature, max_new_tokens=tokens)
    except ModelError as error:
        raise BlindError(str(error)) from None
