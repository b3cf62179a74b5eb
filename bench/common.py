"""What the benches share: a free port, a random Llama of a given size, and the median of repeated measurements."""

import json
import platform
import socket
import statistics
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def make_llama(folder: Path, hidden_size: int = 768, layers: int = 14) -> Path:
    """A Llama with random weights and the demo's tokenizer; about 100M parameters. Speed does not depend on values."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(PROJECT / "presets" / "demo-llama")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=hidden_size // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"a Llama of {sum(weight.numel() for weight in model.parameters()):,} random weights")
    return folder


def report(name: str, **figures) -> None:
    """One line of JSON for a log, figures rounded to what they are worth."""
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"bench": name, "machine": platform.processor() or platform.machine(), **rounded}))


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios of measurements taken one after the other, so that a slow spell hits both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
