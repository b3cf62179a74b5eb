"""The queue on the Train tab: adding the form to it, once or varied, and the list of what waits.

Visitors of a page have none: their runs wait in `core.visitors.run_queue`, and for them none of this is on the page.
The command for the empty queue is not here and must not be: only the command line gives it.
"""

import gradio as gr

from core.problems import Problem, tr, trn
from core.settings.run_config import RunConfig
from core.settings.variations import variations
from core.workbench.workbench import Workbench
from ui.shared.clicks import CLICKS
from ui.shared.errors import error_text
from ui.shared.formatting import notice
from ui.shared.settings_form import Form
from ui.train.queue_view import ended_text, queue_text, vary_text

_SEND_VARIED = """
const send = () => {
    const typed = name => element.querySelector(`[name="${name}"]`).value;
    trigger('asked', {
        ask: 'vary', first: typed('first'), values: typed('first-values'),
        second: typed('second'), more: typed('second-values'),
    });
};
element.addEventListener('click', event => {
    if (event.target.closest('[data-vary]')) send();
});
element.addEventListener('keydown', event => {
    if (event.key === 'Enter' && event.target.matches('input')) send();
});
"""
# A run that is moved keeps the focus; at the end of the list, its other button has it.
_FOCUS_MOVED = """
let moved = null;
element.addEventListener('click', event => {
    const button = event.target.closest('[data-ask=up], [data-ask=down]');
    moved = button && {...button.dataset};
});
document.addEventListener('focusin', event => {
    if (!element.contains(event.target)) moved = null;
});
watch('value', () => requestAnimationFrame(() => {
    if (!moved) return;
    const of = [...element.querySelectorAll('button:enabled')].filter(button => button.dataset.entry === moved.entry);
    (of.find(button => button.dataset.ask === moved.ask) ?? of[0])?.focus();
}));
"""


class QueuePanel:
    """Layout and handlers; `live` says what the list shows now. The layout calls `add_form` and `add_list`."""

    def __init__(self, workbench: Workbench, form: Form, preset: gr.Dropdown, token: gr.Textbox):
        self._workbench, self._form, self._preset, self._token = workbench, form, preset, token
        self._drawn: tuple[tuple, dict] | None = None  # what the list was drawn from, and the result

    def add_form(self) -> None:
        self.vary = gr.HTML(vary_text(), padding=False, elem_id="vary", js_on_load=_SEND_VARIED)

    def add_list(self) -> None:
        self.list = gr.HTML(padding=False, elem_id="queue", js_on_load=CLICKS + _FOCUS_MOVED)

    def connect(self, trouble: gr.HTML) -> list[gr.events.Dependency]:
        """Wires the handlers, once the form has all its fields; returns what changes the list. `trouble` says what came
        of adding a run, or why it cannot be added."""
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        inputs = set(self._form.components.values()) | {self._token, self._preset}
        return [
            self.vary.asked(self._vary, inputs, [trouble], api_name="vary", **hidden),
            self.list.asked(self._asked, None, [trouble], api_name="asked_of_queue", **hidden),
        ]

    def live(self) -> dict:
        workbench = self._workbench
        try:
            queue, trouble = workbench.queue.read(), workbench.queue.trouble
        except Problem as problem:
            return {self.list: {"value": notice(str(problem), "error")}}
        shown = queue, workbench.runs.rows(), trouble, workbench.snapshot if queue.entries else None
        # All of these are immutable, so the same ones look the same. A table of runs takes a while.
        if self._drawn is None or any(a is not b for a, b in zip(self._drawn[0], shown, strict=True)):
            self._drawn = shown, {self.list: {"value": self._draw(*shown)}}
        return self._drawn[1]

    def _draw(self, queue, runs, trouble, snapshot) -> str:
        if not queue.entries and not queue.ended and not trouble:
            return ""
        rows = {row.id: row for row in runs}
        left = self._workbench.queue.times.left(queue, self._workbench.machine, snapshot)
        return queue_text(queue, rows, left, trouble) + ended_text(queue, self._workbench.runs, rows)

    def add(self, config: RunConfig, values: dict) -> str:
        """Adds the form to the queue; returns what to say. Raises Problem."""
        (added,) = self._workbench.queue.add([("", config)], values[self._preset] or "", values[self._token])
        return notice(tr("Added to the queue: {run}.", run=added.title), "good")

    def _vary(self, values: dict, asked: gr.EventData) -> str:
        try:
            config = self._form.read(values)
        except Problem as error:
            return error_text(error, self._form)
        pairs = {asked.first: asked.values, asked.second: asked.more}
        try:
            runs = variations(config, {name: typed for name, typed in pairs.items() if name.strip()})
            named = [(run.name, run.config) for run in runs]
            self._workbench.queue.add(named, values[self._preset] or "", values[self._token])
        except Problem as error:
            return notice(str(error), "error")
        return notice(trn("Added {count:,} run to the queue.", "Added {count:,} runs to the queue.", len(runs)), "good")

    def _asked(self, asked: gr.EventData) -> str:
        queue = self._workbench.queue
        try:
            match asked.ask:
                case "up" | "down" as way:
                    waiting = [entry.id for entry in queue.read().entries if not entry.run_id]
                    if asked.entry in waiting:
                        place = waiting.index(asked.entry) + 1
                        queue.file.move(asked.entry, place - 1 if way == "up" else place + 1)
                case "drop":
                    queue.file.drop([asked.entry])
                case "pause":
                    queue.file.pause(True)
                case "go-on":
                    queue.go_on()
                case "forget":
                    queue.file.forget_ended()
        except Problem as error:
            return notice(str(error), "error")
        return ""
