"""Adapters that trained single rows, as if they had trained whole embeddings: for looking at several side by side.

PEFT cannot have single rows of one adapter and the whole matrix of another on one model, nor in one pass an adapter
with rows and one without. As whole copies they all stand together; a copy is the base's matrix with the rows in it, so
every logit stays as it was, bit for bit. Knows nothing of runs or threads.
"""

import json
from collections.abc import Callable
from pathlib import Path

from core.model.embedding_rows import token_layers
from core.model.loaded_model import LoadedModel

Rows = dict[str, tuple[list[int], object]]  # by layer, embed_tokens or lm_head: ids, and a tensor of (ids, width)


def take_rows_out(folder: Path) -> Rows:
    """The trained rows of the adapter in `folder`, whose settings there are changed to be those of one without.

    What PEFT loads then leaves the rows in the file alone. Raises LookupError and the like when the folder is damaged.
    """
    from safetensors import safe_open

    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    indices = settings.get("trainable_token_indices")
    if not indices:
        return {}
    settings["trainable_token_indices"] = None
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    rows: Rows = {}
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as weights:
        for name in weights.keys():
            if name.endswith(".token_adapter.trainable_tokens_delta"):
                layer = name.split(".")[-3]
                rows[layer] = indices[layer], weights.get_tensor(name)
    return rows


def give_copies(loaded: LoadedModel, adapter: str, rows: Rows) -> None:
    """Gives the adapter of that PEFT name a copy of each layer with its rows in it; without gradients."""
    import torch

    base = loaded.model.get_base_model()
    for layer, (ids, values) in rows.items():
        if layer == "lm_head":
            copy = _copy(base.get_output_embeddings(), base.set_output_embeddings, adapter)
        else:
            copy = _copy(base.get_input_embeddings(), base.set_input_embeddings, adapter)
            if loaded.report.tied_embeddings:
                _copy(base.get_output_embeddings(), base.set_output_embeddings, adapter, copy)
        with torch.no_grad():
            copy.weight[torch.tensor(ids, device=copy.weight.device)] = values.to(copy.weight)


def _copy(module, put: Callable, adapter: str, tied_module=None):
    """The adapter's own copy of a layer, whose wrapper is made where there is none; one weight with `tied_module`."""
    from peft.utils.other import ModulesToSaveWrapper

    if not isinstance(module, ModulesToSaveWrapper):
        module = ModulesToSaveWrapper(module, adapter, tied_module)
        put(module)
    module.update(adapter, tied_module)
    return module.modules_to_save[adapter].requires_grad_(False)


def as_copies(loaded: LoadedModel) -> None:
    """Turns single rows of all adapters on the model into whole copies. For looking, no longer for training."""
    from peft.utils.other import TrainableTokensWrapper

    model, rows = loaded.model, {}
    for layer, token_layer in token_layers(model):
        for adapter, values in token_layer.trainable_tokens_delta.items():
            rows.setdefault(adapter, {})[layer] = token_layer.token_indices[adapter], values.data
    base = model.get_base_model()
    for module, put in (
        (base.get_input_embeddings(), base.set_input_embeddings),
        (base.get_output_embeddings(), base.set_output_embeddings),
    ):
        if isinstance(module, TrainableTokensWrapper):
            put(module.original_module)
    for adapter, own in rows.items():
        model.peft_config[adapter].trainable_token_indices = None
        give_copies(loaded, adapter, own)
