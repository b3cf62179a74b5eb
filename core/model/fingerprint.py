"""A hash of what a base answers to a fixed prompt: equal weights give equal hashes."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from core.model.library_patches.model_parts import mode_restored
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference
from core.model.vocabulary import check_prompts

PROMPT = "A small proof: 1 + 2 = 3, the quick brown fox; said on a Monday (or not)?\nIt goes on"


def fingerprint(loaded: LoadedModel) -> str:
    """The SHA-256 of the base's logits for the fixed prompt. Adapters on the model are off meanwhile.

    The model's mode and the random state stay as they are. On a CPU the same weights give the same hash with the same
    number of threads. On a GPU the same kernels on the same card should give the same bits, because no sum in them
    depends on timing; this is not proven, and a driver or library may choose other kernels.
    """
    with undisturbed(loaded), for_inference(loaded):
        return hash_of(prompt_logits(loaded, None))


def prompt_logits(loaded: LoadedModel, adapter: str | None):
    """Logits for all tokens of the prompt: float32, of shape (tokens, vocabulary), on the CPU."""
    import torch

    ids = loaded.tokenizer([PROMPT], add_special_tokens=False, return_tensors="pt")["input_ids"].to(loaded.device)
    check_prompts(loaded, ids.tolist())
    with adapter_view(loaded, adapter), torch.inference_mode():
        return loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].float().cpu()


def hash_of(logits) -> str:
    """SHA-256 of their bytes, in hexadecimal."""
    return hashlib.sha256(logits.contiguous().numpy().tobytes()).hexdigest()


@contextmanager
def undisturbed(loaded: LoadedModel) -> Iterator[None]:
    """Puts back the mode of each part of the model, and the side its tokenizer pads on."""
    side = loaded.tokenizer.padding_side
    try:
        with mode_restored(loaded.model):
            yield
    finally:
        loaded.tokenizer.padding_side = side
