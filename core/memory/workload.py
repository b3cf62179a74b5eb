"""Everything that the memory of a run depends on, as plain numbers and words."""

from dataclasses import dataclass
from typing import Literal

from core.families import layers_for
from core.memory.model_shape import ModelShape
from core.settings.run_config import RunConfig
from core.settings.sections import ALL_TARGET_MODULES, AdapterConfig


@dataclass(frozen=True)
class Workload:
    """One micro-batch and what trains on it. The defaults are a run of this program on a card with bfloat16.

    `length` is the number of tokens in the longest row. `optimizer`, `attention` and others also have values that this
    program does not use, so that published measurements can be compared.
    """

    shape: ModelShape
    batch: int
    length: int
    r: int = 16
    targets: tuple[str, ...] = tuple(ALL_TARGET_MODULES)
    adapts_head: bool = False  # LoRA on lm_head too
    trained: tuple[str, ...] = ()  # of embed_tokens and lm_head, in full
    only_rows: bool = False  # only some of their rows
    quantization: Literal["none", "nf4", "nf4-dq"] = "nf4-dq"
    element: int = 2  # bytes of what is not 4-bit
    stream_element: int = 2  # bytes of embeddings, head, norms, and hidden states between layers
    passing_element: int = 2  # of what the layers compute
    adapter_element: int = 4  # of the adapter's weights and gradients
    trained_element: int = 2  # of trained embeddings and their gradients
    optimizer: str = "adamw_8bit"  # as transformers' `optim`
    checkpointing: Literal["unsloth", True, False] = "unsloth"
    attention: Literal["eager", "sdpa", "flash"] = "flash"
    kernels: Literal["unsloth", "torch"] = "unsloth"
    loss: Literal["fused", "cpu", "chunked", "half", "full", "shifted", "unsloth-full"] = "fused"
    adapter_inputs: Literal["shared", "copied", "float32"] = "shared"  # what the adapter keeps of each layer's input
    has_dropout: bool = False
    has_magnitudes: bool = False  # DoRA
    expands_keys: bool = False  # keys and values are copied for each query head
    keeps_inputs: bool = False  # bitsandbytes before 0.43 kept each 4-bit layer's input
    on_gpu: bool = True
    free_gib: float = float("inf")  # on the card before the run; the fused loss uses half of what is left

    @property
    def tokens(self) -> int:
        """Tokens in the micro-batch."""
        return self.batch * self.length

    @property
    def offloads(self) -> bool:
        """Whether the inputs of the layers are kept in the computer's memory until the backward pass."""
        return self.checkpointing == "unsloth" and self.on_gpu


def workload(
    config: RunConfig, shape: ModelShape, on_gpu: bool, has_bfloat16: bool, free_gib: float, longest: int | None
) -> Workload:
    """The workload of a run of this program. `longest`: tokens of the longest row, if known."""
    training, adapter, model = config.training, config.adapter, config.model
    length = min(model.max_seq_length, shape.max_length) if longest is None else min(model.max_seq_length, longest)
    if training.packing and on_gpu:  # sequences are filled to the full length
        length = model.max_seq_length
    has_kernels = on_gpu and shape.family.has_kernels
    element = 4 if model.dtype == "float32" else 2
    if not on_gpu and model.dtype != "bfloat16" and not has_bfloat16:
        element = 4  # unsloth_zoo, cpu/loader.py, _resolve_dtype
    in_float16 = model.dtype == "float16" or (model.dtype == "auto" and not has_bfloat16)
    only_rows = getattr(adapter, "trainable_tokens", "all") != "all"
    return Workload(
        shape=shape,
        batch=batch_size(config),
        length=length,
        r=adapter.r,
        targets=tuple(layers_for(shape.model_type, adapter.target_modules)),
        trained=tuple(adapter.modules_to_save),
        only_rows=only_rows and bool(adapter.modules_to_save),
        quantization=shape.quantization if model.load_in_4bit or shape.is_prequantized else "none",
        element=element,
        stream_element=element,
        # After 32-bit embeddings everything is 32-bit: bitsandbytes returns the precision that it gets (Linear4bit).
        passing_element=4
        if not on_gpu and model.load_in_4bit and _trains_embed_tokens(adapter, shape) and not only_rows
        else element,
        # Without a GPU trained weights are 32-bit; on one Unsloth keeps the precision of embeddings, except float16.
        trained_element=4 if not on_gpu or in_float16 else element,
        optimizer=training.optim if on_gpu or not training.optim.endswith("bit") else "adamw_torch_fused",
        checkpointing=training.use_gradient_checkpointing,
        kernels="unsloth" if has_kernels else "torch",
        loss="fused" if on_gpu else "cpu" if shape.family.loss_in_parts else "full",
        adapter_inputs="shared" if has_kernels else "copied",
        has_dropout=adapter.lora_dropout > 0,
        has_magnitudes=adapter.use_dora,
        # Where attention is capped, Unsloth computes it step by step (unsloth, models/gemma2.py, without flash-attn).
        attention="eager" if shape.caps_attention and on_gpu else "flash" if has_kernels else "sdpa",
        on_gpu=on_gpu,
        free_gib=free_gib,
    )


def _trains_embed_tokens(adapter: AdapterConfig, shape: ModelShape) -> bool:
    return bool(adapter.modules_to_save) if shape.tied_embeddings else "embed_tokens" in adapter.modules_to_save


def batch_size(config: RunConfig) -> int:
    """Rows per micro-batch; for batch size auto the most that it can be, all rows of a step."""
    size = config.training.per_device_train_batch_size
    return size if isinstance(size, int) else config.training.gradient_accumulation_steps
