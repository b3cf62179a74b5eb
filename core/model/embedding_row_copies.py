"""Turns adapters that trained single rows into ones with whole embeddings, so that several can be on one model.

PEFT cannot have single rows of one adapter and the whole matrix of another on one model, nor use an adapter with rows
and one without in the same pass. Whole copies can be combined freely. A copy is the base's matrix with the trained rows
in it, so all logits stay the same, bit for bit.
"""

import json
from pathlib import Path

from core.model.library_patches.peft_parts import own_copy, token_layers, without_rows
from core.model.loaded_model import LoadedModel

Rows = dict[str, tuple[list[int], object]]  # by layer (embed_tokens, lm_head): ids, and a tensor of shape (ids, width)


def take_rows_out(folder: Path) -> Rows:
    """The trained rows of the adapter in `folder`; afterwards its settings there say that it has none.

    PEFT then ignores the rows in the file. Raises OSError, ValueError or LookupError when the folder is damaged.
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
        for name in list(weights.keys()):
            if name.endswith(".token_adapter.trainable_tokens_delta"):
                layer = name.split(".")[-3]
                # A list is for the input embeddings, whatever their name.
                rows[layer] = indices if isinstance(indices, list) else indices[layer], weights.get_tensor(name)
    return rows


def give_copies(loaded: LoadedModel, adapter: str, rows: Rows) -> None:
    """Gives the adapter of that PEFT name a copy of each layer, with its rows in it and without gradients."""
    import torch

    base = loaded.model.get_base_model()
    for layer, (ids, values) in rows.items():
        if layer == "lm_head":
            copy = own_copy(base.get_output_embeddings(), base.set_output_embeddings, adapter)
        else:
            copy = own_copy(base.get_input_embeddings(), base.set_input_embeddings, adapter)
            if loaded.report.tied_embeddings:
                own_copy(base.get_output_embeddings(), base.set_output_embeddings, adapter, copy)
        with torch.no_grad():
            copy.weight[torch.tensor(ids, device=copy.weight.device)] = values.to(copy.weight)


def as_copies(loaded: LoadedModel) -> None:
    """Turns the single rows of all adapters on the model into whole copies, which do not train."""
    model, rows = loaded.model, {}
    for layer, token_layer in token_layers(model):
        for adapter, values in token_layer.trainable_tokens_delta.items():
            rows.setdefault(adapter, {})[layer] = token_layer.token_indices[adapter], values.data
    base = model.get_base_model()
    for module, put in (
        (base.get_input_embeddings(), base.set_input_embeddings),
        (base.get_output_embeddings(), base.set_output_embeddings),
    ):
        put(without_rows(module))
    for adapter, own in rows.items():
        model.peft_config[adapter].trainable_token_indices = None
        give_copies(loaded, adapter, own)
