"""Whether a model is of a kind that can be trained here, from its config.json, before its weights are read."""

import json
from pathlib import Path

from core.hub_names import PREQUANTIZED
from core.memory.refused_models import check_family
from core.problems import ModelError, mark, tr
from core.settings.sections import ModelConfig

NEEDS_CODE = mark(
    "{name} cannot be loaded without running Python code that comes with it, which needs your consent; choose another, "
    "or, if you have read that code, enter the model's exact name under More, Run this model's own code."
)
OTHER_KIND = mark(
    "{name} is {kind} ({architecture:.80}), and only models that continue a text can be trained here: choose one of "
    "those, such as a Llama."
)
IN_4BIT = mark(
    "The weights of {name} are stored in 4-bit, so it cannot be loaded in 16-bit: turn on 4-bit weights "
    "(model.load_in_4bit), or choose the model with 16-bit weights."
)
MISNAMED = mark(
    "The weights in {name} are not in 4-bit, but Unsloth expects that, because of how the folder's name ends: "
    "rename the folder."
)
# What the end of an architecture's name says about a model.
KINDS = {
    "ForSequenceClassification": mark("a classifier or a reward model"),
    "ForTokenClassification": mark("a token classifier"),
    "RewardModel": mark("a reward model"),
    "ForMaskedLM": mark("a model that fills gaps in a text"),
    "ForPreTraining": mark("a model that fills gaps in a text"),
    "ForQuestionAnswering": mark("a model that finds answers in a text"),
}
# Either may be a text model too: only its weights tell.
UNDECIDED = ("Model", "ForConditionalGeneration")


def check_kind(folder: Path, config: ModelConfig) -> None:
    """Raises ModelError when the model in this folder is of another kind, needs code that is not trusted, or is stored
    in another precision than the settings ask for."""
    from transformers import CONFIG_MAPPING

    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    check_family(values, config.model_name)
    is_known = values["model_type"] in CONFIG_MAPPING
    if config.trust_remote_code is None:
        if values.get("auto_map") and not is_known:
            raise ModelError(NEEDS_CODE, name=config.model_name)
        if is_known and _is_of_another_kind(values):
            raise other_kind(values, config.model_name)
    _check_precision(folder, values, config)


def other_kind(values: dict, name: str) -> ModelError:
    """The error about a model with this config.json."""
    architecture = (_architectures(values) or [values["model_type"]])[0]
    kind = next((kind for ending, kind in KINDS.items() if architecture.endswith(ending)), "")
    if values.get("is_encoder_decoder"):
        kind = mark("an encoder-decoder model")
    elif any(key in values for key in ("vision_config", "audio_config", "image_size")):
        kind = mark("a model for images or audio")
    elif architecture.endswith("Model") and not kind:
        kind = mark("a model without a language modeling head")
    kind = tr(kind or mark("another kind of model"))
    return ModelError(OTHER_KIND, name=name, kind=kind, architecture=architecture)


def continues_text(folder: Path) -> bool:
    """Whether a model says that it was saved as one that continues a text."""
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = _architectures(values)
    return not names or any(name in _known_architectures() or name.endswith("ForCausalLM") for name in names)


def _is_of_another_kind(values: dict) -> bool:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    names = _architectures(values)
    if values["model_type"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or values.get("is_encoder_decoder"):
        return True
    if any(name in _known_architectures() or name.endswith(UNDECIDED) for name in names):
        return False
    # A name that the library does not have says nothing: the model is loaded by its type.
    return any(name.endswith(tuple(KINDS)) or hasattr(transformers, name) for name in names)


def _architectures(values: dict) -> list[str]:
    names = values.get("architectures")
    return [str(name) for name in names] if isinstance(names, list) else []


def _known_architectures() -> set[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())


def _check_precision(folder: Path, values: dict, config: ModelConfig) -> None:
    quantized = values.get("quantization_config") or values.get("compression_config") or {}
    is_4bit = isinstance(quantized, dict) and bool(quantized.get("load_in_4bit"))
    if is_4bit and not config.load_in_4bit:
        raise ModelError(IN_4BIT, name=config.model_name)
    if not is_4bit and folder.name.lower().endswith(PREQUANTIZED):
        raise ModelError(MISNAMED, name=config.model_name)
