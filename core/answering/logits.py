"""Logits of the next token, and how far they differ between adapters."""

from collections.abc import Sequence

from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference


def max_logit_differences(loaded: LoadedModel, prompt: str, adapters: Sequence[str | None]) -> list[float]:
    """How far each further adapter is from the first one: the largest absolute difference among all logits of the token
    after the prompt. `adapters` are PEFT's names, None for the base; the result is one shorter."""
    logits_of_each = []
    with for_inference(loaded):
        inputs = encode(loaded, [prompt])
        for name in adapters:
            with adapter_view(loaded, name):
                logits_of_each.append(next_token_logits(loaded, inputs))
    first, *others = logits_of_each
    return [float((logits - first).abs().max()) for logits in others]


def next_token_logits(loaded: LoadedModel, inputs: dict, **kwargs):
    """Logits of the token after each row, float32, of shape (rows, vocabulary)."""
    import torch

    with torch.inference_mode():
        return loaded.model(**inputs, use_cache=False, **kwargs).logits[:, -1].float()


def encode(loaded: LoadedModel, prompts: Sequence[str]) -> dict:
    """Token ids and attention mask of the prompts as they are, padded, each of shape (prompts, tokens)."""
    encoded = loaded.tokenizer(list(prompts), add_special_tokens=False, padding=True, return_tensors="pt")
    return {key: encoded[key].to(loaded.device) for key in ("input_ids", "attention_mask")}
