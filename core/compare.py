"""Base and tuned side by side: answers that grow, and the proof that they differ. Knows nothing of gradio.

`stream` answers one prompt by both at once: PEFT takes a batch whose first row runs without the adapter and whose
second row runs with it (`adapter_names`), so a pair costs little more than one answer. Where a backend does not
carry that pass, the base answers first and the tuned model after it.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from core.model import LoadedModel, base_view, for_inference
from core.own_thread import in_own_thread
from core.sampling import end_criteria, logits_processors

PAIR = ["__base__", "default"]  # PEFT's own name for the model without an adapter, and of the first adapter


class Sampling(BaseModel, frozen=True):
    """How answers are drawn. `temperature` 0 takes the likeliest token each time; only then are answers exact."""

    temperature: float = Field(0.0, ge=0.0, le=5.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(128, ge=1, le=8192)
    seed: int = Field(3407, ge=0, le=2**32 - 1)


@dataclass(frozen=True)
class Answer:
    """An answer as far as it has come. `ended`: by itself, at the limit of tokens, stopped, or not yet ("")."""

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    ended: Literal["", "itself", "limit", "stopped"] = ""


def stream(
    loaded: LoadedModel, prompt: str, sampling: Sampling, should_stop: Callable[[], bool]
) -> Iterator[tuple[Answer, Answer | None]]:
    """Yields (base, tuned) as they grow, the last time when both have ended; tuned is None without an adapter.

    `prompt` is the text as the model sees it. Closing the iterator stops the model too.
    """
    with for_inference(loaded):
        inputs = _encode(loaded, [prompt])
        if not loaded.has_adapter:
            yield from ((base, None) for (base,) in _generate(loaded, inputs, sampling, should_stop, rows=1))
        elif supports_pair(loaded):
            both = {key: value.repeat(2, 1) for key, value in inputs.items()}
            yield from _generate(loaded, both, sampling, should_stop, rows=2, adapter_names=PAIR)
        else:
            base = Answer()
            with base_view(loaded):
                for (base,) in _generate(loaded, inputs, sampling, should_stop, rows=1):
                    yield base, Answer()
            for (tuned,) in _generate(loaded, inputs, sampling, should_stop, rows=1):
                yield base, tuned


def max_logit_difference(loaded: LoadedModel, prompt: str) -> float:
    """The largest difference between base and tuned among the logits of the token that follows the prompt."""
    with for_inference(loaded):
        inputs = _encode(loaded, [prompt])
        with base_view(loaded):
            base = next_token_logits(loaded, inputs)
        return float((next_token_logits(loaded, inputs) - base).abs().max())


def next_token_logits(loaded: LoadedModel, inputs: dict, **kwargs):
    """Logits of the token after each row, float32, of shape (rows, vocabulary)."""
    import torch

    with torch.inference_mode():
        return loaded.model(**inputs, use_cache=False, **kwargs).logits[:, -1].float()


def supports_pair(loaded: LoadedModel) -> bool:
    """Whether this backend's two-row pass gives the same logits as the two passes apart. Tried out once per model."""
    if loaded.supports_pair is None:
        loaded.supports_pair = in_own_thread(lambda: _try_pair(loaded))
    return loaded.supports_pair


def _try_pair(loaded: LoadedModel) -> bool:
    import torch

    inputs = _encode(loaded, ["The same words, for both."])
    both = {key: value.repeat(2, 1) for key, value in inputs.items()}
    try:
        with _hooks_restored(loaded.model):
            pair_ids, pair_logits = _first_steps(loaded, both, adapter_names=PAIR)
    except (RuntimeError, ValueError, TypeError, NotImplementedError):
        return False  # kernels that do not know adapter_names; the answers are then made one after the other
    with base_view(loaded):
        base_ids, base_logits = _first_steps(loaded, inputs)
    tuned_ids, tuned_logits = _first_steps(loaded, inputs)
    for row, (ids, logits) in enumerate(((base_ids, base_logits), (tuned_ids, tuned_logits))):
        # Each step is compared as long as the tokens before it were the same: close ones may change places.
        same = torch.cumprod((pair_ids[row] == ids[0]).int(), 0).roll(1)
        same[0] = 1
        difference = (pair_logits[:, row] - logits[:, 0]).abs().amax(-1)[same.bool()].max()
        # Not bit-equal: a batch of two may sum in another order. A wrong row differs by far more than rounding.
        if difference > 0.02 * logits.abs().max():
            return False
    return True


def _first_steps(loaded: LoadedModel, inputs: dict, steps: int = 4, **kwargs):
    """Token ids (rows, steps) and logits (steps, rows, vocabulary) of the first steps of an answer.

    Generated, not one forward pass: some kernels take another way once there is a KV cache.
    """
    import torch

    with torch.inference_mode():
        out = loaded.model.generate(
            **inputs,
            **kwargs,
            do_sample=False,
            min_new_tokens=steps,
            max_new_tokens=steps,
            pad_token_id=loaded.tokenizer.pad_token_id,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return out.sequences[:, -steps:], torch.stack(out.logits).float()


@contextmanager
def _hooks_restored(model):
    """PEFT leaves its hooks for `adapter_names` on the layers when a pass fails; every later pass would fail too."""
    before = [(module, set(module._forward_pre_hooks)) for module in model.modules()]
    try:
        yield
    except BaseException:
        for module, known in before:
            for key in set(module._forward_pre_hooks) - known:
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
        raise


def _encode(loaded: LoadedModel, prompts: list[str]) -> dict:
    encoded = loaded.tokenizer(prompts, add_special_tokens=False, padding=True, return_tensors="pt")
    return {key: encoded[key].to(loaded.model.device) for key in ("input_ids", "attention_mask")}


def _generate(
    loaded: LoadedModel, inputs: dict, sampling: Sampling, should_stop: Callable[[], bool], rows: int, **kwargs
) -> Iterator[tuple[Answer, ...]]:
    """Yields the answers of all rows after every token. The model runs in a thread; an error there is raised here."""
    import torch

    tokens: queue.Queue = queue.Queue()
    closed = threading.Event()
    began = time.monotonic()

    def run() -> None:
        try:
            with torch.inference_mode(), _hooks_restored(loaded.model):
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
    answers = _Answers(loaded, rows, sampling.max_new_tokens, began)
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
            self._answers[row] = Answer(text.rstrip("\ufffd"), len(self._ids[row]), time.monotonic() - self._began, ended)
        return tuple(self._answers)

    def finish(self) -> tuple[Answer, ...]:
        now = time.monotonic() - self._began
        return tuple(a if a.ended else Answer(a.text, a.tokens, now, "stopped") for a in self._answers)
