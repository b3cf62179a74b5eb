"""The model's `generate` with this app's settings, and none of those that come with the model.

A model's generation_config.json may forbid repetition, demand a length, search with beams or return other types. An
answer would then not be the most likely one, and base and tuned models would not be compared by what they learned.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from core.model.cpu_threads import StepThreads, threads_restored
from core.model.loaded_model import LoadedModel


def generate(loaded: LoadedModel, inputs: dict, *, settings: dict[str, Any], ends: Sequence[int], **arguments) -> Any:
    """What `generate` returns, choosing the most likely token each time.

    `settings` are fields of transformers' GenerationConfig, such as `max_new_tokens`; `ends` are the ids of the tokens
    that end an answer. `arguments` are passed on as they are. On a CPU, the number of threads is chosen meanwhile.
    """
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    own = GenerationConfig(
        do_sample=False,
        num_beams=1,
        eos_token_id=list(ends) or None,
        pad_token_id=loaded.tokenizer.pad_token_id,
        **settings,
    )
    if loaded.device.type == "cpu":
        arguments["stopping_criteria"] = StoppingCriteriaList(
            [*arguments.get("stopping_criteria", ()), _choosing_threads()]
        )
    with torch.inference_mode(), _in_place_of_the_models(loaded.model, own), threads_restored():
        return loaded.model.generate(**inputs, **arguments, generation_config=own)


def _choosing_threads():
    """A stopping criterion that ends nothing: it is called after each token, and each is a step for `StepThreads`.

    The first is not, because it takes the whole prompt.
    """
    import torch

    threads, has_begun = StepThreads(), False

    def after_token(input_ids, scores, **kwargs):
        nonlocal has_begun
        if has_begun:
            threads.end(1)
        threads.begin()
        has_begun = True
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)

    return after_token


@contextmanager
def _in_place_of_the_models(model, own) -> Iterator[None]:
    """The model's own settings are `own` meanwhile: transformers fills the fields that are None from them."""
    inner = getattr(model, "get_base_model", lambda: model)()  # PEFT's wrapper has the model inside
    before = [(module, vars(module).get("generation_config")) for module in {model, inner}]
    try:
        for module, _ in before:
            module.generation_config = own
        yield
    finally:
        for module, settings in before:
            if settings is None:
                del module.generation_config
            else:
                module.generation_config = settings
