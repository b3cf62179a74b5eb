"""Shapes of common models, so that an estimate needs no network. Values are from each repository's config.json."""


def _shape(
    vocab, hidden, inner, layers, heads, kv_heads, tied=False, head_dim=None, longest=131072, kind="llama", **others
) -> dict:
    return others | {
        "model_type": kind,
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
_QWEN3 = {"head_dim": 128, "longest": 40960, "kind": "qwen3"}
_GEMMA2 = {
    "tied": True, "head_dim": 256, "longest": 8192, "kind": "gemma2",
    "sliding_window": 4096, "final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0,
}  # fmt: skip
_GEMMA3 = {"tied": True, "head_dim": 256, "longest": 32768, "kind": "gemma3_text", "sliding_window": 512}
# The copies at Unsloth, by their names there. Those of Phi 3 and of Phi 4 with 14B are Llamas or Mistrals in all but
# the name, and so they are here.
OTHERS = {
    "mistral-7b-v0.3": _shape(32768, 4096, 14336, 32, 32, 8, longest=32768, kind="mistral", sliding_window=None),
    "mistral-7b-instruct-v0.3": _shape(
        32768, 4096, 14336, 32, 32, 8, longest=32768, kind="mistral", sliding_window=None
    ),
    "mistral-nemo-instruct-2407": _shape(
        131072, 5120, 14336, 40, 32, 8, head_dim=128, longest=131072, kind="mistral", sliding_window=None
    ),
    "qwen2.5-0.5b": _shape(151936, 896, 4864, 24, 14, 2, tied=True, longest=32768, kind="qwen2"),
    "qwen2.5-1.5b": _shape(151936, 1536, 8960, 28, 12, 2, tied=True, longest=32768, kind="qwen2"),
    "qwen2.5-3b": _shape(151936, 2048, 11008, 36, 16, 2, tied=True, longest=32768, kind="qwen2"),
    "qwen2.5-7b": _shape(152064, 3584, 18944, 28, 28, 4, longest=32768, kind="qwen2"),
    "qwen2.5-14b": _shape(152064, 5120, 13824, 48, 40, 8, longest=32768, kind="qwen2"),
    "qwen3-0.6b": _shape(151936, 1024, 3072, 28, 16, 8, tied=True, **_QWEN3),
    "qwen3-1.7b": _shape(151936, 2048, 6144, 28, 16, 8, tied=True, **_QWEN3),
    "qwen3-4b": _shape(151936, 2560, 9728, 36, 32, 8, tied=True, **_QWEN3),
    "qwen3-4b-instruct-2507": _shape(151936, 2560, 9728, 36, 32, 8, tied=True, **_QWEN3 | {"longest": 262144}),
    "qwen3-8b": _shape(151936, 4096, 12288, 36, 32, 8, **_QWEN3),
    "qwen3-14b": _shape(151936, 5120, 17408, 40, 40, 8, **_QWEN3),
    "gemma-2-2b": _shape(256000, 2304, 9216, 26, 8, 4, **_GEMMA2),
    "gemma-2-9b": _shape(256000, 3584, 14336, 42, 16, 8, **_GEMMA2),
    "gemma-3-270m": _shape(262144, 640, 2048, 18, 4, 1, **_GEMMA3),
    "gemma-3-1b": _shape(262144, 1152, 6912, 26, 4, 1, **_GEMMA3),
    "phi-4": _shape(100352, 5120, 17920, 40, 40, 10, head_dim=128, longest=16384),
    "phi-4-mini-instruct": _shape(200064, 3072, 8192, 32, 24, 8, tied=True, kind="phi3", sliding_window=262144),
    "granite-3.2-2b-instruct": _shape(49155, 2048, 8192, 40, 32, 8, tied=True, kind="granite"),
    "granite-3.2-8b-instruct": _shape(49155, 4096, 12800, 40, 32, 8, tied=True, kind="granite"),
    "smollm3-3b": _shape(128256, 2048, 11008, 36, 16, 4, tied=True, longest=65536, kind="smollm3"),
}
_ENDINGS = {
    "qwen2.5": ("", "-instruct"), "qwen3": ("", "-base"), "gemma-2": ("", "-it"), "gemma-3-1b": ("-it", "-pt"),
    "gemma-3-270m": ("", "-it"), "smollm3": ("", "-base"),
}  # fmt: skip
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
    for name, shape in OTHERS.items():
        endings = next((found for start, found in _ENDINGS.items() if name.startswith(start)), ("",))
        for ending in ("",) if "instruct" in name else endings:
            found[f"unsloth/{name}{ending}"] = shape
            found[f"unsloth/{name}{ending}-bnb-4bit"] = shape | _IN_4BIT
    del found["unsloth/smollm3-3b-bnb-4bit"], found["unsloth/smollm3-3b-base-bnb-4bit"]  # are not there
    found["huggingfacetb/smollm3-3b"] = OTHERS["smollm3-3b"]
    return found


KNOWN = _names()
