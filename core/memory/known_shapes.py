"""Shapes of common Llamas, so that an estimate needs no network. Values are from each repository's config.json."""


def _shape(vocab, hidden, inner, layers, heads, kv_heads, tied=False, head_dim=None, longest=131072) -> dict:
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "tie_word_embeddings": tied,
        "head_dim": head_dim or hidden // heads,
        "max_position_embeddings": longest,
    }


FAMILIES = {
    "llama-3.2-1b": _shape(128256, 2048, 8192, 16, 32, 8, tied=True),
    "llama-3.2-3b": _shape(128256, 3072, 8192, 28, 24, 8, tied=True),
    "llama-3.1-8b": _shape(128256, 4096, 14336, 32, 32, 8),
    "llama-3-8b": _shape(128256, 4096, 14336, 32, 32, 8, longest=8192),
    "llama-3-70b": _shape(128256, 8192, 28672, 80, 64, 8, longest=8192),
    "llama-3.1-70b": _shape(128256, 8192, 28672, 80, 64, 8),
    "llama-3.3-70b": _shape(128256, 8192, 28672, 80, 64, 8),
    "llama-2-7b": _shape(32000, 4096, 11008, 32, 32, 32, longest=4096),
    "llama-2-13b": _shape(32000, 5120, 13824, 40, 40, 40, longest=4096),
    "llama-2-70b": _shape(32000, 8192, 28672, 80, 64, 8, longest=4096),
    "tinyllama": _shape(32000, 2048, 5632, 22, 32, 4, longest=2048),
}
_IN_4BIT = {"quantization_config": {"load_in_4bit": True}}


def _names() -> dict[str, dict]:
    """The shapes by the names of Unsloth's and Meta's repositories, in lower case."""
    found: dict[str, dict] = {}
    for family, shape in FAMILIES.items():
        names = {"tinyllama": ("unsloth/tinyllama",)}.get(family) or tuple(
            f"{owner}/{prefix}{family}{ending}"
            for owner, prefixes in (("unsloth", ("", "meta-")), ("meta-llama", ("", "meta-")))
            for prefix in prefixes
            for ending in ("", "-instruct", "-chat", "-hf", "-chat-hf")
        )
        for name in names:
            found[name] = shape
            if name.startswith("unsloth/"):
                # "-unsloth-bnb-4bit" is missing: it keeps some layers in 16-bit, which only its config.json names.
                found[f"{name}-bnb-4bit"] = shape | _IN_4BIT
    return found


KNOWN = _names()
