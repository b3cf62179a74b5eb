from collections.abc import Sequence

from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference


def max_logit_differences(loaded: LoadedModel, prompt: str, adapters: Sequence[str | None]) -> list[float]:
    """How far each pane is from the first: the largest difference among the logits of the token after the prompt."""
    found = []
    with for_inference(loaded):
        inputs = encode(loaded, [prompt])
        for name in adapters:
            with adapter_view(loaded, name):
                found.append(next_token_logits(loaded, inputs))
    return [float((logits - found[0]).abs().max()) for logits in found[1:]]


def next_token_logits(loaded: LoadedModel, inputs: dict, **kwargs):
    """Logits of the token after each row, float32, of shape (rows, vocabulary)."""
    import torch

    with torch.inference_mode():
        return loaded.model(**inputs, use_cache=False, **kwargs).logits[:, -1].float()


def encode(loaded: LoadedModel, prompts: Sequence[str]) -> dict:
    encoded = loaded.tokenizer(list(prompts), add_special_tokens=False, padding=True, return_tensors="pt")
    return {key: encoded[key].to(loaded.device) for key in ("input_ids", "attention_mask")}
