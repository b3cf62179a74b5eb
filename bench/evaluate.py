"""Rows a minute of an evaluation beside one-by-one generation, on a 4-bit Llama of random weights.

    python -m bench.evaluate [ROWS] [HIDDEN_SIZE] [LAYERS]

The bar: at least 4 times the rows a minute. A row is answered by the base and by the tuned model, with as many tokens
at most both ways. Ours does all that an evaluation does, losses, measures and intervals among it; one by one is
transformers' generate alone, on some of the same rows, before and after ours, so that a slow spell hits both.
"""

import sys
import tempfile
import time
from pathlib import Path

from bench.common import PROJECT, make_llama, report
from core.data.prepared.prepare import prepare
from core.evaluation.batched_answers import answer_limit
from core.evaluation.evaluate import evaluate
from core.evaluation.question_rows import row_of
from core.model.adapters_on_base import FIRST
from core.model.load import load
from core.model.new_adapter import attach_adapter
from core.model.unsloth_start import import_unsloth
from core.model.views import adapter_view, for_inference
from core.settings.sections import AdapterConfig, DataConfig, ModelConfig

ALONE = 6  # rows answered one by one, before and after


def main(count: int = 64, hidden_size: int = 512, layers: int = 8) -> None:
    import_unsloth()
    with tempfile.TemporaryDirectory() as folder:
        path = make_llama(Path(folder), hidden_size, layers)
        loaded = load(ModelConfig(model_name=str(path), max_seq_length=512))
        attach_adapter(loaded, AdapterConfig(), use_gradient_checkpointing=False, seed=1)
        data = DataConfig(path=str(PROJECT / "presets/data/yoda.jsonl"), validation_share=0.0)
        examples = prepare(data, loaded.tokenizer, 512, True).train[:count]
        rows = [row_of(example, loaded.tokenizer) for example in examples]
        limit = answer_limit(rows)
        step = max(len(rows) // ALONE, 1)
        seconds_one_by_one(loaded, rows[:1], limit)  # warms up
        before = seconds_one_by_one(loaded, rows[::step][:ALONE], limit)
        began = time.monotonic()
        found = evaluate(loaded, (None, FIRST), rows, lambda: False, lambda share, words: None)
        seconds = time.monotonic() - began
        after = seconds_one_by_one(loaded, rows[::step][:ALONE], limit)
    alone = (before + after) / (2 * len(rows[::step][:ALONE]))
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
    """For both models to answer these rows with transformers' generate, one row at a time."""
    import torch

    began = time.monotonic()
    with for_inference(loaded), torch.inference_mode():
        for name in (None, FIRST):
            with adapter_view(loaded, name) as model:
                for row in rows:
                    ids = torch.tensor([row.question], device=model.device)
                    model.generate(
                        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=limit,
                        pad_token_id=loaded.tokenizer.pad_token_id, eos_token_id=loaded.eos_token_ids,
                    )  # fmt: skip
    return time.monotonic() - began


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
