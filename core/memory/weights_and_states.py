"""What stands in memory all through a run: weights, adapter, trained embeddings, gradients, optimizer. In bytes.

Knows nothing of torch or gradio.
"""

from core.memory.workload import Workload

# bitsandbytes, functional.quantize_4bit: blocks of 64 weights, each with a 32-bit constant; double-quantised, an 8-bit
# one and for each 256 of those a 32-bit one (Dettmers et al., QLoRA, arXiv:2305.14314, section 3).
BYTES_OF_A_WEIGHT = {"none": None, "nf4": 0.5 + 4 / 64, "nf4-dq": 0.5 + 1 / 64 + 4 / (64 * 256)}
# States of an optimizer for each trained weight. Adam (arXiv:1412.6980) keeps two moments; in 8-bit (arXiv:2110.02861)
# a byte each and for each 256 of them a 32-bit constant. Of "adamw_torch" in 16-bit, see adamw_16bit below.
STATES = {
    "adamw_torch": 8.0, "adamw_torch_fused": 8.0, "paged_adamw_32bit": 8.0, "adamw_16bit": 4.0,
    "adamw_8bit": 2 + 2 * 4 / 256, "paged_adamw_8bit": 2 + 2 * 4 / 256, "sgd": 0.0,
}  # fmt: skip


def weights(work: Workload) -> float:
    """The base: matrices of the layers in 4-bit or as they are; embeddings, head and norms always as they are.

    Originals of trained embeddings wait in the computer's memory where Unsloth's offloading is on (unsloth,
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
    """Of LoRA: for each matrix r rows of its inputs and r columns of its outputs (Hu et al., arXiv:2106.09685)."""
    widths = work.shape.linear_widths
    a_layer = sum(work.r * sum(widths[name]) for name in work.targets)
    head = work.r * (work.shape.hidden_size + work.shape.vocab_size) if work.adapts_head else 0
    return work.shape.num_hidden_layers * a_layer + head


def adapter(work: Workload) -> float:
    return adapter_parameters(work) * work.adapter_element


def trained_matrices(work: Workload) -> int:
    """How many of embeddings and head train in full: tied ones stay one (peft, ensure_weight_tying)."""
    return min(len(work.trained), 1) if work.shape.tied_embeddings else len(work.trained)


def trained_parameters(work: Workload) -> int:
    return 0 if work.only_rows else trained_matrices(work) * work.shape.embedding_parameters


def embeddings(work: Workload) -> float:
    """The trained copies; where only some rows train, the whole matrix with those rows in it, made anew at each pass
    (peft, TrainableTokensLayer.get_merged_weights)."""
    if work.only_rows:
        return trained_matrices(work) * work.shape.embedding_parameters * work.element
    return trained_parameters(work) * work.trained_element


def gradients(work: Workload) -> float:
    """As large as what trains, in its precision (PyTorch, Tensor.grad). Where only some rows do, the matrix they were put
    into still has one (peft, TrainableTokensLayer)."""
    merged = trained_matrices(work) * work.shape.embedding_parameters * work.element if work.only_rows else 0
    return adapter_parameters(work) * work.adapter_element + trained_parameters(work) * work.trained_element + merged


def optimizer(work: Workload) -> float:
    """States of what trains. Embeddings have 32-bit ones even under an 8-bit optimizer (transformers, trainer.py,
    create_optimizer), a head of its own has not."""
    shape, small = work.shape, STATES.get(work.optimizer)
    if work.optimizer == "adafactor":
        return _adafactor(work)
    embeddings = shape.embedding_parameters if trained_parameters(work) and "embed_tokens" in _as_one(work) else 0
    in_full = 8.0 if small and small < 4 else small
    return (adapter_parameters(work) + trained_parameters(work) - embeddings) * small + embeddings * in_full


def _as_one(work: Workload) -> tuple[str, ...]:
    """A head that is tied to the embeddings trains as those."""
    return ("embed_tokens",) if work.shape.tied_embeddings and work.trained else work.trained


def _adafactor(work: Workload) -> float:
    """A 32-bit value for each row and each column of a matrix (Shazeer and Stern, arXiv:1804.04235, section 3)."""
    widths = work.shape.linear_widths
    a_layer = sum(2 * work.r + sum(widths[name]) for name in work.targets)
    matrices = 0 if work.only_rows else trained_matrices(work) * (work.shape.vocab_size + work.shape.hidden_size)
    return 4.0 * (work.shape.num_hidden_layers * a_layer + matrices)
