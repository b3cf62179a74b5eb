"""What llama.cpp takes for granted of each architecture, and whether a model is what it takes.

llama.cpp has no settings for some of what a config.json can say; of a model that differs in these, a GGUF file would
answer differently. The figures are those of llama.cpp's src/llama-model.cpp (b11549).
"""

from collections.abc import Mapping
from typing import Any

from core.families import FAMILIES, sliding_layers
from core.problems import ExportError, mark

OTHER_MODEL = mark("Models of the kind {kind:.40} cannot be exported as GGUF; export a merged model instead.")
OTHER_SETTING = mark(
    "A model of the kind {kind:.40} with {setting} {value!r:.40} cannot be exported as GGUF, because llama.cpp has no "
    "form for it; export a merged model instead."
)
# llama.cpp rotates neighbouring pairs of values where transformers rotates the first half of a head with its second.
ROTATES_PAIRS = ("llama", "smollm3")
# Their norms multiply by one plus the weight; llama.cpp by what is in the file.
ADDS_ONE = ("gemma2", "gemma3")
_GEMMA_3_LOCAL = {"rope_type": "default", "rope_theta": 10000.0}


def architecture(config: Mapping[str, Any]) -> str:
    """llama.cpp's name for the architecture of a model with this config.json.

    Raises ExportError if it has none, or none that is exactly this model.
    """
    kind = str(config.get("model_type"))
    name = FAMILIES[kind].gguf if kind in FAMILIES else None
    if name is None:
        raise ExportError(OTHER_MODEL, kind=kind)
    for setting, is_held in _conditions(config, kind).items():
        if not is_held:
            raise ExportError(OTHER_SETTING, kind=kind, setting=setting, value=config.get(setting))
    return name


def _conditions(config: Mapping[str, Any], kind: str) -> dict[str, bool]:
    """By the setting, whether it is what llama.cpp takes for granted."""
    layers, (window, sliding) = range(config["num_hidden_layers"]), sliding_layers(config)
    if kind in ("llama", "mistral"):
        return {"sliding_window": window is None}
    if kind == "smollm3":
        rotated = [int((layer + 1) % 4 != 0) for layer in layers]
        given = config.get("no_rope_layers") or [
            int((layer + 1) % (config.get("no_rope_layer_interval") or 4) != 0) for layer in layers
        ]
        return {"no_rope_layers": given == rotated, "sliding_window": window is None}
    every = 2 if kind == "gemma2" else 6
    slides = [(layer + 1) % every != 0 for layer in layers]
    types = config.get("layer_types")
    given = [one == "sliding_attention" for one in types] if types else slides
    held = {
        "query_pre_attn_scalar": config.get("query_pre_attn_scalar") == (config.get("head_dim") or 256),
        "layer_types": given == slides and sliding == sum(slides),
        "use_bidirectional_attention": not config.get("use_bidirectional_attention"),
    }
    if kind == "gemma3_text":
        held["rope_parameters"] = _local_rope(config) == _GEMMA_3_LOCAL
    return held


def _local_rope(config: Mapping[str, Any]) -> dict:
    """How the layers with a window encode positions."""
    given = (config.get("rope_parameters") or {}).get("sliding_attention")
    return given or {"rope_type": "default", "rope_theta": float(config.get("rope_local_base_freq", 10000.0))}


def add_architecture(writer, config: Mapping[str, Any], name: str) -> None:
    """Adds what the file of this architecture has besides the sizes, to a gguf.GGUFWriter."""
    if name not in ADDS_ONE:
        return
    writer.add_sliding_window(sliding_layers(config)[0])
    if cap := config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(cap)
    if cap := config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(cap)
