"""What trained embeddings really cost, read from the model and its optimizer just before the first step.

Knows nothing of threads or gradio.
"""

from core.memory.embeddings_cost import large_adapter
from core.memory.hardware import GIB
from core.model.embedding_rows import ROWS, rows_on, trained_layers
from core.model.loaded_model import LoadedModel
from core.runs.events import EmbeddingsReceipt

COPIES = ".modules_to_save."  # in the names of weights that are trained copies of whole layers


def is_of_embeddings(name: str) -> bool:
    """Whether a weight of that name is a trained copy of an embedding, or trained rows of one."""
    return COPIES in name or ROWS in name


def embeddings_receipt(loaded: LoadedModel, optimizer) -> EmbeddingsReceipt | None:
    """None when neither embed_tokens nor lm_head trains. `optimizer` is torch's or bitsandbytes' own."""
    model = loaded.model
    trains = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    own = {name: weight for name, weight in trains.items() if is_of_embeddings(name)}
    if not own:
        return None
    rows, base = rows_on(model), _original(model.get_input_embeddings()).weight
    element, others, written = base.element_size(), 0, 0
    for name, weight in _saved(model).items():
        if "lora_" in name:
            others += weight.numel() * weight.element_size()
        else:  # trained embeddings are brought to the precision of the base before they are saved
            written += weight.numel() * element
    held = sum(weight.numel() * weight.element_size() for weight in own.values())
    states = sum(state_bytes(optimizer, weight) for weight in own.values())
    originals = held if rows else 0  # what the rows were, which PEFT keeps beside them; of whole copies it is the base
    # A matrix with the rows in it (peft, TrainableTokensLayer.get_merged_weights), or autocast's copy of a head that is
    # kept in another precision than it computes in; and its gradient. Those of the two ends are not there at once.
    layers = trained_layers(loaded)
    is_cast = "lm_head" in layers and any(weight.dtype != base.dtype for weight in own.values())
    passing = 2 * base.numel() * element if rows or is_cast else 0
    parameters = sum(weight.numel() for weight in own.values())
    return EmbeddingsReceipt(
        layers=layers,
        is_tied=loaded.report.tied_embeddings,
        rows=len(rows) if rows else len(base),
        of_rows=len(base),
        parameters=parameters,
        share=parameters / sum(weight.numel() for weight in trains.values()),
        memory_gib=(2 * held + originals + states) / GIB,
        passing_gib=passing / GIB,
        disk_bytes=written,
        adapter_bytes=written + others,
        warning=large_adapter(written, others, not rows and loaded.device.type == "cpu"),
    )


def state_bytes(optimizer, weight) -> int:
    """What the optimizer will keep for a weight, in tensors made after it: they come with the first step.

    torch's Adam keeps two of the weight's own precision; bitsandbytes' two of 8 or 32 bits, those of 8 with a 32-bit
    constant for each 256 values (bitsandbytes, optim/optimizer.py, Optimizer2State.init_state); Adafactor a 32-bit value
    for each row and each column (transformers, optimization.py); SGD without momentum nothing.
    """
    import torch
    from bitsandbytes.optim.optimizer import Optimizer2State
    from transformers.optimization import Adafactor

    count = weight.numel()
    if isinstance(optimizer, Optimizer2State):
        optimizer.check_overrides()  # it does so itself at the first step
        for at, group in enumerate(optimizer.param_groups):
            for place, other in enumerate(group["params"]):
                if other is weight:
                    config = optimizer.get_config(at, place, group)
        in_8bit = config["optim_bits"] == 8 and count >= config["min_8bit_size"]
        return 2 * (count + 4 * -(-count // 256)) if in_8bit else 2 * 4 * count
    if isinstance(optimizer, Adafactor):
        return 4 * sum(weight.shape)
    return 0 if isinstance(optimizer, torch.optim.SGD) else 2 * count * weight.element_size()


def _original(embeddings):
    return getattr(embeddings, "original_module", embeddings)


def _saved(model) -> dict:
    """The adapter's tensors by the names that they have in its file."""
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)
