"""The A/B lab: asks the base and adapters on it, and lets other work use them, one piece of work at a time.

All adapters are on the one base that is loaded.
"""

import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.answering.logits import max_logit_differences
from core.answering.sampling import Answer, Sampling
from core.answering.stream import stream
from core.data.prompts.chat_template import Say
from core.data.prompts.prompt_date import on_date
from core.data.prompts.prompt_templates import prompt_text
from core.hub_names import Token
from core.model.device_memory import free_memory
from core.model.loaded_model import LoadedModel, ModelReport
from core.model.vocabulary import check_prompts
from core.problems import ModelError, Problem, PromptTooLong, RunError
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import Run, find_run, run_key
from core.runs.run_list import RunList
from core.threads import Stopped, in_own_thread
from core.workbench.background_job import as_problem
from core.workbench.desk import ANSWERING, LOADING, Desk
from core.workbench.model_slot import ModelSlot


class Lab:
    """Loads runs, and asks them. Everything that computes takes the desk meanwhile."""

    def __init__(self, slot: ModelSlot, runs: RunList, desk: Desk):
        self._slot, self._runs, self._desk = slot, runs, desk
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
        """The adapter that was loaded with the base, or trained on it; the base when there is none."""
        return Pane(self._slot.state.adapter, self._slot.state.step)

    def choices(self) -> list[Pane]:
        """What can be compared on the base that is loaded: the base itself, then the runs' adapters, the newest run
        first, each followed by those of its checkpoints. Only the base when no model is loaded."""
        loaded, found = self._slot.loaded, [BASE]
        for row in self._runs.rows() if loaded is not None else ():
            if row.base == loaded.config.base:
                if row.has_adapter:
                    found.append(Pane(row.id))
                found.extend(Pane(row.id, step) for step in reversed(row.checkpoints))
        return found

    def load_run(self, run_id: str, token: Token = None, step: int | None = None) -> ModelReport:
        """Loads a run's base, unless it is loaded, with the run's adapter on it, or with that of its checkpoint of
        `step`.

        Raises Busy, RunError and ModelError.
        """
        run = find_run(self._runs.runs_dir, run_id)
        pane = self.pane_of(run, step)
        config, folder, day = run.config(), _folder(run, pane), run.prompt_date
        with self._desk.taken(LOADING):
            return in_own_thread(lambda: self._slot.load_adapter(config, pane, folder, token, day)).report

    def wait_for_loading(self) -> None:
        """Waits until the model that is being loaded has been loaded, or has failed to. Returns at once if there is
        none."""
        self._desk.wait_while(LOADING)

    def pane_of(self, run: Run, step: int | None = None) -> Pane:
        """What `loaded_pane` is once this run, or its checkpoint of `step`, is loaded."""
        return Pane(run_key(self._runs.runs_dir, run), step)

    # Asking

    @contextmanager
    def using(self, panes: Sequence[Pane], doing: str) -> Iterator[tuple[LoadedModel, list[str | None]]]:
        """The loaded model with the panes' adapters on it, and PEFT's names for them, None for the base.

        `doing` is half a sentence for those who must wait. Raises Busy, RunError and ModelError; what a library raises
        inside the block becomes a ModelError.
        """
        with self._desk.taken(doing):
            self._stop.clear()
            if self._slot.loaded is None:
                raise ModelError("There is no model to ask: load one on the Model tab, or finish a run.")
            try:
                names = in_own_thread(lambda: self._slot.put_on(panes, self._folder_of))
                yield self._slot.loaded, names
            except (Problem, Stopped):
                raise
            except Exception as error:  # a full card, or kernels that fail
                traceback.print_exc()
                problem = as_problem(error, _could_not_answer)
                free_memory()
                raise problem from None

    def answer(
        self, panes: Sequence[Pane], conversations: Sequence[list[dict]], sampling: Sampling, doing: str = ANSWERING
    ) -> Iterator[tuple[Answer, ...]]:
        """Yields the answers of all panes while they grow. A conversation per pane: messages, the last one a user's.

        Closing the iterator stops the answers. Raises Busy, RunError, ModelError (PromptTooLong is one) and
        TemplateError.
        """
        if any(not messages or not messages[-1]["content"].strip() for messages in conversations):
            raise ModelError("Write a prompt first.")
        with self.using(panes, doing) as (loaded, names):
            prompts = [self._text(pane, panes, messages) for pane, messages in zip(panes, conversations, strict=True)]
            tokens = loaded.tokenizer(prompts, add_special_tokens=False, verbose=False)["input_ids"]
            check_prompts(loaded, tokens)
            longest = max(map(len, tokens))
            length = loaded.report.max_seq_length
            if longest >= length:
                raise PromptTooLong(
                    "The prompt has {tokens:,} tokens, but the model's maximum length is {length:,}; shorten it, or "
                    "start a new conversation.",
                    tokens=longest, length=length,
                )  # fmt: skip
            sampling = sampling.model_copy(update={"max_new_tokens": min(sampling.max_new_tokens, length - longest)})
            yield from stream(loaded, prompts, names, sampling, self.should_stop)

    def compare(
        self, prompt: str, system: str, sampling: Sampling
    ) -> Iterator[tuple[Answer, Answer | None, float | None]]:
        """One question to the base and the adapter it was loaded with: yields (base, tuned, None) while they grow, and
        at last (base, tuned, largest logit difference). Tuned is None without an adapter. Raises as `answer` does."""
        messages = [{"role": "user", "content": prompt}]
        if system.strip():
            messages.insert(0, {"role": "system", "content": system})
        panes = [BASE] if self.loaded_pane.is_base else [BASE, self.loaded_pane]
        base = tuned = None
        for base, *others in self.answer(panes, [messages] * len(panes), sampling):
            tuned = others[0] if others else None
            yield base, tuned, None
        if tuned is not None:
            yield base, tuned, self.differences(panes, messages)[0]

    def differences(self, panes: Sequence[Pane], messages: list[dict]) -> list[float]:
        """How far each later pane is from the first: the largest difference between the logits of the next token.

        All panes see the prompt as the first tuned one writes it. Raises as `answer` does.
        """
        with self.using(panes, ANSWERING) as (loaded, names):
            text = self._text(BASE, panes, messages)
            check_prompts(loaded, loaded.tokenizer([text], add_special_tokens=False, verbose=False)["input_ids"])
            return in_own_thread(lambda: max_logit_differences(loaded, text, names))

    def note_on_prompts(self, panes: Sequence[Pane], conversations: Sequence[list[dict]]) -> str:
        """A sentence about what the chat template made necessary to change in these conversations, or empty."""
        changes: list[str] = []
        if self._slot.loaded is not None:
            for pane, messages in zip(panes, conversations, strict=True):
                self._text(pane, panes, messages, changes.append)
        return "".join(f"{change[:1].upper()}{change[1:]}." for change in changes[:1])

    def _text(self, pane: Pane, panes: Sequence[Pane], messages: list[dict], say: Say = lambda change: None) -> str:
        """The conversation as that pane's run wrote its prompts; the base sees it as the first tuned one does."""
        wrote = next((other for other in (pane, *panes) if not other.is_base), self.loaded_pane)
        contents = self._slot.contents
        template, day = contents.prompt_template, contents.prompt_date
        if wrote != self.loaded_pane:
            run = self._runs.open(wrote.run_id)
            template, day = run.config().data.prompt_template, run.prompt_date
        return prompt_text(messages, template, on_date(contents.loaded.tokenizer, day), say)

    def _folder_of(self, pane: Pane) -> Path:
        """Where the adapter of a pane is, which must be one for the base that is loaded. Raises RunError."""
        run = self._runs.open(pane.run_id)
        model = run.config().model
        if model.base != self._slot.loaded.config.base:
            bits = 4 if model.load_in_4bit else 16
            raise RunError(
                "Run {run} was trained on another base, {model} in {bits}-bit; load that run first.",
                run=run.id, model=model.model_name, bits=bits,
            )  # fmt: skip
        return _folder(run, pane)


def _folder(run: Run, pane: Pane) -> Path:
    """Where the adapter of a pane is. Raises RunError."""
    if pane.step is not None:
        return run.checkpoint(pane.step).folder
    if not run.has_adapter:
        raise RunError("Run {run} has no adapter: it ended before anything was trained.", run=run.id)
    return run.adapter_dir


def _could_not_answer(reason: str) -> ModelError:
    return ModelError("The model could not answer: {reason}.", reason=reason)
