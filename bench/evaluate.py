"""Rows per minute of an evaluation, compared with generating row by row, on a 4-bit Llama with random weights.

    python -m bench.evaluate [ROWS] [HIDDEN_SIZE] [LAYERS]

The bar: at least 4 times the rows per minute. A row is answered by the base and by the tuned model, with the same limit
of tokens both ways. Ours does everything that an evaluation does, including losses, measures and intervals. Row by row
is transformers' generate alone, on some of the same rows, before and after ours, so that a slow spell hits both.
"""

import tempfile
import time
from pathlib import Path

import click

from bench.common import PROJECT, bench_command, make_llama, report
from core.data.prepared.prepare import prepare
from core.evaluation.batched_answers import answer_limit
from core.evaluation.evaluate import evaluate
from core.evaluation.question_rows import row_of
from core.model.adapters_on_base import FIRST_ADAPTER
from core.model.load import load
from core.model.new_adapter import attach_adapter
from core.model.unsloth_start import import_unsloth
from core.model.views import adapter_view, for_inference
from core.settings.sections import AdapterConfig, DataConfig, ModelConfig


@bench_command(__doc__)
@click.argument("count", metavar="[ROWS]", type=click.IntRange(1), default=64)
@click.argument("hidden_size", default=512)
@click.argument("layers", default=8)
@click.option(
    "--one-by-one", type=click.IntRange(1), default=6, show_default=True, help="Rows to answer one by one, each time."
)
def main(count: int, hidden_size: int, layers: int, one_by_one: int) -> None:
    import_unsloth()
    with tempfile.TemporaryDirectory() as folder:
        path = make_llama(Path(folder), hidden_size, layers)
        loaded = load(ModelConfig(model_name=str(path), max_seq_length=512))
        attach_adapter(loaded, AdapterConfig(), use_gradient_checkpointing=False, seed=1)
        data = DataConfig(path=str(PROJECT / "presets/data/yoda.jsonl"), validation_share=0.0)
        examples = prepare(data, loaded.tokenizer, 512, True).train[:count]
        rows = [row_of(example, loaded.tokenizer) for example in examples]
        limit = answer_limit(rows)
        some_rows = rows[:: max(len(rows) // one_by_one, 1)][:one_by_one]
        seconds_one_by_one(loaded, rows[:1], limit)  # warms up
        before = seconds_one_by_one(loaded, some_rows, limit)
        began = time.monotonic()
        found = evaluate(loaded, (None, FIRST_ADAPTER), rows, lambda: False, lambda share, words: None)
        seconds = time.monotonic() - began
        after = seconds_one_by_one(loaded, some_rows, limit)
    alone = (before + after) / (2 * len(some_rows))
    report(
        "evaluate",
        parameters=loaded.report.parameters,
        layers_4bit=f"{loaded.report.linear_layers_4bit} of {loaded.report.linear_layers}",
        rows=len(rows),
        max_new_tokens=limit,
        tokens_an_answer=found.measure("length").base,
        rows_a_minute=60 * len(rows) / seconds,
        one_by_one_rows_a_minute=60 / alone,
        ratio=len(rows) * alone / seconds,
    )


def seconds_one_by_one(loaded, rows, limit: int) -> float:
    """How long both models take to answer these rows with transformers' generate, one row at a time."""
    import torch

    began = time.monotonic()
    with for_inference(loaded), torch.inference_mode():
        for name in (None, FIRST_ADAPTER):
            with adapter_view(loaded, name) as model:
                for row in rows:
                    ids = torch.tensor([row.question], device=model.device)
                    model.generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        do_sample=False,
                        max_new_tokens=limit,
                        pad_token_id=loaded.tokenizer.pad_token_id,
                        eos_token_id=loaded.eos_token_ids,
                    )
    return time.monotonic() - began


if __name__ == "__main__":
    main()
