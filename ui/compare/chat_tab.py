"""The chat of the Compare tab: a conversation with two or three panes at once, and the proof that they differ.

Knows nothing of torch. The conversation is the page's own, in a `gr.State`; its panes are those that it began with.
"""

import time
from collections.abc import Iterator

import gradio as gr

from core.answering.sampling import Sampling
from core.comparing.conversation import Conversation, as_json, as_markdown, asked_again
from core.problems import ModelError, Problem, RunError
from core.runs.adapter_ref import BASE, Pane
from core.workbench.desk import ANSWERING, LOADING, TRAINING
from core.workbench.workbench import Workbench
from ui.compare.chat_view import earlier_text, newest_text, proof_text
from ui.compare.sampling_form import make_sampling
from ui.shared.formatting import notice, pane_label, run_label
from ui.train.run_figures import heldout_text

REDRAW_SECONDS = 0.06  # more often than the eye follows would only cost the model time
PRESETS = {"exact": (0.0, 1.0), "balanced": (0.7, 0.9), "creative": (1.0, 0.95)}  # temperature and top-p
NONE = ("none", "")
ASK = {1: "Ask", 2: "Ask both", 3: "Ask all three"}
SAME_AGAIN = (
    "The answers would be the same again, to the letter: exact settings leave nothing to luck. "
    "Choose balanced or creative under Settings, or edit the question."
)
OTHER_PANES = (
    "The panes have changed: the next question begins a new conversation with them, and Retry begins it with the last "
    "question. Until then the old one stays here."
)

# A new question is brought into view once; what is read is not moved while the answers grow.
_FOLLOW = """() => requestAnimationFrame(() => {
    const turn = document.querySelector("#panes .turn");
    const number = turn ? turn.dataset.turn : "";
    if (number !== window.turnInView && number) turn.scrollIntoView({block: "nearest"});
    window.turnInView = number;
})"""
_COPY = """async text => {
    try { await navigator.clipboard.writeText(text); } catch {
        return '<p class="notice warning" role="status">This page may not copy here: save it as a file.</p>';
    }
    return '<p class="notice good" role="status">The conversation is copied as Markdown.</p>';
}"""
_SAVE = """text => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], {type: "TYPE;charset=utf-8"}));
    const now = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
    link.download = `conversation-${now}.ENDING`;
    link.click();
    URL.revokeObjectURL(link.href);
}"""


class CompareTab:
    """Layout and handlers; `live` tells what its parts show now."""

    def __init__(self, workbench: Workbench, token: gr.Textbox):
        self._workbench, self._token = workbench, token
        # A run that is deleted while it stands in a list must reach the lab, which says so in a sentence.
        any_value = {"allow_custom_value": True, "min_width": 200}
        with gr.Row(elem_id="pick"):
            self.runs = gr.Dropdown(
                [], label="Tuned", info="A run whose adapter is compared with its base.", scale=3, elem_id="runs",
                **any_value,
            )  # fmt: skip
            self.load = gr.Button("Load it", scale=0, min_width=110, elem_id="load-run")
        with gr.Row(elem_id="pick-panes"):
            base = (pane_label(BASE), BASE.key)
            self.left = gr.Dropdown([base], value=BASE.key, label="Left", elem_id="pane-left", **any_value)
            self.right = gr.Dropdown([NONE, base], value="", label="Right", elem_id="pane-right", **any_value)
            self.third = gr.Dropdown([NONE, base], value="", label="Third", elem_id="pane-third", **any_value)
        # What is chosen changes when one of these does, not whenever there is another run to choose.
        self.loaded, self.suggested = gr.Textbox(BASE.key, visible="hidden"), gr.Textbox(visible="hidden")
        self.changed = gr.HTML(padding=False, elem_id="panes-changed")
        self.conversation = gr.State(Conversation())
        self.earlier = gr.HTML(padding=False, elem_id="earlier")
        self.panes = gr.HTML(newest_text(Conversation()), elem_id="panes", padding=False)
        self.proof = gr.HTML(padding=False, elem_id="proof")
        with gr.Row(visible=False, elem_id="chat-tools") as self.tools:
            self.differ = gr.Checkbox(
                label="Show differences from the left pane", elem_id="differ", container=False, scale=0, min_width=160
            )
            self.copy = gr.Button("Copy", size="sm", scale=0, elem_id="copy-chat")
            self.markdown = gr.Button("Save as Markdown", size="sm", scale=0, elem_id="save-markdown")
            self.json = gr.Button("Save as JSON", size="sm", scale=0, elem_id="save-json")
        self.copied = gr.HTML(padding=False, elem_id="copied")
        self.as_markdown, self.as_json = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden", elem_id="chat-json")
        with gr.Column(elem_id="composer"):
            self.hint = gr.HTML(padding=False, elem_id="compare-hint")
            self.trouble = gr.HTML(padding=False, elem_id="compare-trouble")
            self.prompt = gr.Textbox(
                # With one line to begin with, Enter sends and Shift+Enter begins a new line.
                label="Question", lines=1, max_lines=8, value="The old man reads a book.", elem_id="prompt",
                placeholder="Ask all panes something", show_label=False, container=False,
            )  # fmt: skip
            with gr.Row(elem_id="composer-buttons"):
                self.ask = gr.Button("Ask", variant="primary", elem_id="ask")
                self.stop = gr.Button("Stop the answers", elem_id="stop-answers", visible=False)
                self.retry = gr.Button("Retry", elem_id="retry", visible=False)
                self.edit = gr.Button("Edit", elem_id="edit", visible=False)
                self.new = gr.Button("New", elem_id="new-chat", visible=False)
        with gr.Accordion("Settings: exact · 128 tokens", open=False) as self.settings:
            self.preset = gr.Radio(
                list(PRESETS), value="exact", label="Sampling", elem_id="sampling",
                info="Exact gives the same answer each time; balanced and creative draw from what is likely.",
            )  # fmt: skip
            self.system = gr.Textbox(
                label="System prompt", info="Stands before the questions; may be empty.", elem_id="system"
            )
            with gr.Row():
                self.temperature = gr.Slider(
                    0, 2, 0, step=0.05, label="Temperature", info="0 takes the likeliest token each time: exact.",
                    elem_id="temperature",
                )  # fmt: skip
                self.top_p = gr.Slider(
                    0.05, 1, 1, step=0.05, label="Top-p", info="Draws from the likeliest share only.", elem_id="top-p"
                )
            with gr.Row():
                self.max_new_tokens = gr.Number(
                    128,
                    precision=0,
                    label="Max new tokens",
                    info="Where an answer is cut off. (1 to 8,192)",
                    elem_id="max-tokens",
                )
                self.seed = gr.Number(
                    3407, precision=0, label="Seed", info="The same luck for all panes.", elem_id="seed"
                )
        self.heldout = gr.HTML(padding=False, elem_id="compare-heldout")

    def connect(self) -> None:
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        draws = [self.temperature, self.top_p, self.max_new_tokens, self.seed]
        choices = [self.left, self.right, self.third]
        inputs = {self.conversation, self.prompt, self.system, self.differ, *choices, *draws}
        shown = [
            self.conversation, self.prompt, self.seed, self.trouble, self.changed, self.earlier, self.panes, self.proof, self.tools,
            self.differ, self.copied, self.as_markdown, self.as_json, self.retry, self.edit, self.new,
        ]  # fmt: skip
        gr.on([self.ask.click, self.prompt.submit], self._ask, inputs, shown, **hidden)
        self.retry.click(self._retry, inputs, shown, **hidden)
        self.edit.click(self._edit, inputs, shown, **hidden).then(
            None, None, None, js="() => document.querySelector('#prompt textarea').focus()", **hidden
        )
        self.new.click(self._new, inputs, shown, **hidden)
        self.stop.click(self._workbench.lab.stop, api_name="stop_answers", **hidden)
        self.differ.input(self._show, inputs, [self.earlier, self.panes], **hidden)
        self.panes.change(None, None, None, js=_FOLLOW, **hidden)
        self.copy.click(None, [self.as_markdown], [self.copied], js=_COPY, **hidden)
        as_files = (
            (self.markdown, self.as_markdown, "text/markdown", "md"),
            (self.json, self.as_json, "application/json", "json"),
        )
        for button, text, kind, ending in as_files:
            button.click(None, [text], None, js=_SAVE.replace("TYPE", kind).replace("ENDING", ending), **hidden)

        self.load.click(self._load, [self.runs, self._token], [self.trouble], **hidden)
        self.loaded.change(_default_panes, [self.loaded], [self.left, self.right], **hidden)
        self.suggested.change(self._suggest, [self.suggested, self.runs], [self.runs], **hidden)
        gr.on(
            [choice.change for choice in choices], self._choose, inputs, [self.changed, self.panes, self.ask], **hidden
        )
        self.preset.input(lambda name: PRESETS[name], [self.preset], [self.temperature, self.top_p], **hidden)
        gr.on([draw.change for draw in draws], _settings_in_force, draws, [self.settings, self.preset], **hidden)

    def live(self) -> dict:
        workbench, snapshot = self._workbench, self._workbench.snapshot
        state, busy = workbench.model_state, workbench.busy_with
        if busy == TRAINING:
            words = "Training is going on: asking must wait until it has ended or was stopped."
        elif busy == LOADING:
            words = "The model is being loaded."
        elif busy and busy != ANSWERING:
            words = f"Asking must wait: {busy}."
        elif state.report is None:
            words = "There is no model to ask: finish a run, or choose one above and load it."
        elif not state.adapter:
            words = "Only the base is loaded; there is nothing to compare it with until there is an adapter."
        else:
            words = ""
        held = snapshot.heldout if snapshot and snapshot.run_id == state.adapter else None
        runs = [(run_label(run.id), run.id) for run in workbench.runs.rows() if run.has_adapter]
        panes = [(pane_label(pane), pane.key) for pane in workbench.lab.choices()]
        return {
            self.ask: {"interactive": workbench.compare_ready},
            self.stop: {"visible": busy == ANSWERING},
            self.hint: {"value": notice(words)} if busy != ANSWERING else {},
            self.heldout: {"value": heldout_text(held) if held else ""},
            self.runs: {"choices": runs},
            self.suggested: {"value": self._suggested()},
            self.load: {"interactive": bool(runs) and not busy},
            self.left: {"choices": panes},
            self.right: {"choices": [NONE, *panes]},
            self.third: {"choices": [NONE, *panes]},
            self.loaded: {"value": Pane(state.adapter, state.step).key if state.adapter else BASE.key},
        }

    def _load(self, run_id: str | None, token: str) -> str:
        run_id = run_id or self._suggested()  # a click may come before the box shows it
        try:
            if not run_id:
                raise RunError("Choose a run first.")
            self._workbench.lab.load_run(self._workbench.runs.find(run_id).id, token)
        except Problem as error:
            return notice(str(error), "error")
        return ""

    def _suggested(self) -> str:
        """The run that is loaded, or else the newest that has an adapter; empty when there is none."""
        runs = [run.id for run in self._workbench.runs.rows() if run.has_adapter]
        wanted = self._workbench.model_state.adapter or next(iter(runs), "")
        return wanted if wanted in runs else ""

    def _suggest(self, run_id: str, chosen: str | None) -> str | None:
        """The run that is loaded; while none is, what was chosen stays, and else it is the newest."""
        is_loaded = run_id and run_id == self._workbench.model_state.adapter
        return (run_id if is_loaded else chosen or run_id) or None

    # Panes

    def _chosen(self, values: dict) -> tuple[Pane, ...]:
        """The panes that the form names; the left one is always there."""
        keys = [key for key in (values[self.left] or BASE.key, values[self.right], values[self.third]) if key]
        if not all(isinstance(key, str) for key in keys):  # no page sends that, but a client can
            raise gr.Error("A pane is named by text: base, or a run's id.", print_exception=False)
        return tuple(Pane.from_key(key) for key in keys)

    def _choose(self, values: dict) -> dict:
        conversation, panes = values[self.conversation], self._chosen(values)
        told = {self.ask: gr.update(value=ASK[len(panes)])}
        if conversation.turns:  # what was said stays to be read
            return told | {self.changed: notice(OTHER_PANES if panes != conversation.panes else "")}
        return told | {self.changed: "", self.panes: newest_text(Conversation(panes))}

    # Asking

    def _ask(self, values: dict) -> Iterator[dict]:
        panes, conversation = self._chosen(values), values[self.conversation]
        question, system = values[self.prompt] or "", values[self.system] or ""
        try:
            sampling = self._sampling(values)
            if not question.strip():
                raise ModelError("Write a question first.")
        except Problem as error:
            yield {self.trouble: notice(str(error), "error")}
            return
        before = conversation if conversation.panes == panes else Conversation(panes)
        yield from self._answers(values, conversation, before.asked(question, system, sampling), clear=True)

    def _retry(self, values: dict) -> Iterator[dict]:
        """The last question again: in its turn's place, or of other panes in a new conversation."""
        panes, conversation = self._chosen(values), values[self.conversation]
        if not conversation.turns:
            yield {self.trouble: ""}
            return
        system, last = values[self.system] or "", conversation.turns[-1]
        try:
            sampling = self._sampling(values)
        except Problem as error:
            yield {self.trouble: notice(str(error), "error")}
            return
        if conversation.panes != panes:
            before, asked = Conversation(panes), sampling
        else:
            before, asked = conversation.without_last(), asked_again(last, system, sampling)
        if asked is None:
            yield {self.trouble: notice(SAME_AGAIN)}
            return
        yield {self.seed: asked.seed}
        yield from self._answers(values, conversation, before.asked(last.question, system, asked), clear=False)

    def _answers(self, values: dict, before: Conversation, asked: Conversation, clear: bool) -> Iterator[dict]:
        """All panes answer the last question of `asked`. Where none of them can, `before` is what stays.

        `clear` takes the question out of the box; it comes back when it was not asked.
        """
        panes, differ = asked.panes, bool(values[self.differ])
        lab, drawn = self._workbench.lab, 0.0
        waits = dict.fromkeys((self.differ, self.retry, self.edit, self.new), gr.update(interactive=False))
        box = {self.prompt: ""} if clear else {}
        quiet = dict.fromkeys((self.trouble, self.changed, self.proof, self.copied), "")
        yield {self.conversation: asked, **quiet, **box, **waits, **self._draw(asked, differ)}
        conversation = asked
        try:
            conversations = [asked.messages(place) for place in range(len(panes))]
            for answers in lab.answer(panes, conversations, asked.turns[-1].sampling):
                conversation = conversation.answered(answers)
                if time.monotonic() - drawn >= REDRAW_SECONDS:
                    drawn = time.monotonic()
                    yield {self.panes: newest_text(conversation, differ)}
        except Problem as error:
            kept = conversation.broken_off()
            is_lost = len(kept.turns) < len(asked.turns)
            box = {self.prompt: asked.turns[-1].question} if clear and is_lost else {}
            yield self._left_with(before if is_lost else kept, values) | {
                self.trouble: notice(str(error), "error"),
                **box,
            }
            return
        yield self._settled(conversation, differ)
        if len(panes) > 1:
            try:
                yield {self.proof: proof_text(panes, lab.differences(panes, conversations[0]))}
            except Problem as error:
                yield {self.proof: notice(f"How far they differ could not be measured. {error}", "warning")}

    def _edit(self, values: dict) -> dict:
        """The last question goes back into the box, and its turn out of the conversation."""
        conversation = values[self.conversation]
        if not conversation.turns:
            return {self.trouble: ""}
        question = conversation.turns[-1].question
        return self._left_with(conversation.without_last(), values) | {self.prompt: question}

    def _new(self, values: dict) -> dict:
        return self._left_with(Conversation(self._chosen(values)), values)

    def _left_with(self, conversation: Conversation, values: dict) -> dict:
        """After turns were taken out. Empty panes are those that the form names."""
        panes = self._chosen(values)
        if not conversation.turns:
            conversation = Conversation(panes)
        quiet = dict.fromkeys((self.trouble, self.proof, self.copied), "")
        changed = {self.changed: notice(OTHER_PANES if panes != conversation.panes else "")}
        return quiet | changed | self._settled(conversation, bool(values[self.differ]))

    # Showing

    def _show(self, values: dict) -> dict:
        return self._draw(values[self.conversation], bool(values[self.differ]))

    def _draw(self, conversation: Conversation, differ: bool) -> dict:
        return {self.earlier: earlier_text(conversation, differ), self.panes: newest_text(conversation, differ)}

    def _settled(self, conversation: Conversation, differ: bool) -> dict:
        """The conversation as it stands while nobody answers."""
        is_begun = bool(conversation.turns)
        names = [pane_label(pane) for pane in conversation.panes]
        return {
            self.conversation: conversation,
            **self._draw(conversation, differ),
            self.tools: gr.update(visible=is_begun),
            self.differ: gr.update(interactive=True),
            self.as_markdown: as_markdown(conversation, names) if is_begun else "",
            self.as_json: as_json(conversation) if is_begun else "",
            **dict.fromkeys((self.retry, self.edit, self.new), gr.update(visible=is_begun, interactive=True)),
        }

    def _sampling(self, values: dict) -> Sampling:
        return make_sampling(*(values[part] for part in (self.temperature, self.top_p, self.max_new_tokens, self.seed)))


def _default_panes(loaded: str) -> tuple[str, str]:
    """The base, and beside it the adapter that is loaded."""
    return BASE.key, "" if loaded == BASE.key else loaded


def _settings_in_force(temperature, top_p, max_new_tokens, seed) -> tuple:
    """The label of the settings, and the preset that they are, if any."""
    presets = (name for name, draws in PRESETS.items() if draws == (temperature, top_p) or temperature == draws[0] == 0)
    preset = next(presets, None)
    words = [preset or f"temperature {temperature:g}, top-p {top_p:g}", f"{max_new_tokens or 0} tokens"]
    if temperature:
        words.append(f"seed {seed if seed is not None else 'none'}")
    return gr.update(label=f"Settings: {' · '.join(words)}"), preset
