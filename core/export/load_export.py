"""Loads an export as another program would: with plain transformers and PEFT, without Unsloth's own classes."""

import time
from pathlib import Path

import psutil

from core.disk.tolerant_reading import read_json
from core.export.base_weights import weight_files
from core.export.source import Source
from core.export.wanted import Base
from core.model.library_patches.model_parts import keep_weights_as_stored
from core.model.load import describe
from core.model.loaded_model import LoadedModel
from core.settings.sections import ModelConfig


def load_merged(folder: Path, source: Source) -> LoadedModel:
    """The merged model in `folder`, on the computer's processor.

    It computes in float32, so that only what the files lost counts, or in the files' precision where that would take
    more than half of the free memory.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    began = time.monotonic()
    size = sum(file.stat().st_size for file in weight_files(folder))
    if read_json(folder / "config.json")["dtype"] != "float32":
        size *= 2
    dtype = "float32" if size < psutil.virtual_memory().available / 2 else "auto"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    config = ModelConfig(model_name=str(folder), load_in_4bit=False, max_seq_length=source.config.model.max_seq_length)
    return _described(model, AutoTokenizer.from_pretrained(folder), config, began)


def load_adapter(folder: Path, source: Source, dtype: str, onto: Base = "trained") -> LoadedModel:
    """The adapter in `folder` on the base that it was trained on, or on the original 16-bit weights. It computes in
    `dtype`, such as "bfloat16"."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    began, model = time.monotonic(), source.config.model
    arguments = {"dtype": dtype, "device_map": "auto" if torch.cuda.is_available() else None}
    if onto == "trained" and model.load_in_4bit:
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    base_dir = source.base_dir if onto == "trained" else source.original_dir
    base = AutoModelForCausalLM.from_pretrained(base_dir, **arguments)
    keep_weights_as_stored(base)
    model = PeftModel.from_pretrained(base, str(folder)).eval()
    return _described(model, AutoTokenizer.from_pretrained(folder), source.config.model, began)


def _described(model, tokenizer, config: ModelConfig, began: float) -> LoadedModel:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LoadedModel(model, tokenizer, config, describe(model, tokenizer, config, time.monotonic() - began))
