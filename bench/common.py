"""What the benches share: their command lines, a free port, a Llama with random weights, and the lines they print."""

import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

PROJECT = Path(__file__).resolve().parent.parent


def bench_command(docstring: str) -> Callable[[Callable], click.Command]:
    """Turns a function into a command whose help is the module's docstring, with its line breaks kept.

    To run the bench from Python: `main.main(["2"], standalone_mode=False)`.
    """
    paragraphs = docstring.strip().split("\n\n")
    return click.command(help="\n\n".join(f"\b\n{paragraph}" for paragraph in paragraphs))


def rounds_argument(default: int) -> Callable:
    return click.argument("rounds", type=click.IntRange(1), default=default)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def served(
    command: list[str], port: int, python: Path | str = sys.executable, folder: Path = PROJECT
) -> Iterator[subprocess.Popen]:
    """Runs `python` with these arguments in `folder` until the block ends; enters it once `port` answers over HTTP."""
    process = subprocess.Popen(
        [str(python), *command],
        cwd=folder,
        env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended with code {process.returncode} before it answered.")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait()


def page_command(port: int, runs_dir: Path | str) -> list[str]:
    """The arguments of Python that serve the real page."""
    return ["app.py", "--no-browser", "--port", str(port), "--runs-dir", str(runs_dir)]


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30):
            return True
    except OSError:
        return False


def make_llama(folder: Path, hidden_size: int = 768, layers: int = 14) -> Path:
    """A Llama with random weights and the demo's tokenizer; about 100M parameters. Speed does not depend on values."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(PROJECT / "presets" / "demo-llama")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden_size // 64,
        num_key_value_heads=hidden_size // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    print(f"a Llama of {sum(weight.numel() for weight in model.parameters()):,} random weights")
    return folder


def report(name: str, **figures) -> None:
    """Prints one line of JSON for a log, with the figures rounded to three digits after the point."""
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"bench": name, "machine": platform.processor() or platform.machine(), **rounded}), flush=True)


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the ratios of measurements taken one after the other, so that a slow spell hits both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
