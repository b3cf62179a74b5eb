"""The chat of the Compare tab: a conversation with two or three panes at once, and the proof that they differ.

The conversation belongs to the page, in a `gr.State`; its panes are those it began with.
"""

import time
from collections.abc import Iterator

import gradio as gr
from markupsafe import Markup

from core.comparing.conversation import Conversation, as_json, as_markdown, asked_again
from core.comparing.trained_on import are_single_turn, questions_for, runs_in
from core.problems import ModelError, Problem, mark, tr
from core.runs.adapter_ref import Pane
from core.workbench.desk import ANSWERING
from core.workbench.workbench import Workbench
from ui.compare.chat_kept import BEGIN_TO_KEEP, KEEP, LOOK_FOR_KEPT, kept_conversation, kept_panes
from ui.compare.chat_scripts import FOCUS_PROMPT, FOLLOW, IN_ANSWERS, KEEP_ERROR_OF_UNASKED, copy_all, save_as
from ui.compare.chat_view import earlier_text, empty_text, newest_text, proof_text
from ui.compare.chat_words import OTHER_PANES, SAME_AGAIN, why_not
from ui.compare.pane_picker import PANES, PanePicker
from ui.compare.sampling_form import SamplingForm
from ui.shared.clicks import COPY
from ui.shared.errors import clear_on
from ui.shared.formatting import notice
from ui.shared.run_names import RunNames
from ui.train.run_figures import heldout_text

# Between two drawings of growing answers: often at first, when a person waits for them. Each keeps the browser busy for
# 75 ms, several times that on a slow machine, which must still have time for a click on Stop.
FIRST_SECONDS, FIRST_REDRAW, LATER_REDRAW = 2.0, 0.2, 0.6
ASK_LABELS = {1: mark("Ask"), 2: mark("Ask both"), 3: mark("Ask all three")}  # by the number of panes


class CompareTab:
    """Layout and handlers; `live` says what its parts show now."""

    def __init__(self, workbench: Workbench, token: gr.Textbox):
        self._workbench, self._token = workbench, token
        self._label = RunNames(workbench.runs).pane
        self.picker = PanePicker(workbench)
        self._add_conversation()
        self._add_composer()
        with gr.Row(elem_id="asked-how"):
            self.alone = gr.Checkbox(
                label=tr("Each question on its own"), info=tr("The models do not see the turns before it."),
                container=False, elem_id="on-its-own", scale=0, min_width=240,
            )  # fmt: skip
            self.sampling = SamplingForm()
        self.alone_for = gr.State(())  # the runs that it was last set for
        self.heldout = gr.HTML(padding=False, elem_id="compare-heldout")
        self.unasked = gr.Textbox(visible="hidden")  # the question that came back into the box with an error
        self.names = gr.Textbox("", visible="hidden")  # changes when a run gets another name

    def _add_conversation(self) -> None:
        self.changed = self.picker.changed
        self.conversation = gr.State(Conversation())
        self.earlier = gr.HTML(padding=False, elem_id="earlier", js_on_load=COPY + LOOK_FOR_KEPT)
        self.panes = gr.HTML(newest_text(Conversation()), elem_id="panes", padding=False, js_on_load=IN_ANSWERS)
        self.proof = gr.HTML(padding=False, elem_id="proof")
        with gr.Row(visible=False, elem_id="chat-tools") as self.tools:
            self.differ = gr.Checkbox(
                label=tr("Show differences from the left pane"), elem_id="differ", container=False, scale=0,
                min_width=160,
            )  # fmt: skip
            self.copy = gr.Button(tr("Copy all"), size="sm", scale=0, elem_id="copy-chat")
            self.markdown = gr.Button(tr("Save as Markdown"), size="sm", scale=0, elem_id="save-markdown")
            self.json = gr.Button(tr("Save as JSON"), size="sm", scale=0, elem_id="save-json")
        self.copied = gr.HTML(padding=False, elem_id="copied")
        self.as_markdown, self.as_json = gr.Textbox(visible="hidden"), gr.Textbox(visible="hidden", elem_id="chat-json")

    def _add_composer(self) -> None:
        with gr.Column(elem_id="composer"):
            self.hint = gr.HTML(padding=False, elem_id="compare-hint")
            self.trouble = gr.HTML(padding=False, elem_id="compare-trouble")
            self.prompt = gr.Textbox(
                # With one line to begin with, Enter sends and Shift+Enter starts a new line.
                label=tr("Question"), lines=1, max_lines=8, elem_id="prompt",
                placeholder=tr("Ask all panes something"), show_label=False, container=False,
            )  # fmt: skip
            with gr.Row(elem_id="composer-buttons"):
                self.ask = gr.Button(tr(ASK_LABELS[1]), variant="primary", elem_id="ask")
                self.stop = gr.Button(tr("Stop the answers"), elem_id="stop-answers", visible=False)
                self.retry = gr.Button(tr("Retry"), elem_id="retry", visible=False)
                self.edit = gr.Button(tr("Edit"), elem_id="edit", visible=False)
                self.new = gr.Button(tr("New"), elem_id="new-chat", visible=False)

    def connect(self) -> None:
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        inputs = {
            self.conversation, self.prompt, self.differ, self.alone, self.picker.shown_for, *self.picker.choices,
            *self.sampling.inputs,
        }  # fmt: skip
        shown = [
            self.conversation, self.prompt, self.sampling.seed, self.trouble, self.changed, self.earlier, self.panes,
            self.proof, self.tools, self.differ, self.copied, self.as_markdown, self.as_json,
            self.retry, self.edit, self.new, self.unasked, *self.picker.panes,
        ]  # fmt: skip
        gr.on([self.ask.click, self.prompt.submit], self._ask, inputs, shown, **hidden)
        self.retry.click(self._retry, inputs, shown, **hidden)
        self.edit.click(self._edit, inputs, shown, **hidden).then(None, None, None, js=FOCUS_PROMPT, **hidden)
        self.new.click(self._new, inputs, shown, **hidden)
        self.stop.click(self._workbench.lab.stop, api_name="stop_answers", **hidden)
        self.differ.input(self._show, inputs, [self.earlier, self.panes], **hidden)
        self.names.change(self._renamed, inputs, [self.earlier, self.panes], api_name="chat_names", **hidden)
        self.panes.change(None, None, None, js=FOLLOW, **hidden)
        self.copy.click(None, [self.as_markdown], [self.copied], js=copy_all(), **hidden)
        self.markdown.click(None, [self.as_markdown], None, js=save_as("text/markdown", "md"), **hidden)
        self.json.click(None, [self.as_json], None, js=save_as("application/json", "json"), **hidden)
        self.picker.connect(self._token, self.trouble, **hidden)
        # What a person chooses or types next may be what was wrong.
        chosen = (self.alone, *self.sampling.draws, self.sampling.preset)
        clear_on([*(part.input for part in chosen), self.sampling.system.change], self.trouble)
        self.prompt.change(  # not `input`, which does not see what is pasted
            None, [self.prompt, self.unasked, self.trouble], [self.trouble], js=KEEP_ERROR_OF_UNASKED, **hidden
        )
        self.sampling.connect(**hidden)
        changes = [choice.change for choice in self.picker.choices]
        told = [self.changed, self.panes, self.ask, self.alone, self.alone_for]
        gr.on(changes, self._choose, {*inputs, self.alone_for}, told, concurrency_id=PANES, **hidden)
        again = [*shown, self.alone, self.alone_for]
        self.earlier.returned(self._come_back, inputs, again, concurrency_id=PANES, **hidden).then(
            None, None, None, js=BEGIN_TO_KEEP, **hidden
        )
        kept = [self.as_json, self.alone, self.picker.loaded, *self.picker.choices]
        gr.on([part.change for part in kept], None, kept, None, js=KEEP, **hidden)

    def live(self) -> dict:
        workbench, snapshot = self._workbench, self._workbench.snapshot
        state, busy = workbench.model_state, workbench.busy_with
        held = snapshot.heldout if snapshot and snapshot.run_id == state.adapter else None
        names = tuple((row.id, row.name) for row in workbench.runs.rows() if row.is_renamed)
        return self.picker.live() | {
            self.names: {"value": str(hash(names)) if names else ""},
            self.ask: {"interactive": workbench.compare_ready},
            self.stop: {"visible": busy == ANSWERING},
            self.hint: {"value": notice(why_not(workbench))} if busy != ANSWERING else {},
            self.heldout: {"value": heldout_text(held) if held else ""},
        }

    # Panes

    def _choose(self, values: dict) -> dict:
        conversation, panes = values[self.conversation], self.picker.chosen(values)
        told = {self.ask: gr.update(value=tr(ASK_LABELS[len(panes)]))}
        runs = runs_in(panes)
        if runs and runs != values[self.alone_for]:  # else what a person set stays
            told |= {self.alone: are_single_turn(self._workbench.runs, panes), self.alone_for: runs}
        if conversation.turns:  # what was said stays to be read
            return told | {self.changed: notice(tr(OTHER_PANES) if panes != conversation.panes else "")}
        return told | {self.changed: "", self.panes: self._empty(panes)}

    def _come_back(self, values: dict, returned: gr.EventData) -> dict:
        """Shows what the browser had kept, unless something has been asked since."""
        told = {self.trouble: gr.skip()}
        if values[self.conversation].turns:
            return told
        if kept := kept_panes(returned):
            told |= self.picker.come_back(kept.panes, kept.loaded)
            values = values | {choice: told[choice]["value"] for choice in self.picker.choices}
            runs = runs_in([Pane.from_key(key) for key in kept.panes if key])
            told |= {self.alone: kept.alone, self.alone_for: runs}  # for these, it is as a person left it
        if conversation := kept_conversation(returned, bool(self._workbench.rules)):
            told |= self._left_with(conversation, values)
        return told

    def _empty(self, panes: tuple[Pane, ...]) -> Markup:
        """The panes before the first question, with questions to try."""
        return empty_text(panes, self._label, questions_for(self._workbench.runs, panes))

    # Asking

    def _ask(self, values: dict) -> Iterator[dict]:
        question, system = values[self.prompt] or "", values[self.sampling.system] or ""
        try:
            sampling = self.sampling.read(values)
            if not question.strip():
                raise ModelError("Write a question first.")
        except Problem as error:
            yield {self.trouble: notice(str(error), "error")}
            return
        (panes, told), conversation = self.picker.settled(values), values[self.conversation]
        before = conversation if conversation.panes == panes else Conversation(panes)
        asked = before.asked(question, system, sampling, bool(values[self.alone]))
        yield from self._answers(values, conversation, asked, told | {self.prompt: ""})

    def _retry(self, values: dict) -> Iterator[dict]:
        """Asks the last question again: in place of its turn, or in a new conversation if the panes have changed."""
        (panes, told), conversation = self.picker.settled(values), values[self.conversation]
        if not conversation.turns:
            yield {self.trouble: ""}
            return
        system, last = values[self.sampling.system] or "", conversation.turns[-1]
        is_alone = bool(values[self.alone])
        try:
            sampling = self.sampling.read(values)
        except Problem as error:
            yield {self.trouble: notice(str(error), "error")}
            return
        if conversation.panes != panes:
            before, asked = Conversation(panes), sampling
        else:
            before = conversation.without_last()
            sees_as_much = is_alone == last.is_on_its_own or not before.turns
            asked = asked_again(last, system, sampling, sees_as_much)
        if asked is None:
            yield {self.trouble: notice(tr(SAME_AGAIN))}
            return
        yield {self.sampling.seed: asked.seed}
        again = before.asked(last.question, system, asked, is_alone)
        yield from self._answers(values, conversation, again, told)

    def _answers(self, values: dict, before: Conversation, asked: Conversation, told: dict) -> Iterator[dict]:
        """All panes answer the last question of `asked`. If none of them can, `before` stays.

        `told` comes with the first step. If it empties the question box, the question comes back if it was not asked.
        """
        panes, differ = asked.panes, bool(values[self.differ])
        lab, drawn, began = self._workbench.lab, 0.0, time.monotonic()
        waits = dict.fromkeys((self.differ, self.retry, self.edit, self.new), gr.update(interactive=False))
        quiet = dict.fromkeys((self.trouble, self.changed, self.proof, self.copied), "")
        yield {self.conversation: asked, **quiet, **told, **waits, **self._draw(asked, differ)}
        conversation = asked
        try:
            conversations = [asked.messages(place) for place in range(len(panes))]
            for answers in lab.answer(panes, conversations, asked.turns[-1].sampling):
                conversation = conversation.answered(answers)
                now = time.monotonic()
                if now - drawn >= (FIRST_REDRAW if now - began < FIRST_SECONDS else LATER_REDRAW):
                    drawn = now
                    yield {self.panes: newest_text(conversation, differ, self._label)}
            said = lab.note_on_prompts(panes, conversations)
        except Problem as error:
            kept = conversation.broken_off()
            is_lost = len(kept.turns) < len(asked.turns)
            back = (self.prompt, self.unasked) if is_lost and self.prompt in told else ()
            yield self._left_with(before if is_lost else kept, values) | {
                self.trouble: notice(str(error), "error"),
                **dict.fromkeys(back, asked.turns[-1].question),
            }
            return
        settled = self._settled(conversation, differ) | {self.trouble: notice(said)}
        if len(panes) > 1:
            yield settled | waits  # until this handler has ended, Gradio ignores clicks on its button
            try:
                told = proof_text(panes, lab.differences(panes, conversations[0]), self._label)
            except Problem as error:
                told = notice(tr("How much they differ could not be measured. {error}", error=error), "warning")
            settled = {self.proof: told} | {button: settled[button] for button in waits}
        yield settled

    def _edit(self, values: dict) -> dict:
        """Puts the last question back into the box, and removes its turn from the conversation."""
        conversation = values[self.conversation]
        if not conversation.turns:
            return {self.trouble: ""}
        question = conversation.turns[-1].question
        return self._left_with(conversation.without_last(), values) | {self.prompt: question}

    def _new(self, values: dict) -> dict:
        return self._left_with(Conversation(self.picker.chosen(values)), values)

    def _left_with(self, conversation: Conversation, values: dict) -> dict:
        """What to show after turns were removed. An empty conversation takes the panes that are chosen."""
        panes = self.picker.chosen(values)
        if not conversation.turns:
            conversation = Conversation(panes)
        quiet = dict.fromkeys((self.trouble, self.proof, self.copied), "")
        changed = {self.changed: notice(tr(OTHER_PANES) if panes != conversation.panes else "")}
        return quiet | changed | self._settled(conversation, bool(values[self.differ]))

    # Showing

    def _show(self, values: dict) -> dict:
        return self._draw(values[self.conversation], bool(values[self.differ]))

    def _renamed(self, values: dict) -> dict:
        if values[self.conversation].turns:
            return self._show(values)
        return {self.panes: self._empty(self.picker.chosen(values))}

    def _draw(self, conversation: Conversation, differ: bool) -> dict:
        is_begun = bool(conversation.turns)
        newest = newest_text(conversation, differ, self._label) if is_begun else self._empty(conversation.panes)
        return {self.earlier: earlier_text(conversation, differ, self._label), self.panes: newest}

    def _settled(self, conversation: Conversation, differ: bool) -> dict:
        """The conversation and its tools while no answer is being written."""
        is_begun = bool(conversation.turns)
        names = [self._label(pane) for pane in conversation.panes]
        return {
            self.conversation: conversation,
            **self._draw(conversation, differ),
            self.tools: gr.update(visible=is_begun),
            self.differ: gr.update(interactive=True),
            self.as_markdown: as_markdown(conversation, names) if is_begun else "",
            self.as_json: as_json(conversation) if is_begun else "",
            **dict.fromkeys((self.retry, self.edit, self.new), gr.update(visible=is_begun, interactive=True)),
        }
