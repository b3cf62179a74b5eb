import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference

PROMPT = "A small proof: 1 + 2 = 3, the quick brown fox; said on a Monday (or not)?\nIt goes on"


def fingerprint(loaded: LoadedModel) -> str:
    """The hash of the base's logits for the fixed prompt; an adapter that is on the model is off meanwhile.

    Leaves the model as it found it: neither its mode nor the random state changes. On a processor the same weights give
    the same hash, with as many threads. On a graphics card the same kernels on the same card are expected to give the
    same bits, as no sum in them depends on timing; that is not proven, and a driver or library may choose others.
    """
    with undisturbed(loaded), for_inference(loaded):
        return hash_of(prompt_logits(loaded, None))


def prompt_logits(loaded: LoadedModel, adapter: str | None):
    """Of all tokens of the prompt, float32, of shape (tokens, vocabulary), in the computer's memory."""
    import torch

    ids = loaded.tokenizer([PROMPT], add_special_tokens=False, return_tensors="pt")["input_ids"].to(loaded.device)
    with adapter_view(loaded, adapter), torch.inference_mode():
        return loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float().cpu()


def hash_of(logits) -> str:
    return hashlib.sha256(logits.contiguous().numpy().tobytes()).hexdigest()


@contextmanager
def undisturbed(loaded: LoadedModel) -> Iterator[None]:
    """Unsloth leaves a model ready to train, whatever it was before; this puts back how each part of it stood."""
    flags = ("training", "gradient_checkpointing")
    modules = list(loaded.model.modules())
    before = [(module, {flag: getattr(module, flag) for flag in flags if hasattr(module, flag)}) for module in modules]
    side = loaded.tokenizer.padding_side
    try:
        yield
    finally:
        loaded.tokenizer.padding_side = side
        for module, values in before:
            for flag, value in values.items():
                setattr(module, flag, value)
