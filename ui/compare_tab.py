"""The Compare tab: one prompt, base and tuned side by side, and the proof that they differ. Knows nothing of torch."""

import time
from collections.abc import Iterator
from html import escape

import gradio as gr
from pydantic import ValidationError

from core.compare import Answer, Sampling
from core.hub import ModelError
from core.runs import RunError
from core.templates import TemplateError
from core.workbench import ANSWERING, LOADING, TRAINING, Busy, Workbench
from ui.train_tab import heldout_text
from ui.words import count, notice, run_label

REDRAW_SECONDS = 0.06  # more often than the eye follows would only cost the model time
ENDS = {"": "writing…", "itself": "ended by itself", "limit": "cut off at the limit", "stopped": "stopped"}
PROBLEMS = (ModelError, RunError, TemplateError, Busy)


class CompareTab:
    """Layout and handlers; `live` tells what its parts show now."""

    def __init__(self, workbench: Workbench, token: gr.Textbox):
        self._workbench, self._token = workbench, token
        with gr.Row(elem_id="pick"):
            self.runs = gr.Dropdown([], label="Tuned", info="A run whose adapter is compared with its base.", scale=3, elem_id="runs")
            self.load = gr.Button("Load it", scale=0, min_width=110, elem_id="load-run")
        self.prompt = gr.Textbox(
            label="Prompt", lines=2, value="The old man reads a book.", elem_id="prompt", placeholder="Ask both something"
        )
        with gr.Accordion("Settings: exact · 128 tokens", open=False) as self.settings:
            self.system = gr.Textbox(label="System prompt", info="Stands before the question; may be empty.", elem_id="system")
            with gr.Row():
                self.temperature = gr.Slider(
                    0, 2, 0, step=0.05, label="Temperature", info="0 takes the likeliest token each time: exact.",
                    elem_id="temperature",
                )
                self.top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p", info="Draws from the likeliest share only.")
            with gr.Row():
                self.max_new_tokens = gr.Number(128, precision=0, label="Max new tokens", info="Where an answer is cut off. (1 to 8,192)", elem_id="max-tokens")
                self.seed = gr.Number(3407, precision=0, label="Seed", info="The same random draws for both.")
        with gr.Row():
            self.ask = gr.Button("Ask both", variant="primary", elem_id="ask")
            self.stop = gr.Button("Stop the answers", elem_id="stop-answers", visible=False)
        self.hint = gr.HTML(padding=False, elem_id="compare-hint")
        self.trouble = gr.HTML(padding=False, elem_id="compare-trouble")
        self.panes = gr.HTML(panes_text(None, None), elem_id="panes", padding=False)
        self.proof = gr.HTML(padding=False, elem_id="proof")
        self.heldout = gr.HTML(padding=False, elem_id="compare-heldout")

    def connect(self) -> None:
        sampling = [self.temperature, self.top_p, self.max_new_tokens, self.seed]
        hidden = {"api_visibility": "private", "show_progress": "hidden"}
        answers = [self.trouble, self.panes, self.proof]
        inputs = [self.prompt, self.system, *sampling]
        gr.on([self.ask.click, self.prompt.submit], self._ask, inputs, answers, **hidden)
        self.stop.click(self._workbench.stop_answers, **hidden)
        self.load.click(self._load, [self.runs, self._token], [self.trouble], **hidden)
        gr.on(
            [self.temperature.change, self.max_new_tokens.change],
            lambda t, n: gr.update(label=f"Settings: {'exact' if t == 0 else f'temperature {t:g}'} · {n or 0} tokens"),
            [self.temperature, self.max_new_tokens], [self.settings], **hidden,
        )

    def live(self) -> dict:
        workbench, snapshot = self._workbench, self._workbench.snapshot
        state, busy = workbench.model_state, workbench.busy_with
        if busy == TRAINING:
            words = "Training is going on: asking must wait until it has ended or was stopped."
        elif busy == LOADING:
            words = "The model is being loaded."
        elif state.report is None:
            words = "There is no model to ask: finish a run, or choose one above and load it."
        elif not state.adapter:
            words = "Only the base is loaded; the tuned pane stays empty until there is an adapter."
        else:
            words = ""
        held = snapshot.heldout if snapshot and snapshot.run_id == state.adapter else None
        runs = [(run_label(run.id), run.id) for run in workbench.runs.rows() if run.has_adapter]
        chosen = state.adapter or (runs[0][1] if runs else None)
        return {
            self.ask: {"interactive": workbench.compare_ready, "value": "Ask both" if state.adapter else "Ask"},
            self.stop: {"visible": busy == ANSWERING},
            self.hint: {"value": notice(words)} if busy != ANSWERING else {},
            self.heldout: {"value": heldout_text(held) if held else ""},
            self.runs: {"choices": runs, "value": chosen if chosen in [run for _, run in runs] else None},
            self.load: {"interactive": bool(runs) and not busy},
        }

    def _load(self, run_id: str | None, token: str) -> str:
        try:
            if not run_id:
                raise RunError("Choose a run first.")
            self._workbench.load_run(run_id, token)
        except PROBLEMS as error:
            return notice(str(error), "error")
        return ""

    def _ask(self, prompt, system, temperature, top_p, max_new_tokens, seed) -> Iterator[tuple]:
        drawn = 0.0
        base = tuned = difference = None
        try:
            sampling = make_sampling(temperature, top_p, max_new_tokens, seed)
            yield "", panes_text(Answer(), Answer()), ""
            for base, tuned, difference in self._workbench.compare(prompt or "", system or "", sampling):
                if time.monotonic() - drawn >= REDRAW_SECONDS:
                    drawn = time.monotonic()
                    yield gr.skip(), panes_text(base, tuned), gr.skip()
        except PROBLEMS as error:
            yield notice(str(error), "error"), panes_text(base, tuned), ""
            return
        yield "", panes_text(base, tuned), proof_text(difference)


def make_sampling(temperature, top_p, max_new_tokens, seed) -> Sampling:
    """Raises ModelError with a sentence when a value is out of bounds."""
    try:
        return Sampling(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(f"{first['loc'][0]} cannot be {first['input']!r}: {first['msg'].lower()}.") from None


def panes_text(base: Answer | None, tuned: Answer | None) -> str:
    """The two panes; None is a pane that was not asked."""
    return f'<div class="panes">{_pane("base", "Base", base)}{_pane("tuned", "Tuned", tuned)}</div>'


def _pane(style: str, title: str, answer: Answer | None) -> str:
    if answer is None:
        body, foot = '<p class="empty">no answer yet</p>', ""
    else:
        body = f'<div class="answer">{escape(answer.text)}</div>'
        speed = f" · {answer.tokens / answer.seconds:.0f} tok/s" if answer.seconds else ""
        foot = f"{ENDS[answer.ended]} · {count(answer.tokens, 'token')}{speed}"
    return f'<section class="pane {style}" aria-label="{title}"><h3>{title}</h3>{body}<footer>{foot}</footer></section>'


def proof_text(difference: float | None) -> str:
    """The largest logit difference in words; a warning when the two are the same model."""
    if difference is None:
        return ""
    if difference == 0:
        return notice(
            "Base and tuned are the same here: every logit after this prompt is equal, so the adapter changes nothing.",
            "warning",
        )
    return notice(f"They differ: the largest logit difference after this prompt is {difference:.2f}.", "good")
