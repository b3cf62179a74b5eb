"""Memory that comes and goes within a step: activations and logits. In bytes.

The inventory follows what autograd saves for the backward pass (PyTorch, "Autograd mechanics", saved tensors),
operation by operation. The textbook's 34 bytes per token, layer and hidden unit (Korthikanti et al., arXiv:2205.05198,
section 4.1) are for another kind of layer: with an MLP four times as wide, with dropout, and with trained matrices.
Frozen matrices save no input, and the MLP has three matrices of a width of its own.
"""

from core.disk.sizes import GIB
from core.families import DOES
from core.memory.workload import Workload

# unsloth_zoo, fused_losses/cross_entropy_loss.py: each logit in 16-bit and 32-bit, its softmax and its gradient. The
# logits are computed in chunks, whose number is a multiple of four; each takes at most half of the free memory and 4
# GiB.
FUSED_BYTES_PER_LOGIT, FUSED_CHUNK_MULTIPLE, FUSED_MAX_BYTES = 16, 4, 4 * GIB
# unsloth_zoo, cpu/ops.py: logits per chunk; each in 16-bit, in 32-bit, its softmax, and in 16-bit again.
CPU_LOGITS_PER_CHUNK, CPU_BYTES_PER_LOGIT = 16 * 1024**2, 12
TORCHTUNE_CHUNKS = 8  # torchtune, modules/loss: LinearCrossEntropyLoss, num_output_chunks


def layer_kept(work: Workload, is_sliding: bool = False) -> float:
    """Bytes per token that one layer saves for the backward pass. `is_sliding`: it sees no further back than a window.

    Attention saves queries, keys, values and output (Dao et al., arXiv:2205.14135). Unsloth's norms save their input
    and output, its MLP saves gate and up and computes their product again (unsloth, kernels/rms_layernorm.py and
    fast_lora.py). In transformers' modeling_*.py norms save their input in 32-bit, the MLP gate, what its activation
    makes of that, and up.
    """
    shape, e = work.shape, work.passing_element
    norms = shape.family.norms * shape.hidden_size
    if shape.family.head_norms:
        norms += shape.query_width + shape.key_width
    attention, inner = _attention_kept(work, is_sliding), shape.intermediate_size
    if work.kernels == "unsloth":
        return 2 * e * norms + attention + 2 * e * inner + _dropped(work)
    return 4 * norms + attention + 3 * e * inner + _adapter_inputs(work) + _quantized_inputs(work)


def _attention_kept(work: Workload, is_sliding: bool) -> float:
    """Bytes per token that one layer's attention saves.

    Eager attention also saves the softmax, in 32-bit and rounded, per head and earlier token, and where it is capped
    the tanh (transformers, eager_attention_forward). With a mask, as rows longer than the window need one, sdpa has
    the keys and values of each query head (transformers, use_gqa_in_sdpa), and the mask in their precision.
    """
    shape, e = work.shape, work.passing_element
    query, key = shape.query_width, shape.key_width
    is_masked = work.attention == "sdpa" and is_sliding and _needs_mask(work)
    expands = work.expands_keys or is_masked
    saved = e * query + 2 * e * (query if expands else key) + e * query + (e * work.length if is_masked else 0)
    if work.attention == "eager":
        saved += shape.num_attention_heads * work.length * (4 + e + (e if shape.caps_attention else 0))
    return saved


def _needs_mask(work: Workload) -> bool:
    """Whether rows are longer than some layers see back."""
    return work.shape.sliding_window is not None and work.length >= work.shape.sliding_window


def _adapter_inputs(work: Workload) -> float:
    """Inputs of adapted matrices: shared ones once, a copy each, or each in 32-bit (peft, lora/layer.py)."""
    widths = {name: work.shape.linear_widths[name][0] for name in work.targets}
    if work.has_dropout:  # the remaining values, and a mask of one byte each
        return sum(widths.values()) * (work.element + 1)
    if work.adapter_inputs == "shared":
        once = {_INPUT[name]: width for name, width in widths.items()}
        return sum(once.values()) * work.element
    return sum(widths.values()) * (4 if work.adapter_inputs == "float32" else work.element)


# Layers with the same number have the same input.
_INPUT = {name: {"q": 1, "k": 1, "v": 1, "o": 2, "gate": 3, "up": 3, "down": 4}[does[0]] for name, does in DOES.items()}


def _quantized_inputs(work: Workload) -> float:
    """In old bitsandbytes: inputs of all 4-bit matrices, of this step and the last.

    They are attributes of the graph, which autograd does not free (bitsandbytes 0.42, autograd/_functions.py:
    ctx.tensors = (A, B)).
    """
    if not work.keeps_inputs or work.quantization == "none":
        return 0.0
    once = {_INPUT[name]: width for name, (width, _) in work.shape.linear_widths.items()}
    return 2 * sum(once.values()) * work.element


def _dropped(work: Workload) -> float:
    """Unsloth's fused kernels have no dropout; with dropout each adapted matrix saves its own input."""
    return _adapter_inputs(work) if work.has_dropout else 0.0


def layer_backward(work: Workload) -> float:
    """Bytes per token that one layer's backward pass needs in addition to what was saved.

    These are gradients of the MLP, two at a time (transformers, LlamaMLP: of the product, then of gate and up; Unsloth
    computes them in place: kernels/fast_lora.py, LoRA_MLP.backward, and kernels/swiglu.py), and of both residuals.
    """
    shape, e = work.shape, work.passing_element
    inner = (1 if work.kernels == "unsloth" else 2) * 2 * e * shape.intermediate_size
    return inner + 4 * e * shape.hidden_size


def activations_while_layers_go_back(work: Workload) -> float:
    """Bytes during the backward pass of the last layer, when the most is still saved.

    With checkpointing each layer saves only its input, and one layer at a time is computed again (Chen et al.,
    arXiv:1604.06174). With Unsloth's, all but two of these inputs are in the computer's memory.
    """
    return work.tokens * (_kept(work) + _one_more(work) + layer_backward(work)) + _dequantized(work) + _mask(work)


def activations_at_the_loss(work: Workload) -> float:
    """Bytes at the loss: what is saved, and the last hidden states.

    The latter are there in 32-bit in the last norm, normalized, and as their gradient (transformers, LlamaModel.norm,
    LlamaRMSNorm).
    """
    at_the_end = (4 + 2 * work.element) * work.shape.hidden_size
    return work.tokens * (_kept(work) + at_the_end) + _head_copy(work) + _mask(work)


def _mask(work: Workload) -> float:
    """A byte for each pair of tokens of a row, which all layers share (transformers, masking_utils.py, sdpa_mask)."""
    return work.batch * work.length**2 if work.attention == "sdpa" and _needs_mask(work) else 0.0


def _head_copy(work: Workload) -> float:
    """Without a GPU, the copies of a trained head.

    It is 32-bit: autocast computes with a 16-bit copy, and the loss keeps its gradient in 32-bit until the backward
    pass (unsloth_zoo, cpu/ops.py, _ChunkedLinearCrossEntropy).
    """
    is_copied = _trains_head(work) and work.loss == "cpu"
    return (work.element + 4) * work.shape.embedding_parameters if is_copied else 0.0


def _trains_head(work: Workload) -> bool:
    """Whether the whole head trains; one that is tied to the embeddings trains with them."""
    return not work.only_rows and bool("lm_head" in work.trained or (work.shape.tied_embeddings and work.trained))


def _kept(work: Workload) -> float:
    layers, sliding = work.shape.num_hidden_layers, work.shape.sliding_layers
    hidden = max(work.stream_element, work.passing_element) * work.shape.hidden_size
    if not work.checkpointing:
        return (layers - sliding) * layer_kept(work) + sliding * layer_kept(work, is_sliding=True)
    return 2 * hidden if work.offloads else layers * hidden


def _one_more(work: Workload) -> float:
    return layer_kept(work, is_sliding=bool(work.shape.sliding_layers)) if work.checkpointing else 0.0


def _dequantized(work: Workload) -> float:
    """4-bit matrices are converted to 16-bit for each multiplication, one at a time (bitsandbytes, dequantize_4bit)."""
    if work.quantization == "none":
        return 0.0
    return work.element * max(a * b for a, b in work.shape.linear_widths.values())


def logits_at_the_loss(work: Workload, free: float = float("inf")) -> float:
    """Bytes of the logits and of what cross entropy computes from them. `free`: unused bytes of the card.

    "full", as in transformers (loss/loss_utils.py, ForCausalLMLoss): logits in 16-bit, their 32-bit softmax, its
    gradient and the gradient of the summands: 2 + 4 + 4 + 4. "shifted", before 4.45: logits in 32-bit, which are kept.
    "half": nothing in 32-bit, but the logits of the last step are still there. "unsloth-full": 16-bit, changed in
    place, and accelerate's 32-bit copy of the model's output (accelerate, utils/operations.py, ConvertOutputsToFp32).
    """
    vocab, tokens, e = work.shape.vocab_size, work.tokens, work.element
    if work.loss == "fused":
        return _fused(work, free)
    if work.loss == "cpu":
        return vocab * min(tokens, max(CPU_LOGITS_PER_CHUNK // vocab, 16)) * CPU_BYTES_PER_LOGIT
    if work.loss == "chunked":
        return vocab * (e + 12) * tokens / TORCHTUNE_CHUNKS
    capped = e if work.shape.caps_logits else 0  # the tanh, which is kept (transformers, Gemma2ForCausalLM.forward)
    return vocab * tokens * ({"full": e + 12, "shifted": 16, "half": 4 * e, "unsloth-full": e + 4}[work.loss] + capped)


def logits_while_layers_go_back(work: Workload) -> float:
    """Bytes of logits kept during the backward pass; the figure for "unsloth-full" is inferred from published runs."""
    per_token = {"unsloth-full": work.element + 4, "half": work.element, "shifted": 4}.get(work.loss, 0)
    return work.shape.vocab_size * work.tokens * per_token


def _fused(work: Workload, free: float) -> float:
    whole = FUSED_BYTES_PER_LOGIT * work.shape.vocab_size * work.tokens
    # A trained head's gradient is summed over the chunks: the sum, and that of one chunk.
    heads = 2 * work.trained_element * work.shape.embedding_parameters if _trains_head(work) else 0
    target = max(min(free / 2, FUSED_MAX_BYTES), GIB / 8)
    target = target - heads if 0 < heads < target else target
    chunks = 1 if whole <= target else -(-whole // (target * FUSED_CHUNK_MULTIPLE)) * FUSED_CHUNK_MULTIPLE
    of_a_logit = 16 if work.shape.caps_logits else 14  # as counted there
    return whole / chunks * (of_a_logit / FUSED_BYTES_PER_LOGIT) + heads
