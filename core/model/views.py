from collections.abc import Iterator
from contextlib import contextmanager

from core.model.library_patches import gather_original_embeddings, kernels_aside
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth


@contextmanager
def for_inference(loaded: LoadedModel):
    """The model ready to generate: no dropout, with a KV cache, padding on the left; as before afterwards."""
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
    """The model without its adapter. Never during training: PEFT freezes the adapter meanwhile."""
    if not loaded.has_adapter:
        yield loaded.model
        return
    with loaded.model.disable_adapter(), kernels_aside(loaded.model):
        yield loaded.model


@contextmanager
def adapter_view(loaded: LoadedModel, name: str | None) -> Iterator:
    """The model as it is with that one adapter, or without any (None). Never during training."""
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
        # Also after the base's view, at whose end PEFT would give the adapter gradients again.
        loaded.model.set_adapter(before[0], inference_mode=True)
