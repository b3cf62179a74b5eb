"""Two or three models side by side: answers that grow, and how far the models differ. Knows nothing of gradio.

`stream` lets all answer at once: PEFT takes a batch each of whose rows runs with an adapter of its own or with none
(`adapter_names`), so a pair costs little more than one answer. Where a backend does not carry that pass, they answer
one after the other.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel, Field

from core.adapters import adapter_view
from core.fresh_thread import in_own_thread
from core.model import LoadedModel, for_inference
from core.relief import is_out_of_memory
from core.sampling import end_criteria, logits_processors

BASE_ROW = "__base__"  # PEFT's own name, among `adapter_names`, for the model without an adapter


class Sampling(BaseModel, frozen=True):
    """How answers are drawn. `temperature` 0 takes the likeliest token each time; only then are answers exact."""

    temperature: float = Field(0.0, ge=0.0, le=5.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(128, ge=1, le=8192)
    seed: int = Field(3407, ge=0, le=2**32 - 1)


@dataclass(frozen=True)
class Answer:
    """An answer as far as it has come. `ended`: by itself, at the limit of tokens, stopped, or not yet ("").

    `seconds` are from the question to its last token so far, `first_token_s` to its first. `tokens` counts those of the
    text, without the one that ends it.
    """

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    first_token_s: float = 0.0
    ended: Literal["", "itself", "limit", "stopped"] = ""


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
                yield from _generate(loaded, _encode(loaded, prompts), sampling, should_stop)
        elif supports_rows(loaded):
            names = [name or BASE_ROW for name in adapters]
            yield from _generate(loaded, _encode(loaded, prompts), sampling, should_stop, adapter_names=names)
        else:
            answers = [Answer()] * len(prompts)
            for row, (prompt, name) in enumerate(zip(prompts, adapters, strict=True)):
                with adapter_view(loaded, name):
                    for (answer,) in _generate(loaded, _encode(loaded, [prompt]), sampling, should_stop):
                        answers[row] = answer
                        yield tuple(answers)


def max_logit_differences(loaded: LoadedModel, prompt: str, adapters: Sequence[str | None]) -> list[float]:
    """How far each pane is from the first: the largest difference among the logits of the token after the prompt."""
    found = []
    with for_inference(loaded):
        inputs = _encode(loaded, [prompt])
        for name in adapters:
            with adapter_view(loaded, name):
                found.append(next_token_logits(loaded, inputs))
    return [float((logits - found[0]).abs().max()) for logits in found[1:]]


def next_token_logits(loaded: LoadedModel, inputs: dict, **kwargs):
    """Logits of the token after each row, float32, of shape (rows, vocabulary)."""
    import torch

    with torch.inference_mode():
        return loaded.model(**inputs, use_cache=False, **kwargs).logits[:, -1].float()


def supports_rows(loaded: LoadedModel) -> bool:
    """Whether this backend's pass of several rows gives the same logits as passes apart. Tried out once per model."""
    if loaded.supports_rows is None:
        loaded.supports_rows = in_own_thread(lambda: _try_rows(loaded))
    return loaded.supports_rows


def _try_rows(loaded: LoadedModel) -> bool:
    import torch

    adapters = (None, next(iter(loaded.model.peft_config)))
    prompts = ("The same words, for both.", "And fewer.")  # of different lengths, so that one row is padded
    try:
        with _hooks_restored(loaded.model), _calls_of_layers(loaded.model) as calls:
            names = [name or BASE_ROW for name in adapters]
            ids, logits = _first_steps(loaded, _encode(loaded, prompts), adapter_names=names)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        return False  # kernels that do not know adapter_names; the answers are then made one after the other
    if min(calls.values()) < len(logits):
        # A kernel went past some layer, whose rows then all have the active adapter. The logits below would not show that
        # of an adapter that is new and changes nothing yet.
        return False
    for row, (prompt, name) in enumerate(zip(prompts, adapters, strict=True)):
        with adapter_view(loaded, name):
            own_ids, own_logits = _first_steps(loaded, _encode(loaded, [prompt]))
        # Each step is compared as long as the tokens before it were the same: close ones may change places.
        same = torch.cumprod((ids[row] == own_ids[0]).int(), 0).roll(1)
        same[0] = 1
        difference = (logits[:, row] - own_logits[:, 0]).abs().amax(-1)[same.bool()].max()
        # Not bit-equal: a batch of two may sum in another order. A wrong row differs by far more than rounding.
        if difference > 0.02 * own_logits.abs().max():
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
def _calls_of_layers(model):
    """How often each adapted layer is called meanwhile: a counter by layer, with all of them in it."""
    from peft.tuners.lora import LoraLayer

    calls: dict = {module: 0 for module in model.modules() if isinstance(module, LoraLayer)}

    def count(module, inputs) -> None:
        calls[module] += 1

    handles = [layer.register_forward_pre_hook(count) for layer in calls]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


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


def _encode(loaded: LoadedModel, prompts: Sequence[str]) -> dict:
    encoded = loaded.tokenizer(list(prompts), add_special_tokens=False, padding=True, return_tensors="pt")
    return {key: encoded[key].to(loaded.device) for key in ("input_ids", "attention_mask")}


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
