"""What training the embeddings really costs, read from the model and its optimizer just before the first step."""

from core.disk.sizes import GIB
from core.memory.embeddings_cost import large_adapter
from core.model.embedding_rows import ROWS, rows_on
from core.model.library_patches.peft_parts import original, trained_layers
from core.model.library_patches.trainer_parts import has_8bit_states
from core.model.loaded_model import LoadedModel
from core.runs.events import EmbeddingsReceipt

COPY_OF_A_LAYER = ".modules_to_save."  # in the names of weights that are trained copies of whole layers


def is_of_embeddings(name: str) -> bool:
    """Whether a weight with this name is a trained copy of an embedding, or trained rows of one."""
    return COPY_OF_A_LAYER in name or ROWS in name


def embeddings_receipt(loaded: LoadedModel, optimizer) -> EmbeddingsReceipt | None:
    """None if neither embed_tokens nor lm_head is trained. `optimizer` is torch's or bitsandbytes' own."""
    model = loaded.model
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    embeddings = {name: weight for name, weight in trained.items() if is_of_embeddings(name)}
    if not embeddings:
        return None
    rows, base = rows_on(model), original(model.get_input_embeddings()).weight
    element, lora_on_disk, embeddings_on_disk = base.element_size(), 0, 0
    for name, weight in _saved(model).items():
        if "lora_" in name:
            lora_on_disk += weight.numel() * weight.element_size()
        else:  # trained embeddings are cast to the precision of the base before they are saved
            embeddings_on_disk += weight.numel() * element
    weights = sum(weight.numel() * weight.element_size() for weight in embeddings.values())
    states = sum(state_bytes(optimizer, weight) for weight in embeddings.values())
    originals = weights if rows else 0  # PEFT also keeps the rows' original values; for whole copies that is the base
    # Temporarily: a matrix with the rows merged in (peft, TrainableTokensLayer.get_merged_weights), or autocast's copy
    # of a head that is stored in another precision than it computes in; and its gradient. The matrices of input and
    # output are not in memory at the same time.
    layers = trained_layers(loaded.model)
    is_cast = "lm_head" in layers and any(weight.dtype != base.dtype for weight in embeddings.values())
    passing = 2 * base.numel() * element if rows or is_cast else 0
    parameters = sum(weight.numel() for weight in embeddings.values())
    return EmbeddingsReceipt(
        layers=layers,
        is_tied=loaded.report.tied_embeddings,
        rows=len(rows) if rows else len(base),
        of_rows=len(base),
        parameters=parameters,
        share=parameters / sum(weight.numel() for weight in trained.values()),
        memory_gib=(2 * weights + originals + states) / GIB,
        passing_gib=passing / GIB,
        disk_bytes=embeddings_on_disk,
        adapter_bytes=embeddings_on_disk + lora_on_disk,
        warning=large_adapter(embeddings_on_disk, lora_on_disk, not rows and loaded.device.type == "cpu"),
    )


def state_bytes(optimizer, weight) -> int:
    """Bytes of the states that the optimizer will create for a weight at the first step.

    torch's Adam keeps two values per weight in the weight's precision. bitsandbytes keeps two of 8 or 32 bits; those of
    8 bits have a 32-bit constant for every 256 values (bitsandbytes, optim/optimizer.py, Optimizer2State.init_state).
    Adafactor keeps a 32-bit value for every row and column (transformers, optimization.py), SGD without momentum none.
    """
    import torch
    from transformers.optimization import Adafactor

    count = weight.numel()
    if (is_8bit := has_8bit_states(optimizer, weight)) is not None:
        return 2 * (count + 4 * -(-count // 256)) if is_8bit else 2 * 4 * count
    if isinstance(optimizer, Adafactor):
        return 4 * sum(weight.shape)
    return 0 if isinstance(optimizer, torch.optim.SGD) else 2 * count * weight.element_size()


def _saved(model) -> dict:
    """The adapter's tensors by their names in its file."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)
