"""Private parts of transformers' models, Unsloth and bitsandbytes' layers; see `core.model.library_patches`."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.model.library_patches.peft_parts import whole_copies


@contextmanager
def made_up_weights() -> Iterator[list]:
    """Yields a list that is no longer empty once weights were missing and have been filled with random values.

    For transformers 5.17.0, whose `from_pretrained` only logs a table with a line "MISSING: ..." then.
    """

    class Reports(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "MISSING:" in record.getMessage():
                found.append(record)

    found: list = []
    logger, handler = logging.getLogger("transformers.modeling_utils"), Reports()
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


@contextmanager
def keeps_its_embeddings() -> Iterator[None]:
    """No model gets more or fewer embeddings meanwhile.

    For unsloth_zoo 2026.10.9, which on a CPU gives the base more of them when the tokenizer of an adapter has more
    tokens; the base would then answer differently with the adapter off.
    """
    from transformers import PreTrainedModel

    before = PreTrainedModel.resize_token_embeddings
    PreTrainedModel.resize_token_embeddings = lambda self, *args, **kwargs: self.get_input_embeddings()
    try:
        yield
    finally:
        PreTrainedModel.resize_token_embeddings = before


def has_mismatched_weights(error: Exception) -> bool:
    """Whether a model's weights have other shapes than its config.json says.

    For transformers 5.17.0, whose RuntimeError names the option `ignore_mismatched_sizes`; it has no class of its own.
    """
    return "ignore_mismatched_sizes" in str(error)


def wants_to_run_code(error: Exception) -> bool:
    """Whether a model or its tokenizer cannot be loaded without running Python code from its own folder.

    For transformers 5.17.0, whose ValueError names the option `trust_remote_code`; it has no class of its own.
    """
    return "trust_remote_code" in str(error)


def folder_of(model) -> Path:
    """The folder that the base model was loaded from.

    For transformers 5.17.0, which keeps it in a private attribute.
    """
    return Path(model.config._name_or_path)


@contextmanager
def named(model, name: str) -> Iterator[None]:
    """The base model and its config have this name meanwhile, in place of the folder that it was loaded from.

    For unsloth 2026.10.9: its offloading joins a temporary folder and `config._name_or_path` (offload_to_disk). An
    absolute path would win, so the embeddings would be written into the model's own folder. For peft 0.21.2: both are
    in the README.md that it writes beside an adapter (create_or_update_model_card).
    """
    before = model.config._name_or_path, model.name_or_path
    model.config._name_or_path = model.name_or_path = name
    try:
        yield
    finally:
        model.config._name_or_path, model.name_or_path = before


@contextmanager
def mode_restored(model) -> Iterator[None]:
    """Puts back afterwards which modules are in training mode, and which use gradient checkpointing.

    For unsloth 2026.10.9, whose `for_training` sets both on all modules, whatever they were before `for_inference`.
    """
    flags = ("training", "gradient_checkpointing")
    modules = list(model.modules())
    before = [(module, {flag: getattr(module, flag) for flag in flags if hasattr(module, flag)}) for module in modules]
    try:
        yield
    finally:
        for module, values in before:
            for flag, value in values.items():
                setattr(module, flag, value)


@contextmanager
def computed_by_peft(model) -> Iterator[None]:
    """Every adapted layer is computed by PEFT meanwhile, so a base with its adapter off gives the same bits as without.

    For unsloth 2026.10.9 on a GPU, which replaces adapted layers by kernels that round differently. They leave a layer
    to PEFT where more than one adapter is active (_has_multiple_active_adapters). Naming the same adapter twice counts
    as that and changes nothing else (peft 0.21.2).
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [layer._active_adapter for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = layer.active_adapters[:1] * 2
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


def gather_original_embeddings(model, moved: list[tuple]) -> None:
    """Moves untrained embeddings to the device of the trained ones. Adds (weight, its data before) to `moved` for each.

    For unsloth 2026.10.9, whose offloading leaves the originals of trained embeddings in the computer's memory, where
    a pass without the adapter cannot use them.
    """
    for _, wrapper in whole_copies(model):
        weight, device = wrapper.original_module.weight, wrapper.weight.device
        if weight.device != device:
            moved.append((weight, weight.data))
            weight.data = weight.data.to(device)


def reset_offloading_buffers() -> None:
    """Frees the buffers of Unsloth's offloading checkpointing, and forgets how far it was.

    For unsloth_zoo 2026.10.9, which does so only after a training that has ended by itself. Without Unsloth: nothing.
    """
    if checkpointing := sys.modules.get("unsloth_zoo.gradient_checkpointing"):
        checkpointing.reset_unsloth_gradient_checkpointing_buffers()


def checkpointing_in_use(model) -> str | bool | None:
    """The gradient checkpointing that Unsloth has chosen for the model; None where it does not say (without a GPU).

    For unsloth 2026.10.9, which drops the offloading for short rows without a word.
    """
    return getattr(model, "_unsloth_gradient_checkpointing", None)


def is_4bit(layer) -> bool:
    """Whether the layer's weight is stored in 4 bits. For bitsandbytes 0.50.2."""
    from bitsandbytes.nn import Linear4bit

    return isinstance(layer, Linear4bit)


def keep_weights_as_stored(model) -> None:
    """Keeps 4-bit layers from rearranging their weights when they first answer.

    For bitsandbytes 0.50.2, which does so on processors with instructions for bfloat16: the layers then round
    everything to 16 bits, and a layer fails if its size is not a multiple of 32. Unsloth does the same for the models
    that it loads.
    """
    for layer in filter(is_4bit, model.modules()):
        layer.support_avx512bf16_for_cpu = False


def count_8bit(model) -> int:
    """How many layers have their weights in 8 bits. For bitsandbytes 0.50.2."""
    from bitsandbytes.nn import Linear8bitLt

    return sum(isinstance(module, Linear8bitLt) for module in model.modules())


def stored_as(model) -> str:
    """In what the weights are quantized, other than 4-bit: "8-bit", or the method's name; empty if they are not.

    For transformers 5.17.0, where the config has it as a dict or as an object.
    """
    quantized = getattr(model.config, "quantization_config", None)
    values = quantized if isinstance(quantized, dict) else getattr(quantized, "to_dict", dict)()
    if values.get("load_in_8bit"):
        return "8-bit"
    method = values.get("quant_method", "")
    return "" if values.get("load_in_4bit") else str(getattr(method, "value", method)).upper()


def weight_as_computed(layer):
    """The layer's weight as a matrix; a 4-bit one as the 16-bit values that the model computes with.

    For bitsandbytes 0.50.2, which keeps what it needs for that in the weight's `quant_state`.
    """
    if not is_4bit(layer):
        return layer.weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(layer.weight.data, layer.weight.quant_state)


def layers_in_4bit(folder: Path) -> list[str]:
    """Names of the layers that are quantized when the model in `folder`, with 16-bit weights, is loaded in 4-bit.

    For transformers 5.17.0: all linear layers but the head. No weights are read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.quantizers.base import get_keys_to_not_convert

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    kept = set(get_keys_to_not_convert(model))
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name not in kept]
