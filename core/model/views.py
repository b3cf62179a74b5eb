"""A loaded model for a while in another state: generating, without its adapter, or with one of several."""

from collections.abc import Iterator
from contextlib import contextmanager

from core.model.library_patches.model_parts import computed_by_peft, gather_original_embeddings
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth


@contextmanager
def for_inference(loaded: LoadedModel):
    """The model ready to generate: no dropout, a KV cache, padding on the left. Ready to train afterwards."""
    language_model = import_unsloth().FastLanguageModel
    moved: list[tuple] = []
    try:
        language_model.for_inference(loaded.model)
        gather_original_embeddings(loaded.model, moved)
        yield loaded.model
    finally:
        for weight, original in moved:
            weight.data = original
        language_model.for_training(loaded.model)


@contextmanager
def base_view(loaded: LoadedModel):
    """The model without its adapter. Not for use during training, because PEFT freezes the adapter meanwhile."""
    if not loaded.has_adapter:
        yield loaded.model
        return
    with loaded.model.disable_adapter(), computed_by_peft(loaded.model):
        yield loaded.model


@contextmanager
def adapter_view(loaded: LoadedModel, name: str | None) -> Iterator:
    """The model with only the adapter of that PEFT name, or with none (None). Not for use during training."""
    if not loaded.has_adapter:
        yield loaded.model
        return
    before = loaded.model.active_adapters
    try:
        if name is None:
            with base_view(loaded) as model:
                yield model
        else:
            loaded.model.set_adapter(name, inference_mode=True)
            yield loaded.model
    finally:
        # Also after the view of the base: when it ends, PEFT gives the adapter gradients again.
        loaded.model.set_adapter(before[0], inference_mode=True)
