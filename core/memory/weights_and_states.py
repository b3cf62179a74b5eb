"""Memory used throughout a run: weights, adapter, trained embeddings, gradients and optimizer states. In bytes."""

from core.memory.workload import Workload

# bitsandbytes, functional.quantize_4bit: blocks of 64 weights, each with a 32-bit constant; with double quantization an
# 8-bit constant, plus a 32-bit one for every 256 of them (Dettmers et al., QLoRA, arXiv:2305.14314, section 3).
BYTES_OF_A_WEIGHT = {"none": None, "nf4": 0.5 + 4 / 64, "nf4-dq": 0.5 + 1 / 64 + 4 / (64 * 256)}
# Bytes of optimizer states per trained weight. Adam (arXiv:1412.6980) has two moments; in 8-bit (arXiv:2110.02861) each
# is a byte, plus a 32-bit constant for every 256. "adamw_16bit" is adamw_torch on 16-bit weights.
STATES = {
    "adamw_torch": 8.0,
    "adamw_torch_fused": 8.0,
    "paged_adamw_32bit": 8.0,
    "adamw_16bit": 4.0,
    "adamw_8bit": 2 + 2 * 4 / 256,
    "paged_adamw_8bit": 2 + 2 * 4 / 256,
    "sgd": 0.0,
}


def weights(work: Workload) -> float:
    """The base: the matrices of the layers in 4-bit or as they are; embeddings, head and norms as they are.

    With Unsloth's offloading, the originals of trained embeddings are in the computer's memory (unsloth,
    models/llama.py, get_peft_model).
    """
    shape = work.shape
    small = BYTES_OF_A_WEIGHT[work.quantization] or work.element
    as_they_are = shape.unquantized_parameters * work.element
    matrices = (shape.linear_parameters - shape.unquantized_parameters) * small + as_they_are
    whole = [shape.embedding_parameters] if shape.tied_embeddings else [shape.embedding_parameters] * 2
    if work.offloads and not work.only_rows:
        whole = whole[: max(len(whole) - trained_matrices(work), 0)]
    return matrices + (sum(whole) + shape.norm_parameters) * work.stream_element


def adapter_parameters(work: Workload) -> int:
    """Weights in LoRA: per matrix, r times its inputs plus r times its outputs (Hu et al., arXiv:2106.09685).

    DoRA adds a magnitude per output (Liu et al., arXiv:2402.09353).
    """
    widths = work.shape.linear_widths
    a_layer = sum(work.r * sum(widths[name]) + work.has_magnitudes * widths[name][1] for name in work.targets)
    head = work.r * (work.shape.hidden_size + work.shape.vocab_size) if work.adapts_head else 0
    return work.shape.num_hidden_layers * a_layer + head


def adapter(work: Workload) -> float:
    """LoRA's weights."""
    return adapter_parameters(work) * work.adapter_element


def trained_matrices(work: Workload) -> int:
    """How many of embeddings and head train; tied ones count once (peft, ensure_weight_tying)."""
    return min(len(work.trained), 1) if work.shape.tied_embeddings else len(work.trained)


def trained_parameters(work: Workload) -> int:
    """Weights in the embeddings and head that train in full."""
    return 0 if work.only_rows else trained_matrices(work) * work.shape.embedding_parameters


def embeddings(work: Workload) -> float:
    """The trained copies of embeddings and head.

    Where only some rows train, the whole matrix with those rows is computed anew at each pass (peft,
    TrainableTokensLayer.get_merged_weights).
    """
    if work.only_rows:
        return trained_matrices(work) * work.shape.embedding_parameters * work.element
    return trained_parameters(work) * work.trained_element


def gradients(work: Workload) -> float:
    """One per trained weight, in its precision (PyTorch, Tensor.grad).

    Where only some rows train, the whole matrix with those rows has a gradient too (peft, TrainableTokensLayer).
    """
    merged = trained_matrices(work) * work.shape.embedding_parameters * work.element if work.only_rows else 0
    return adapter_parameters(work) * work.adapter_element + trained_parameters(work) * work.trained_element + merged


def optimizer(work: Workload) -> float:
    """The optimizer's states.

    Those of embeddings are 32-bit even with an 8-bit optimizer (transformers, trainer.py, create_optimizer); those of
    an untied head are not.
    """
    shape, small = work.shape, STATES.get(work.optimizer)
    if work.optimizer == "adafactor":
        return _adafactor(work)
    embeddings = shape.embedding_parameters if trained_parameters(work) and "embed_tokens" in _as_one(work) else 0
    in_full = 8.0 if small and small < 4 else small
    return (adapter_parameters(work) + trained_parameters(work) - embeddings) * small + embeddings * in_full


def _as_one(work: Workload) -> tuple[str, ...]:
    """The trained matrices; a head that is tied to the embeddings counts as those."""
    return ("embed_tokens",) if work.shape.tied_embeddings and work.trained else work.trained


def _adafactor(work: Workload) -> float:
    """A 32-bit value per row and per column of each matrix (Shazeer and Stern, arXiv:1804.04235, section 3)."""
    widths = work.shape.linear_widths
    a_layer = sum(2 * work.r + sum(widths[name]) for name in work.targets)
    matrices = 0 if work.only_rows else trained_matrices(work) * (work.shape.vocab_size + work.shape.hidden_size)
    return 4.0 * (work.shape.num_hidden_layers * a_layer + matrices)
