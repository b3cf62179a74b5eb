"""Llamas of real shapes with random weights, in 4-bit, and rows that fill them.

Values do not affect speed or memory: every kernel does the same work whatever the numbers are, nothing here skips
zeros, and a loss that does not fall costs as much as one that does. So nothing has to be downloaded.
"""

import json
import os
import random
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
    """Writes a file per layer, filled and quantized on the card, so that the 16-bit model is never whole anywhere."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    config = LlamaConfig(
        **SHAPES[shape],
        max_position_embeddings=16384,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
        quantization_config=quantization.to_dict(),
    )
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in LlamaForCausalLM(config).named_parameters()}
    files: dict[str, list[str]] = {}
    for name in shapes:
        part = name.split(".")[2] if ".layers." in name else name.split(".")[-2]
        files.setdefault(f"model-{part}.safetensors", []).append(name)
    torch.manual_seed(0)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    index = {}
    for file, names in files.items():
        tensors = {key: tensor for name in names for key, tensor in _tensors(name, shapes[name], device).items()}
        save_file(tensors, place / file, {"format": "pt"})
        index |= dict.fromkeys(tensors, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (place / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    config.save_pretrained(place)
    tokenizer.save_pretrained(place)


def _tensors(name: str, shape, device: str) -> dict:
    """What the files have of one weight, by name: the weight, or its 4-bit form with what belongs to it."""
    from bitsandbytes.functional import quantize_4bit

    weight = _random(name, shape, device)
    if "_proj." not in name:  # embeddings, norms and the head stay as they are
        return {name: weight.cpu()}
    packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    parts = {f"{name}.{key}": tensor.cpu() for key, tensor in state.as_dict(packed=True).items()}
    return {name: packed.cpu(), **parts}


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
