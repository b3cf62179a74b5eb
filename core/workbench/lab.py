"""The A/B lab: the base and adapters on it, asked, measured and proved, one thing at a time. Knows nothing of gradio.

All adapters sit on the one base that is loaded. What computes here does so under the workbench's lock, which is lent
as `take` and `release`.
"""

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.answering.logits import max_logit_differences
from core.answering.sampling import Answer, Sampling
from core.answering.stream import stream
from core.data.prompts.prompt_templates import prompt_text
from core.fresh_thread import in_own_thread
from core.model.device_memory import free_memory
from core.model.loaded_model import LoadedModel, ModelReport
from core.problems import ModelError, Problem, PromptTooLong, RunError, first_line
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import Run, find_run
from core.runs.run_list import RunList
from core.stopping import Stopped
from core.workbench.model_slot import ModelSlot

LOADING, ANSWERING = "a model is being loaded", "an answer is being written"


class Lab:
    """`take(doing)` has the model to oneself or raises Busy; `release()` gives it back."""

    def __init__(self, slot: ModelSlot, runs: RunList, take: Callable[[str], None], release: Callable[[], None]):
        self._slot, self._runs, self._take, self._release = slot, runs, take, release
        self._stop = threading.Event()

    @property
    def should_stop(self) -> Callable[[], bool]:
        return self._stop.is_set

    def stop(self) -> None:
        """Asks whatever the lab does to stop."""
        self._stop.set()

    # What can be compared

    @property
    def loaded_pane(self) -> Pane:
        """The adapter that the base was loaded with, or that was trained on it; the base when there is none."""
        return Pane(self._slot.state.adapter, self._slot.state.step)

    def choices(self) -> list[Pane]:
        """What can stand in a pane on the base that is loaded: itself, then the runs' adapters, each followed by those
        of its checkpoints, the newest run first. Only the base when none is loaded."""
        loaded, found = self._slot.loaded, [BASE]
        for row in self._runs.rows() if loaded is not None else ():
            if row.base == loaded.config.base:
                found += [Pane(row.id)] * row.has_adapter
                found += [Pane(row.id, step) for step in reversed(row.checkpoints)]
        return found

    def load_run(self, run_id: str, token: str | None = None, step: int | None = None) -> ModelReport:
        """Loads a run's base, unless it is there, with the run's adapter or that of its checkpoint of `step` on it.

        Raises Busy, RunError or ModelError.
        """
        run = find_run(self._runs.runs_dir, run_id)
        pane = Pane(run.id, step)
        config, folder = run.config(), _folder(run, pane)
        self._take(LOADING)
        try:
            return in_own_thread(lambda: self._slot.load_adapter(config, pane, folder, token)).report
        finally:
            self._release()

    # Asking

    @contextmanager
    def using(self, panes: Sequence[Pane], doing: str) -> Iterator[tuple[LoadedModel, list[str | None]]]:
        """The loaded model with the panes' adapters on it, and PEFT's names of them, None for the base.

        `doing` is half a sentence for those who must wait. Raises Busy, RunError and ModelError; what a library raises
        inside becomes a ModelError.
        """
        self._take(doing)
        try:
            self._stop.clear()
            if self._slot.loaded is None:
                raise ModelError("There is no model to ask: load one on the Model tab, or finish a run.")
            try:
                names = in_own_thread(lambda: self._slot.put_on(panes, self._folder_of))
                yield self._slot.loaded, names
            except (Problem, Stopped):
                raise
            except Exception as error:  # a full card, or kernels that fail: said, not hidden
                traceback.print_exc()
                sentence = f"The model could not answer: {first_line(error)}."
                error.with_traceback(None)
                free_memory()
                raise ModelError(sentence) from None
        finally:
            self._release()

    def answer(
        self, panes: Sequence[Pane], conversations: Sequence[list[dict]], sampling: Sampling, doing: str = ANSWERING
    ) -> Iterator[tuple[Answer, ...]]:
        """Yields the answers of all panes while they grow. A conversation per pane: messages, the last a user's.

        Raises Busy, RunError, ModelError (PromptTooLong among them) or TemplateError. Closing the iterator stops the answers.
        """
        if any(not messages or not messages[-1]["content"].strip() for messages in conversations):
            raise ModelError("Write a prompt first.")
        with self.using(panes, doing) as (loaded, names):
            prompts = [self._text(pane, panes, messages) for pane, messages in zip(panes, conversations, strict=True)]
            longest = max(
                len(loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) for text in prompts
            )
            most = loaded.report.max_seq_length
            if longest >= most:
                raise PromptTooLong(
                    f"The prompt has {longest} tokens and the model's length is {most}; shorten it, or start a new conversation."
                )
            sampling = sampling.model_copy(update={"max_new_tokens": min(sampling.max_new_tokens, most - longest)})
            yield from stream(loaded, prompts, names, sampling, self.should_stop)

    def compare(
        self, prompt: str, system: str, sampling: Sampling
    ) -> Iterator[tuple[Answer, Answer | None, float | None]]:
        """One question to the base and the adapter it was loaded with: yields (base, tuned, None) while they grow and
        at last (base, tuned, largest logit difference). Tuned is None without an adapter. Raises as `answer` does."""
        messages = ([{"role": "system", "content": system}] if system.strip() else []) + [
            {"role": "user", "content": prompt}
        ]
        panes = [BASE] if self.loaded_pane.is_base else [BASE, self.loaded_pane]
        base = tuned = None
        for base, *others in self.answer(panes, [messages] * len(panes), sampling):
            tuned = others[0] if others else None
            yield base, tuned, None
        if tuned is not None:
            yield base, tuned, self.differences(panes, messages)[0]

    def differences(self, panes: Sequence[Pane], messages: list[dict]) -> list[float]:
        """How far each later pane is from the first: the largest difference among the logits of the next token.

        Raises as `answer` does. All panes see the prompt as the first tuned one writes it.
        """
        with self.using(panes, ANSWERING) as (loaded, names):
            text = self._text(BASE, panes, messages)
            return in_own_thread(lambda: max_logit_differences(loaded, text, names))

    def _text(self, pane: Pane, panes: Sequence[Pane], messages: list[dict]) -> str:
        """The conversation as that pane's run wrote its prompts; the base sees it as the first tuned one does."""
        wrote = next((p for p in (pane, *panes) if not p.is_base), self.loaded_pane)
        template = self._slot.prompt_template
        if wrote != self.loaded_pane:
            template = self._runs.open(wrote.run_id).config().data.prompt_template
        return prompt_text(messages, template, self._slot.loaded.tokenizer)

    def _folder_of(self, pane: Pane) -> Path:
        """Where the adapter of a pane lies, which must be one for the base that is loaded. Raises RunError."""
        run = self._runs.open(pane.run_id)
        model = run.config().model
        if model.base != self._slot.loaded.config.base:
            how = "in 4-bit" if model.load_in_4bit else "in 16-bit"
            raise RunError(f"Run {run.id} stands on another base, {model.model_name} {how}; load that run first.")
        return _folder(run, pane)


def _folder(run: Run, pane: Pane) -> Path:
    """Where the adapter of a pane lies. Raises RunError."""
    if pane.step is not None:
        return run.checkpoint(pane.step).folder
    if not run.has_adapter:
        raise RunError(f"Run {run.id} has no adapter: it ended before anything was trained.")
    return run.adapter_dir
