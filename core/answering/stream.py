"""Two or three models side by side: answers that grow, and how far the models differ. Knows nothing of gradio.

`stream` lets all answer at once: PEFT takes a batch each of whose rows runs with an adapter of its own or with none
(`adapter_names`), so a pair costs little more than one answer. Where a backend does not carry that pass, they answer
one after the other.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from core.answering.logits import encode
from core.answering.rows_in_one_pass import BASE_ROW, supports_rows
from core.answering.sampling import Answer, Sampling, end_criteria, logits_processors
from core.model.library_patches import hooks_restored
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference


def stream(
    loaded: LoadedModel,
    prompts: Sequence[str],
    adapters: Sequence[str | None],
    sampling: Sampling,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[Answer, ...]]:
    """Yields the answers of all panes as they grow, the last time when all have ended.

    Each pane has a prompt, the text as the model sees it, and PEFT's name of its adapter, None for the base. Closing
    the iterator stops the model too.
    """
    with for_inference(loaded):
        if len(set(adapters)) == 1:
            with adapter_view(loaded, adapters[0]):
                yield from _generate(loaded, encode(loaded, prompts), sampling, should_stop)
        elif supports_rows(loaded):
            names = [name or BASE_ROW for name in adapters]
            yield from _generate(loaded, encode(loaded, prompts), sampling, should_stop, adapter_names=names)
        else:
            answers = [Answer()] * len(prompts)
            for row, (prompt, name) in enumerate(zip(prompts, adapters, strict=True)):
                with adapter_view(loaded, name):
                    for (answer,) in _generate(loaded, encode(loaded, [prompt]), sampling, should_stop):
                        answers[row] = answer
                        yield tuple(answers)


def _generate(
    loaded: LoadedModel, inputs: dict, sampling: Sampling, should_stop: Callable[[], bool], **kwargs
) -> Iterator[tuple[Answer, ...]]:
    """Yields the answers of all rows after every token. The model runs in a thread; an error there is raised here."""
    import torch

    tokens: queue.Queue = queue.Queue()
    closed = threading.Event()
    began = time.monotonic()

    def run() -> None:
        try:
            with torch.inference_mode(), hooks_restored(loaded.model):
                loaded.model.generate(
                    **inputs,
                    **kwargs,
                    do_sample=False,  # a fixed noise is added to the logits instead, the same for each row
                    logits_processor=logits_processors(sampling.temperature, sampling.top_p, sampling.seed),
                    stopping_criteria=end_criteria(lambda: closed.is_set() or should_stop()),
                    max_new_tokens=sampling.max_new_tokens,
                    pad_token_id=loaded.tokenizer.pad_token_id,
                    eos_token_id=loaded.eos_token_ids,
                    streamer=_Streamer(tokens),
                )
            tokens.put(None)
        except BaseException as error:
            tokens.put(error)

    thread = threading.Thread(target=run, name="generate", daemon=True)
    thread.start()
    answers = _Answers(loaded, len(inputs["input_ids"]), sampling.max_new_tokens, began)
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
    """Puts each step's tokens, one per row, into a queue. `generate` hands the prompt over first; it is skipped."""

    def __init__(self, tokens: queue.Queue):
        self._tokens = tokens
        self._saw_prompt = False

    def put(self, value) -> None:
        if self._saw_prompt:
            self._tokens.put(value.reshape(-1).tolist())
        self._saw_prompt = True

    def end(self) -> None:
        """Called by `generate`; the thread itself says when it is done, so that its errors are not lost."""


class _Answers:
    """The answers of all rows, growing token by token."""

    def __init__(self, loaded: LoadedModel, rows: int, limit: int, began: float):
        self._tokenizer = loaded.tokenizer
        self._ends = set(loaded.eos_token_ids)
        self._limit = limit
        self._began = began
        self._ids: list[list[int]] = [[] for _ in range(rows)]
        self._answers = [Answer() for _ in range(rows)]

    def add(self, step: list[int]) -> tuple[Answer, ...]:
        for row, token_id in enumerate(step):
            if self._answers[row].ended:
                continue  # padding, while the other row goes on
            ended = "itself" if token_id in self._ends else ""
            if not ended:
                self._ids[row].append(token_id)
                ended = "limit" if len(self._ids[row]) >= self._limit else ""
            # Decoded from the start each time: a character may be spread over several tokens.
            text = self._tokenizer.decode(self._ids[row], skip_special_tokens=True)
            now = time.monotonic() - self._began
            first = self._answers[row].first_token_s or now
            self._answers[row] = Answer(text.rstrip("\ufffd"), len(self._ids[row]), now, first, ended)
        return tuple(self._answers)

    def finish(self) -> tuple[Answer, ...]:
        now = time.monotonic() - self._began
        return tuple(a if a.ended else replace(a, seconds=now, ended="stopped") for a in self._answers)
