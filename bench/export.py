"""Merging an adapter and writing GGUF: time against copying the model's own files, and memory.

    python -m bench.export [ROUNDS] [--size 8b]

The model is a Llama of random weights in bfloat16 with an adapter of rank 16 on all projections and trained embeddings
and head. Bars: merging takes at most 1.5 times as long as copying the base's files and 1.5 GiB of anonymous memory;
GGUF in q8_0 of a 1B takes at most twice as long as copying. Each measurement is a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from bench.common import PROJECT, bench_command, median_ratio, report, rounds_argument

# Hidden size, feed-forward size, layers, heads, heads of keys and values, vocabulary: those of Llama 3.1 and 3.2.
SHAPES = {
    "tiny": (256, 512, 2, 4, 2, 512),
    "beside llama.cpp": (256, 352, 4, 4, 2, 512),  # 352: some types need rows of a multiple of 256
    "1b": (2048, 8192, 16, 32, 8, 128256),
    "8b": (4096, 14336, 32, 32, 8, 128256),
}
RANK = 16
WORK = """
import json, re, sys, threading, time
from pathlib import Path
from core.export.export import write_export
from core.export.wanted import Wanted
from core.export.find_source import find_source

def anonymous_kib():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def watch():
    while True:
        peak[0] = max(peak[0], anonymous_kib())
        time.sleep(0.01)

source = find_source(Path(sys.argv[1]), "run")
write = lambda out, to: write_export(source, Wanted(to, Path(out), quant=("q8_0",)))
import torch, transformers, bitsandbytes, gguf, gguf.quants
peak, before = [0], anonymous_kib()
threading.Thread(target=watch, daemon=True).start()
began, used = time.monotonic(), time.process_time()
write(sys.argv[2], sys.argv[3])
seconds, cpu = time.monotonic() - began, time.process_time() - used
print(json.dumps({"seconds": seconds, "cpu_s": cpu, "anonymous_gib": (peak[0] - before) / 2**20}))
"""


def normal(name: str, first: int, last: int, shape: tuple[int, ...]):
    """Rows of a weight of this shape, of random values."""
    import torch

    return torch.randn(last - first, *shape[1:]) * 0.02


def make_run(runs_dir: Path, size: str, values: Callable = normal) -> Path:
    """A run whose base and adapter have these values, as `normal` gives them; returns the base's folder."""
    hidden, forward, layers, heads, kv_heads, vocabulary = SHAPES[size]
    base, run = runs_dir.parent / "base", runs_dir / "run"
    (run / "adapter").mkdir(parents=True)
    base.mkdir()
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "hidden_size": hidden,
        "intermediate_size": forward, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    kv = hidden // heads * kv_heads
    projections = {
        "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (forward, hidden), "mlp.up_proj": (forward, hidden),
        "mlp.down_proj": (hidden, forward),
    }  # fmt: skip
    weights, lora = {"model.norm.weight": (hidden,)}, {}
    for layer in range(layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{norm}.weight"] = (hidden,)
        for name, (rows, columns) in projections.items():
            weights[f"model.layers.{layer}.{name}.weight"] = (rows, columns)
            lora[f"base_model.model.model.layers.{layer}.{name}.lora_A.weight"] = (RANK, columns)
            lora[f"base_model.model.model.layers.{layer}.{name}.lora_B.weight"] = (rows, RANK)
    for name in ("model.embed_tokens", "lm_head"):
        weights[f"{name}.weight"] = lora[f"base_model.model.{name}.weight"] = (vocabulary, hidden)
    _write_weights(base, weights, "bfloat16", values)
    _write_weights(run / "adapter", lora, "float32", values)
    (run / "adapter" / "model.safetensors").rename(run / "adapter" / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "base_model_name_or_path": str(base), "r": RANK, "lora_alpha": RANK, "use_rslora": True,
        "modules_to_save": ["embed_tokens", "lm_head"], "task_type": "CAUSAL_LM", "target_modules": list(projections),
    }  # fmt: skip
    (run / "adapter" / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    _write_tokenizer(base, run / "adapter")
    from core.settings.run_config import RunConfig

    (run / "config.yaml").write_text(
        RunConfig().with_settings([f"model.model_name={base}", "model.load_in_4bit=false"]).to_yaml(), encoding="utf-8"
    )
    (run / "run.json").write_text("{}", encoding="utf-8")
    return base


def _write_weights(folder: Path, shapes: dict[str, tuple[int, ...]], dtype: str, values: Callable) -> None:
    from core.export.safetensors_writer import Planned, write_sharded

    def reader(name: str) -> Callable:
        return lambda first, last: values(name, first, last, shapes[name])

    write_sharded(folder, [Planned(name, shape, partial(reader, name)) for name, shape in shapes.items()], dtype)


def _write_tokenizer(*folders: Path) -> None:
    """One of Llama 3's kind, of single bytes and one merge, without which llama.cpp takes none."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from core.export.gguf_tokenizer import SPLITS

    letters = ["<|begin_of_text|>", "<|eot_id|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h")]))
    split = pre_tokenizers.Split(Regex(next(iter(SPLITS))), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    for folder in folders:
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=letters[0], eos_token=letters[1]).save_pretrained(
            folder
        )


def copied(base: Path, to: Path) -> float:
    """Seconds that copying the weights' files takes, until they are on the disk."""
    began = time.monotonic()
    to.mkdir()
    for file in base.glob("*.safetensors"):
        with open(shutil.copyfile(file, to / file.name), "rb") as copy:
            os.fsync(copy.fileno())
    seconds = time.monotonic() - began
    shutil.rmtree(to)
    return seconds


def exported(runs_dir: Path, to: Path, kind: str) -> dict:
    """Seconds, CPU seconds and anonymous memory of an export in a process of its own."""
    command = [sys.executable, "-c", WORK, str(runs_dir), str(to), kind]
    done = subprocess.run(command, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True)
    if done.returncode:
        raise SystemExit(f"A measurement failed:\n{done.stderr.decode()[-2000:]}")
    shutil.rmtree(to)
    return json.loads(done.stdout.splitlines()[-1])


@bench_command(__doc__)
@rounds_argument(3)
@click.option("--size", type=click.Choice(list(SHAPES)), default="1b", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write; a disk with room for it twice.")
def main(rounds: int, size: str, folder: Path | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        runs_dir, out = Path(place) / "runs", Path(place) / "out"
        base = make_run(runs_dir, size)
        copies, merges, ggufs = [], [], []
        for _ in range(rounds):
            copies.append(copied(base, out))
            merges.append(exported(runs_dir, out, "merged"))
            ggufs.append(exported(runs_dir, out, "gguf"))
        for name, found in (("merged", merges), ("q8_0", ggufs)):
            report(
                f"export, {name}",
                size=size,
                seconds=sorted(one["seconds"] for one in found)[len(found) // 2],
                cpu_s=sorted(one["cpu_s"] for one in found)[len(found) // 2],
                copy_s=sorted(copies)[len(copies) // 2],
                ratio=median_ratio([one["seconds"] for one in found], copies),
                anonymous_gib=max(one["anonymous_gib"] for one in found),
            )


if __name__ == "__main__":
    main()
