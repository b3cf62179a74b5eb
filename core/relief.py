"""What to change when memory ran out, and how much each change would save. Knows nothing of threads or gradio."""

from core.config import RunConfig
from core.dataset import PreparedData
from core.model import LoadedModel

GIB = 1024**3
# Bytes an optimizer keeps for each trained weight: two states of four bytes, or of one.
STATES = {"adamw_8bit": 2, "paged_adamw_8bit": 2, "sgd": 0, "adafactor": 4}
WORDS = (  # of errors that have no type of their own
    "DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
)  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a card or in the computer, where libraries often say so in words only."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in WORDS)


def relief(loaded: LoadedModel, config: RunConfig, data: PreparedData) -> str:
    """One sentence with the two or three changes that would help most."""
    where = "The card's memory" if loaded.model.device.type == "cuda" else "The computer's memory"
    changes = [change for change in savings(loaded, config, data) if change[1] >= 0.005 * GIB][:3]
    if not changes:
        changes = sorted(savings(loaded, config, data), key=lambda change: -change[1])[:3]
    if not changes:
        return f"{where} is full, and nothing in these settings would save much: take a smaller model."
    words = "; ".join(f"{what} (saves about {_size(saves)})" for what, saves in changes)
    return f"{where} is full. What would help most: {words}."


def savings(loaded: LoadedModel, config: RunConfig, data: PreparedData) -> list[tuple[str, float]]:
    """Changes in words and the bytes that each saves, the largest first.

    Activations by Korthikanti et al., arXiv:2205.05198, section 4: 34 bytes a token, layer and hidden unit in 16-bit
    with memory-saving attention; with checkpointing 2 bytes, and one layer whole. Logits: a value in 32-bit for each
    token and word of the vocabulary, three times over (the values, their softmax, its gradient).
    """
    training, model = config.training, loaded.model.config
    lengths = data.train.figures["kept"]
    length = min(int(lengths.max()), config.model.max_seq_length) if len(lengths) else config.model.max_seq_length
    batch = training.per_device_train_batch_size
    layers, hidden = model.num_hidden_layers, model.hidden_size
    checkpoints = bool(training.use_gradient_checkpointing)

    def passing(batch: int, length: int, checkpoints: bool) -> float:
        layer = 34 * hidden * (2 if loaded.report.dtype == "float32" else 1)
        kept = layers * layer if not checkpoints else layers * 2 * hidden + layer
        return batch * length * (kept + 3 * 4 * model.vocab_size)

    now = passing(batch, length, checkpoints)
    found = []
    if batch > 1:
        half, steps = batch // 2, training.gradient_accumulation_steps * 2
        words = f"batch size {batch} → {half} with accumulation {training.gradient_accumulation_steps} → {steps}"
        found.append((words, now - passing(half, length, checkpoints)))
    if length > 128:
        shorter = max(length // 2, 64)
        found.append((f"length {config.model.max_seq_length:,} → {shorter:,}", now - passing(batch, shorter, checkpoints)))
    if not checkpoints:
        found.append(("gradient checkpointing on", now - passing(batch, length, True)))
    states = STATES.get(training.optim, 8)
    trained = {name: weight for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    whole = [weight for name, weight in trained.items() if ".modules_to_save." in name]
    if whole:
        saved = sum(weight.numel() * (2 * weight.element_size() + states) for weight in whole)
        found.append(("without embed_tokens and lm_head", saved))
    elif config.adapter.modules_to_save:  # they are not there yet; their copies are kept in 32-bit
        copies = 1 if loaded.report.tied_embeddings else len(config.adapter.modules_to_save)
        found.append(("without embed_tokens and lm_head", copies * model.vocab_size * hidden * (2 * 4 + states)))
    if states > 2:
        found.append(("optimizer adamw_8bit", sum(w.numel() for w in trained.values()) * (states - 2)))
    if not config.model.load_in_4bit:
        found.append(("4-bit weights", loaded.report.memory_gib * GIB * 0.7))
    return sorted(found, key=lambda change: -change[1])


def _size(bytes_: float) -> str:
    return f"{bytes_ / GIB:.1f} GiB" if bytes_ >= 0.095 * GIB else f"{bytes_ / 1024**2:.1f} MiB"
