"""Llamas of real shapes with random weights, in 4-bit, and rows that fill them.

Values do not affect speed or memory: every kernel does the same work whatever the numbers are, nothing here skips
zeros, and a loss that does not fall costs as much as one that does. So nothing has to be downloaded.
"""

import json
import os
import random
import shutil
from pathlib import Path

from bench.common import PROJECT
from bench.gpu.plan import SHAPES
from core.disk.atomic import put_in_place

WORK = Path("build/bench-gpu")  # relative: with an absolute path Unsloth writes into the model's folder
TOKENIZER = PROJECT / "presets" / "demo-llama"  # its tokens are the first of the vocabulary; the rest never occur
ROWS = 64


def model_of(shape: str) -> str:
    return str(WORK / f"{shape}-4bit")


def make(shape: str) -> str:
    """Writes the model unless it exists, as 4-bit weights like those on the hub. Returns its folder."""
    folder = Path(model_of(shape))
    if not folder.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        put_in_place(folder, lambda place: _write(shape, place))
    return str(folder)


def _write(shape: str, place: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    in_16bit = WORK / f"{shape}-16bit"
    try:
        _write_16bit(shape, in_16bit, device)
        # Once for all measurements: a model with 8 billion weights takes a minute to quantize, and seconds to load.
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        model = AutoModelForCausalLM.from_pretrained(
            in_16bit, quantization_config=quantization, dtype=torch.bfloat16, device_map={"": device}
        )
        model.save_pretrained(place)
        AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(place)
    finally:
        shutil.rmtree(in_16bit, ignore_errors=True)


def _write_16bit(shape: str, folder: Path, device: str) -> None:
    """Writes a file per layer, filled on the card, so that the whole model is never in memory."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    config = LlamaConfig(
        **SHAPES[shape],
        max_position_embeddings=16384,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    )
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LlamaForCausalLM(config).named_parameters()}
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[str]] = {}
    for name in shapes:
        part = name.split(".")[2] if ".layers." in name else name.split(".")[-2]
        files.setdefault(f"model-{part}.safetensors", []).append(name)
    torch.manual_seed(0)
    for file, names in files.items():
        save_file({name: _random(name, shapes[name], device).cpu() for name in names}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, names in files.items() for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config.save_pretrained(folder)


def _random(name: str, shape, device: str):
    import torch

    weight = torch.empty(shape, dtype=torch.bfloat16, device=device)
    return weight.fill_(1.0) if "norm" in name else weight.normal_(std=0.02)


def write_rows(length: int) -> str:
    """Writes texts of at least `length` tokens each, so that every row is cut to exactly that. Returns the path."""
    words = "old red sun cat river stone quiet under again letter seven garden morning paper winter train".split()
    file = WORK / f"rows-{length}.jsonl"
    chance = random.Random(length)
    lines = [json.dumps({"text": " ".join(chance.choices(words, k=length))}) for _ in range(ROWS)]
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(f".{os.getpid()}")  # another measurement may be reading the same rows
    aside.write_text("\n".join(lines) + "\n", encoding="utf-8")
    aside.replace(file)
    return str(file)
