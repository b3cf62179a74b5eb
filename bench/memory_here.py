"""The estimate compared with real short runs on this machine, and how long an estimate takes.

    python -m bench.memory_here

Each run is a process of its own, so that its peak is its own: a Llama with 60M random weights and a vocabulary of
32,000, two steps on rows of the full length.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from bench.common import PROJECT, bench_command, report
from core.memory.cards import CARDS
from core.memory.estimate import estimate
from core.memory.model_shape import shape_of
from core.memory.suggestions import suggestions, to_fit
from core.settings.run_config import RunConfig

# Each run's settings on top of COMMON.
SETTINGS = [
    [],
    ["training.use_gradient_checkpointing=yes"],
    ["adapter.modules_to_save=[]"],
    ["training.per_device_train_batch_size=4"],
    ["training.use_gradient_checkpointing=yes", "model.max_seq_length=1024"],
    ["model.load_in_4bit=no", "adapter.r=64"],
]
COMMON = [
    "data.text_column=text",
    "model.max_seq_length=512",
    "data.validation_share=0",
    "training.max_steps=2",
    "training.per_device_train_batch_size=2",
    "training.gradient_accumulation_steps=2",
    "training.save_steps=0",
    "training.sample_prompts=[]",
    "training.completion_only_loss=no",
]


@bench_command(__doc__)
@click.option(
    "--runs",
    type=click.IntRange(1, len(SETTINGS)),
    default=len(SETTINGS),
    help="How many of the runs to do, from the first.",
)
@click.option("--layers", default=12, show_default=True, help="Layers of the model.")
@click.option("--set", "more", multiple=True, metavar="SECTION.NAME=VALUE", help="A setting for all runs.")
def main(runs: int, layers: int, more: tuple[str, ...]) -> None:
    time_of_an_estimate()
    with tempfile.TemporaryDirectory(prefix="memory-") as place:
        folder = Path(place)
        model, rows = make_model(folder / "llama", layers), make_rows(folder / "rows.jsonl")
        errors = []
        for settings in SETTINGS[:runs]:
            chosen = [f"model.model_name={model}", f"data.path={rows}", *COMMON, *settings, *more]
            options = [word for setting in chosen for word in ("--set", setting)]
            measured = app("train", "demo-yoda", "--runs-dir", str(folder / "runs"), *options)["peak_memory_gib"]
            estimated = app("estimate", "demo-yoda", "--runs-dir", str(folder / "none"), *options)["total_gib"]
            errors.append(estimated / measured - 1)
            words = ", ".join(settings) or "batch 2, length 512, no checkpointing, 4-bit, with embeddings"
            report("memory here", settings=words, measured_gib=measured, estimated_gib=estimated, error=errors[-1])
    sizes = [abs(error) for error in errors]
    report("memory here, all", median_error=statistics.median(sizes), worst=max(sizes))


def time_of_an_estimate() -> None:
    """The estimate with its suggestions, as the page computes it at each change of the form."""
    config = RunConfig().with_settings(
        ["model.model_name=unsloth/Meta-Llama-3.1-8B-bnb-4bit", "training.per_device_train_batch_size=64"]
    )
    took = []
    for card in CARDS:
        began = time.perf_counter()
        shape = shape_of(config.model, fetch=False)
        estimate(config, shape, card), suggestions(config, shape, card), to_fit(config, shape, card)
        took.append((time.perf_counter() - began) * 1000)
    report("estimate with suggestions", median_ms=statistics.median(took), worst_ms=max(took))


def app(*arguments: str) -> dict:
    done = subprocess.run([sys.executable, "app.py", *arguments, "--json"], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def make_model(folder: Path, layers: int) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(PROJECT / "presets" / "demo-llama")
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_rows(path: Path) -> Path:
    """Texts longer than any length here, so that every row is full."""
    words = "the old man reads a book and a robot paints the river while a small cat sees the moon".split()
    random.seed(0)
    texts = (" ".join(random.choices(words, k=3000)) for _ in range(64))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
