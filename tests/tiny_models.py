"""A tiny random model of each family, made from transformers' own config classes, with the tokenizer of the stories."""

import shutil
from pathlib import Path

# Heads of a size of their own, two for each of keys and values, and a window shorter than the rows of the tests.
SMALL = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 256,
}  # fmt: skip
OWN_HEADS = {"head_dim": 32}
# By model_type: transformers' name, and settings that are not those of the smallest real model.
TINY: dict[str, tuple[str, dict]] = {
    "llama": ("Llama", OWN_HEADS | {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", OWN_HEADS | {"sliding_window": 48}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", OWN_HEADS),
    "gemma2": ("Gemma2", OWN_HEADS | {"sliding_window": 48, "query_pre_attn_scalar": 32}),
    "gemma3_text": ("Gemma3Text", OWN_HEADS | {"sliding_window": 48, "query_pre_attn_scalar": 32}),
    "phi3": ("Phi3", {"sliding_window": None, "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
    "granite": ("Granite", {"attention_multiplier": 0.1, "logits_scaling": 8.0, "residual_multiplier": 0.5}),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}),
}
OLDER = {
    "opt": ("OPT", {"ffn_dim": 64, "word_embed_proj_dim": 64}),
    "phi": ("Phi", {}),
}


def config_of(kind: str, **changes):
    """The config of the tiny model of this model_type."""
    import transformers

    name, settings = (TINY | OLDER)[kind]
    config = getattr(transformers, f"{name}Config")(**SMALL | settings | changes)
    assert config.model_type == kind
    return config


def model_of(kind: str, **changes):
    """The tiny model of this model_type, with the same random weights each time."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    return AutoModelForCausalLM.from_config(config_of(kind, **changes))


def save_tiny(kind: str, stories: Path, folder: Path, **changes) -> Path:
    """Saves the tiny model of this model_type with the tokenizer of the stories into `folder`, which it returns."""
    model_of(kind, **changes).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(stories / name, folder)
    return folder
