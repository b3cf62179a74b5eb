"""Answers of two or three models side by side, streamed token by token.

All answer at once: PEFT can run a batch in which each row has an adapter of its own or none (`adapter_names`), so two
answers take little longer than one. Where a backend does not support that, they are generated one after the other.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from core.answering.answer_text import answer_text
from core.answering.logits import encode
from core.answering.own_settings import generate
from core.answering.rows_in_one_pass import BASE_ROW, supports_rows
from core.answering.sampling import Answer, Sampling, end_criteria, logits_processors
from core.model.library_patches.peft_parts import hooks_restored, rows_apart
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference


def stream(
    loaded: LoadedModel,
    prompts: Sequence[str],
    adapters: Sequence[str | None],
    sampling: Sampling,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[Answer, ...]]:
    """Yields the answers of all panes after each token; the last time when all have ended.

    Each pane has a prompt, which is the text exactly as the model sees it, and PEFT's name for its adapter, None for
    the base. Closing the iterator stops the model.
    """
    with for_inference(loaded):
        if len(set(adapters)) == 1:
            with adapter_view(loaded, adapters[0]):
                yield from _generate(loaded, encode(loaded, prompts), sampling, should_stop)
        elif supports_rows(loaded):
            names = [name or BASE_ROW for name in adapters]
            yield from _generate(loaded, encode(loaded, prompts), sampling, should_stop, adapter_names=names)
        else:
            answers = [Answer() for _ in prompts]
            for row, (prompt, name) in enumerate(zip(prompts, adapters, strict=True)):
                with adapter_view(loaded, name):
                    for (answer,) in _generate(loaded, encode(loaded, [prompt]), sampling, should_stop):
                        answers[row] = answer
                        yield tuple(answers)


def _generate(
    loaded: LoadedModel, inputs: dict, sampling: Sampling, should_stop: Callable[[], bool], **kwargs
) -> Iterator[tuple[Answer, ...]]:
    """Yields the answers of all rows after each token. The model runs in a thread; its errors are raised here."""
    tokens: queue.Queue = queue.Queue()
    ends = loaded.eos_token_ids
    closed = threading.Event()
    began = time.monotonic()

    def run() -> None:
        try:
            with hooks_restored(loaded.model), rows_apart(loaded.model, kwargs.get("adapter_names", ())):
                generate(
                    loaded,
                    inputs,
                    settings={"max_new_tokens": sampling.max_new_tokens},
                    ends=ends,
                    # Noise is added to the logits, the same for each row, instead of drawing tokens.
                    logits_processor=logits_processors(sampling.temperature, sampling.top_p, sampling.seed),
                    stopping_criteria=end_criteria(lambda: closed.is_set() or should_stop()),
                    streamer=_Streamer(tokens),
                    **kwargs,
                )
            tokens.put(None)
        except BaseException as error:
            tokens.put(error)

    thread = threading.Thread(target=run, name="generate", daemon=True)
    thread.start()
    answers = _Answers(loaded.tokenizer, ends, len(inputs["input_ids"]), sampling.max_new_tokens, began)
    try:
        while True:
            item = tokens.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                yield answers.finish()
                return
            yield answers.add(item)
    finally:
        closed.set()
        thread.join()


class _Streamer:
    """Puts the tokens of each step, one per row, into a queue. `generate` passes the prompt first, which is skipped."""

    def __init__(self, tokens: queue.Queue):
        self._tokens = tokens
        self._saw_prompt = False

    def put(self, value) -> None:
        if self._saw_prompt:
            self._tokens.put(value.reshape(-1).tolist())
        self._saw_prompt = True

    def end(self) -> None:
        """Called by `generate`. Does nothing: the thread itself reports its end, so that errors are not lost."""


class _Answers:
    """The answers of all rows, growing token by token."""

    def __init__(self, tokenizer, ends: Sequence[int], rows: int, limit: int, began: float):
        self._tokenizer, self._ends = tokenizer, ends
        self._limit = limit
        self._began = began
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        self._answers = [Answer() for _ in range(rows)]

    def add(self, step: list[int]) -> tuple[Answer, ...]:
        """The answers with one more token for each row."""
        for row, token_id in enumerate(step):
            if self._answers[row].ended:
                continue  # padding, while another row continues
            ended = "itself" if token_id in self._ends else ""
            if not ended:
                self._ids[row].append(token_id)
                ended = "limit" if len(self._ids[row]) >= self._limit else ""
            text = answer_text(self._tokenizer, self._ids[row], ended)
            now = time.monotonic() - self._began
            first = self._answers[row].first_token_s or now
            self._answers[row] = Answer(text, len(self._ids[row]), now, first, ended)
        return tuple(self._answers)

    def finish(self) -> tuple[Answer, ...]:
        """The answers when no more tokens come: those that have not ended were stopped."""
        now = time.monotonic() - self._began
        return tuple(
            answer
            if answer.ended
            else replace(answer, text=answer_text(self._tokenizer, ids, "stopped"), seconds=now, ended="stopped")
            for answer, ids in zip(self._answers, self._ids, strict=True)
        )
