"""What differs between the families of models that can be trained, by the `model_type` of their config.json.

Everything else asks here: which layers an adapter can have and what they are called, what config.json leaves unsaid,
what a layer keeps for the backward pass, what an export can do, and which models are refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# What each matrix of a layer does: q(uery), k(ey), v(alue), o(utput), gate, up, down. A fused one does several things.
DOES: dict[str, tuple[str, ...]] = {
    "q_proj": ("q",),
    "k_proj": ("k",),
    "v_proj": ("v",),
    "o_proj": ("o",),
    "gate_proj": ("gate",),
    "up_proj": ("up",),
    "down_proj": ("down",),
    "qkv_proj": ("q", "k", "v"),
    "gate_up_proj": ("gate", "up"),
    "out_proj": ("o",),
    "dense": ("o",),
    "fc1": ("gate", "up"),
    "fc2": ("down",),
}
LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYER_NAMES = tuple(DOES)


@dataclass(frozen=True)
class Family:
    """A family of models; the defaults are those of Llama.

    `instead` is the model to use where one of the family cannot be trained. `layers` are the matrices that an adapter
    can have, in the model's order. `head_dim`, `tied`, and `sliding_window` are what transformers takes if config.json
    does not say; a `head_dim` of None is the hidden size shared by the heads. `norms` have the width of the hidden
    states, per layer; with `head_norms` queries and keys have one each. `biased` layers have a bias in any case.
    `has_kernels`: Unsloth has kernels of its own for it on a GPU. `loss_in_parts`: without a GPU Unsloth computes the
    logits of some tokens at a time (unsloth_zoo 2026.10.9, cpu/ops.py, _CHUNKED_CE_MODEL_TYPES). `gguf` is what
    llama.cpp calls its architecture; None if it cannot be exported as GGUF. `is_counted`: its memory can be estimated.
    """

    title: str
    instead: str
    layers: tuple[str, ...] = LLAMA_LAYERS
    head_dim: int | None = None
    tied: bool = False
    sliding_window: int | None = None
    norms: int = 2
    head_norms: bool = False
    biased: tuple[str, ...] = ()
    has_kernels: bool = False
    loss_in_parts: bool = True
    gguf: str | None = None
    is_counted: bool = True


_QWEN_BIASES = ("q_proj", "k_proj", "v_proj")
_FUSED = ("o_proj", "qkv_proj", "gate_up_proj", "down_proj")
LLAMA = Family("Llama", "unsloth/Llama-3.2-3B-Instruct-bnb-4bit", has_kernels=True, gguf="llama")
FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "mistral": Family(
        "Mistral", "unsloth/mistral-7b-instruct-v0.3-bnb-4bit", sliding_window=4096, has_kernels=True, gguf="llama"
    ),
    "qwen2": Family("Qwen 2.5", "unsloth/Qwen2.5-7B-Instruct-bnb-4bit", biased=_QWEN_BIASES, has_kernels=True),
    "qwen3": Family("Qwen 3", "unsloth/Qwen3-4B-bnb-4bit", head_dim=128, head_norms=True, has_kernels=True),
    "gemma2": Family(
        "Gemma 2", "unsloth/gemma-2-2b-it-bnb-4bit", head_dim=256, tied=True, sliding_window=4096, norms=4,
        has_kernels=True, loss_in_parts=False, gguf="gemma2",
    ),
    "gemma3_text": Family(
        "Gemma 3 (text)", "unsloth/gemma-3-1b-it-bnb-4bit", head_dim=256, tied=True, sliding_window=4096, norms=4,
        head_norms=True, loss_in_parts=False, gguf="gemma3",
    ),
    "phi3": Family("Phi 3 and 4", "unsloth/Phi-4-mini-instruct-bnb-4bit", layers=_FUSED),
    "granite": Family("Granite", "unsloth/granite-3.2-2b-instruct-bnb-4bit", loss_in_parts=False),
    "smollm3": Family("SmolLM 3", "HuggingFaceTB/SmolLM3-3B", tied=True, gguf="smollm3"),
    # Older ones, of which only the names of the layers are known.
    "opt": Family(
        "OPT", LLAMA.instead, layers=("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2"), is_counted=False
    ),
    "phi": Family(
        "Phi 1 and 2", LLAMA.instead, layers=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"), is_counted=False
    ),
}  # fmt: skip

# In a config.json with a value: a mixture of experts; a model that also takes images or sound.
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_OTHER_SENSES = ("vision_config", "audio_config")


def has_experts(values: Mapping[str, Any]) -> bool:
    """Whether a model with this config.json is a mixture of experts."""
    return any(values.get(key) for key in _EXPERTS)


def has_other_senses(values: Mapping[str, Any]) -> bool:
    """Whether a model with this config.json also takes images or sound."""
    return any(values.get(key) is not None for key in _OTHER_SENSES)


def instead_of(model_type: str) -> str:
    """The model to use in place of one of this kind, which cannot be trained: of the same makers if there is one."""
    return _nearest(model_type).instead


def _nearest(model_type: str) -> Family:
    """The family whose name begins as this one: that of Qwen 3 for qwen3_moe, of Mistral for mistral3."""
    kin = {"mixtral": "mistral", "pixtral": "mistral", "gemma": "gemma3_text", "qwen": "qwen3", "phi": "phi3"}
    starts = kin | {key: key for key in FAMILIES if key not in kin}
    found = [key for key in starts if model_type.startswith(key)]
    return FAMILIES[starts[max(found, key=len)]] if found else LLAMA


def is_tied(values: Mapping[str, Any]) -> bool:
    """Whether the head of a model with this config.json has the weights of the embeddings."""
    family = FAMILIES.get(values.get("model_type", "llama"), LLAMA)
    return bool(values.get("tie_word_embeddings", family.tied))


def layers_for(model_type: str, names: Iterable[str]) -> list[str]:
    """The layers of such a model that do what the layers with these names do in any model, in the model's order.

    A name that the model has stands for itself; `q_proj` stands for `qkv_proj` where queries, keys and values are one
    matrix. Of a model of no known family, the names themselves.
    """
    names = list(names)
    family = FAMILIES.get(model_type)
    if family is None:
        return names
    wanted = {part for name in names for part in DOES.get(name, ()) if name not in family.layers}
    return [layer for layer in family.layers if layer in names or wanted & set(DOES[layer])]


def sliding_layers(values: Mapping[str, Any]) -> tuple[int | None, int]:
    """(window in tokens, number of layers that see no further back) of a model with this config.json.

    Without a window, the number is 0. The rules are those of transformers' configuration_*.py.
    """
    kind, layers = values.get("model_type", "llama"), values["num_hidden_layers"]
    window = values.get("sliding_window", FAMILIES[kind].sliding_window if kind in FAMILIES else None)
    types = values.get("layer_types")
    if not window or kind in ("llama", "granite") or values.get("use_sliding_window") is False:
        return None, 0
    if isinstance(types, list):
        count = types.count("sliding_attention")
    elif kind == "gemma2":
        count = (layers + 1) // 2
    elif kind == "gemma3_text":
        count = layers - layers // (values.get("sliding_window_pattern") or 6)
    elif kind in ("qwen2", "qwen3", "smollm3"):
        count = 0  # only if asked for, and then layer_types says so
    else:
        count = layers
    return (int(window), count) if count else (None, 0)
