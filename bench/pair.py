"""What two and three answers side by side cost compared with one answer, on a 4-bit Llama of about 100M parameters.

    python -m bench.pair [ROUNDS]

The bars on a CPU are relative to the base alone: a pair takes at most 1.2 times as long, three panes at most 1.5 times.
On two shared cores they were not met (README.md). Most of the difference is matrix products, which on a CPU can take
twice as long with two rows as with one. The ratios to one tuned model alone and to the mean of the panes' own answers,
each generated alone, are printed too. Last comes what it takes
to load another adapter: the time, and the memory next to the adapter's own size.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click

from bench.common import bench_command, make_llama, median_ratio, report, rounds_argument
from core.answering.rows_in_one_pass import supports_rows
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.disk.sizes import GIB
from core.memory.hardware import sample_memory
from core.model.adapters_on_base import FIRST_ADAPTER, put_on
from core.model.load import load
from core.model.new_adapter import attach_adapter
from core.model.unsloth_start import import_unsloth
from core.model.views import for_inference
from core.settings.sections import AdapterConfig, ModelConfig
from core.training.train import write_adapter

TOKENS = 32
PROMPT = "<|begin_of_text|>The old man reads a book. "
ALONE = {"base": [None], "tuned": [FIRST_ADAPTER], "other": ["pane-2"]}
TOGETHER = {"pair": [None, FIRST_ADAPTER], "three": [None, FIRST_ADAPTER, "pane-2"]}


@bench_command(__doc__)
@rounds_argument(7)
@click.option("--tokens", type=click.IntRange(1), default=TOKENS, show_default=True, help="Tokens in each answer.")
@click.option("--hidden-size", default=768, show_default=True, help="Hidden size of the model, a multiple of 64.")
@click.option("--layers", default=14, show_default=True, help="Layers of the model.")
def main(rounds: int, tokens: int, hidden_size: int, layers: int) -> None:
    import_unsloth()  # before anything else imports torch, so that its threads wait as they do in the app
    with tempfile.TemporaryDirectory() as folder:
        path = make_llama(Path(folder), hidden_size, layers)
        config = ModelConfig(model_name=str(path), max_seq_length=512)
        loaded = load(config)
        attach_adapter(loaded, AdapterConfig(), use_gradient_checkpointing=False, seed=1)
        adapter = Path(folder) / "adapter"
        write_adapter(loaded, adapter)
        loaded = load(config)
        put_on(loaded, adapter, FIRST_ADAPTER)
        before, began = sample_memory().used_by_us_gib, time.monotonic()
        put_on(loaded, adapter, "pane-2")
        switch_s, switch_gib = time.monotonic() - began, sample_memory().used_by_us_gib - before
        with for_inference(loaded):
            if not supports_rows(loaded):
                raise SystemExit("This backend cannot answer several rows in one pass; a pair costs two answers.")
        found = {name: [] for name in (*ALONE, *TOGETHER)}
        for number in range(rounds + 1):
            for name, adapters in (ALONE | TOGETHER).items():
                seconds = seconds_of(loaded, adapters, tokens)
                if number:  # the first round warms up
                    found[name].append(seconds)
    pair_of = [statistics.mean(times) for times in zip(found["base"], found["tuned"], strict=True)]
    three_of = [statistics.mean(times) for times in zip(*(found[name] for name in ALONE), strict=True)]
    report(
        "pair",
        layers_4bit=f"{loaded.report.linear_layers_4bit} of {loaded.report.linear_layers}",
        parameters=loaded.report.parameters,
        tokens=tokens,
        **{f"{name}_s": statistics.median(times) for name, times in found.items()},
        pair_ratio=median_ratio(found["pair"], pair_of),
        pair_to_base=median_ratio(found["pair"], found["base"]),
        pair_to_tuned=median_ratio(found["pair"], found["tuned"]),
        three_ratio=median_ratio(found["three"], three_of),
        three_to_base=median_ratio(found["three"], found["base"]),
        three_to_tuned=median_ratio(found["three"], found["tuned"]),
        switch_s=switch_s,
        switch_gib=switch_gib,
        adapter_gib=sum(w.nbytes for name, w in loaded.model.named_parameters() if ".pane-2." in name) / GIB,
    )


def seconds_of(loaded, adapters: list[str | None], tokens: int = TOKENS) -> float:
    """How long the answers of these adapters take together, each of exactly `tokens` tokens."""
    began = time.monotonic()
    *_, answers = stream(loaded, [PROMPT] * len(adapters), adapters, Sampling(max_new_tokens=tokens), lambda: False)
    seconds = time.monotonic() - began
    if any(answer.tokens != tokens for answer in answers):
        raise SystemExit(f"An answer ended before {tokens} tokens, so the times cannot be compared.")
    return seconds


if __name__ == "__main__":
    main()
