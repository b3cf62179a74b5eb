"""What comes and goes within a step: activations and logits. In bytes; knows nothing of torch or gradio.

The inventory follows what autograd keeps for the way back (PyTorch, "Autograd mechanics", saved tensors), operation by
operation, because the textbook's 34 bytes a token, layer and hidden unit (Korthikanti et al., arXiv:2205.05198,
section 4.1) stand for another layer: four times as wide inside, with dropout, its matrices trained. Frozen matrices
keep no input, and Llama's inner layer has three of its own width.
"""

from core.memory.workload import Workload

GIB = 1024**3
# unsloth_zoo, fused_losses/cross_entropy_loss.py: for each logit 16-bit, 32-bit, softmax and gradient; a part at a time,
# a multiple of four of them, each of at most half of what is free, and 4 GiB.
FUSED_BYTES, FUSED_CHUNKS, FUSED_MOST = 16, 4, 4 * GIB
# unsloth_zoo, cpu/ops.py: so many logits at a time; 16-bit, 32-bit, their softmax, and 16-bit again.
CPU_LOGITS, CPU_BYTES = 16 * 1024**2, 12
TORCHTUNE_CHUNKS = 8  # torchtune, modules/loss: LinearCrossEntropyLoss, num_output_chunks


def layer_kept(work: Workload) -> float:
    """What one layer keeps of each token for the way back.

    Attention keeps queries, keys, values and its answer (Dao et al., arXiv:2205.14135); eager attention also the softmax,
    in 32-bit and rounded, for each head and each token before (transformers, eager_attention_forward). Unsloth's norms
    keep what they got and what they gave, its inner layer gate and up, whose product is computed again (unsloth,
    kernels/rms_layernorm.py and fast_lora.py). In transformers' modeling_llama.py norms keep their input in 32-bit, the
    inner layer gate, its silu and up.
    """
    shape, e = work.shape, work.passing_element
    hidden, query, key, inner = shape.hidden_size, shape.query_width, shape.key_width, shape.intermediate_size
    keys = 2 * e * (query if work.expands_keys else key)
    attention = e * query + keys + e * query
    if work.attention == "eager":
        attention += shape.num_attention_heads * work.length * (4 + e)
    if work.kernels == "unsloth":
        return 4 * e * hidden + attention + 2 * e * inner + _dropped(work)
    return 2 * 4 * hidden + attention + 3 * e * inner + _adapter_inputs(work) + _quantized_inputs(work)


def _adapter_inputs(work: Workload) -> float:
    """The input of each adapted matrix: one of each width, a copy for each, or one in 32-bit (peft, lora/layer.py)."""
    widths = {name: work.shape.linear_widths[name][0] for name in work.targets}
    if work.has_dropout:  # what is left of each, and a byte that says what was dropped
        return sum(widths.values()) * (work.element + 1)
    if work.adapter_inputs == "shared":
        once = {_INPUT[name]: width for name, width in widths.items()}
        return sum(once.values()) * work.element
    return sum(widths.values()) * (4 if work.adapter_inputs == "float32" else work.element)


_INPUT = {"q_proj": 1, "k_proj": 1, "v_proj": 1, "o_proj": 2, "gate_proj": 3, "up_proj": 3, "down_proj": 4}


def _quantized_inputs(work: Workload) -> float:
    """Of old bitsandbytes: the input of all 4-bit matrices, and that of the step before, because they hang on its
    graph and not on what autograd frees (bitsandbytes 0.42, autograd/_functions.py: ctx.tensors = (A, B))."""
    if not work.keeps_inputs or work.quantization == "none":
        return 0.0
    once = {_INPUT[name]: width for name, (width, _) in work.shape.linear_widths.items()}
    return 2 * sum(once.values()) * work.element


def _dropped(work: Workload) -> float:
    """Unsloth's fused kernels have no dropout; with it each adapted matrix keeps its own input."""
    return _adapter_inputs(work) if work.has_dropout else 0.0


def layer_backward(work: Workload) -> float:
    """What one layer needs of each token on the way back, besides what was kept: gradients of the inner layer, two at a
    time (transformers, LlamaMLP: of its product, then of gate and up; Unsloth forms them in place: kernels/fast_lora.py,
    LoRA_MLP.backward, and kernels/swiglu.py), and of both residuals. A gradient is as large as what it is of."""
    shape, e = work.shape, work.passing_element
    inner = (1 if work.kernels == "unsloth" else 2) * 2 * e * shape.intermediate_size
    return inner + 4 * e * shape.hidden_size


def activations_while_layers_go_back(work: Workload) -> float:
    """At the last layer, where most is still kept.

    With checkpointing each layer keeps its input alone, and one layer at a time is computed again (Chen et al.,
    arXiv:1604.06174); with Unsloth's those inputs are in the computer's memory but for two.
    """
    return work.tokens * (_kept(work) + _one_more(work) + layer_backward(work)) + _dequantized(work)


def activations_at_the_loss(work: Workload) -> float:
    """What is kept, and the last hidden states: in 32-bit in the last norm, normed, and their gradient (transformers,
    LlamaModel.norm, LlamaRMSNorm)."""
    return work.tokens * (_kept(work) + (4 + 2 * work.element) * work.shape.hidden_size) + _head_copy(work)


def _head_copy(work: Workload) -> float:
    """Without a card a head that trains is 32-bit: autocast computes with a 16-bit copy, and the loss holds the gradient
    in 32-bit until the way back (unsloth_zoo, cpu/ops.py, _ChunkedLinearCrossEntropy)."""
    is_copied = _trains_head(work) and work.loss == "cpu"
    return (work.element + 4) * work.shape.embedding_parameters if is_copied else 0.0


def _trains_head(work: Workload) -> bool:
    """In full; one that is tied to the embeddings trains with them."""
    return not work.only_rows and bool("lm_head" in work.trained or (work.shape.tied_embeddings and work.trained))


def _kept(work: Workload) -> float:
    layers = work.shape.num_hidden_layers
    hidden = max(work.stream_element, work.passing_element) * work.shape.hidden_size
    if not work.checkpointing:
        return layers * layer_kept(work)
    return 2 * hidden if work.offloads else layers * hidden


def _one_more(work: Workload) -> float:
    return layer_kept(work) if work.checkpointing else 0.0


def _dequantized(work: Workload) -> float:
    """A 4-bit matrix is made 16-bit to be multiplied, one at a time (bitsandbytes, dequantize_4bit)."""
    if work.quantization == "none":
        return 0.0
    return work.element * max(a * b for a, b in work.shape.linear_widths.values())


def logits_at_the_loss(work: Workload, free: float = float("inf")) -> float:
    """Logits and what cross entropy makes of them. `free`: bytes of the card that nothing else takes.

    Full, by transformers (loss/loss_utils.py, ForCausalLMLoss): 16-bit, their 32-bit softmax, its gradient and the
    gradient of what is summed: 2 + 4 + 4 + 4. Shifted, before 4.45: 32-bit ones, kept, in place of 16-bit ones. Half:
    nothing is made 32-bit, and those of the step before are still there. Unsloth's full ones: 16-bit, changed in place,
    and accelerate's 32-bit copy of what the model gives out (accelerate, utils/operations.py, ConvertOutputsToFp32).
    """
    vocab, tokens, e = work.shape.vocab_size, work.tokens, work.element
    if work.loss == "fused":
        return _fused(work, free)
    if work.loss == "cpu":
        return vocab * min(tokens, max(CPU_LOGITS // vocab, 16)) * CPU_BYTES
    if work.loss == "chunked":
        return vocab * (e + 12) * tokens / TORCHTUNE_CHUNKS
    return vocab * tokens * {"full": e + 12, "shifted": 16, "half": 4 * e, "unsloth-full": e + 4}[work.loss]


def logits_while_layers_go_back(work: Workload) -> float:
    """What the trainer still holds then. Inferred for Unsloth's full logits from what is published: they fit only so."""
    per_token = {"unsloth-full": work.element + 4, "half": work.element, "shifted": 4}.get(work.loss, 0)
    return work.shape.vocab_size * work.tokens * per_token


def _fused(work: Workload, free: float) -> float:
    whole = FUSED_BYTES * work.shape.vocab_size * work.tokens
    # A trained head's gradient is summed over the parts: the sum and a part's own.
    heads = 2 * work.trained_element * work.shape.embedding_parameters if _trains_head(work) else 0
    target = max(min(free / 2, FUSED_MOST), GIB / 8)
    target = target - heads if 0 < heads < target else target
    parts = 1 if whole <= target else -(-whole // (target * FUSED_CHUNKS)) * FUSED_CHUNKS
    return whole / parts * (14 / FUSED_BYTES) + heads
