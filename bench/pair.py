"""What two answers side by side cost beside one answer, on a 4-bit Llama of about 100M parameters.

    python -m bench.pair [ROUNDS]

The bar on a CPU: at most 1.35 times one answer. One answer is the mean of the base alone and the tuned alone, for a
pair is one of each; the ratios to either stand beside it.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.common import make_llama, median_ratio, report
from core.compare import PAIR, Sampling, _encode, _generate, supports_pair
from core.config import AdapterConfig, ModelConfig
from core.model import attach_adapter, base_view, for_inference, import_unsloth, load

TOKENS = 32
PROMPT = "<|begin_of_text|>The old man reads a book. "


def main(rounds: int = 7) -> None:
    import_unsloth()  # before anything else imports torch, so that its threads wait as they do in the app
    with tempfile.TemporaryDirectory() as folder:
        path = make_llama(Path(folder))
        loaded = load(ModelConfig(model_name=str(path), max_seq_length=512))
        attach_adapter(loaded, AdapterConfig(), use_gradient_checkpointing=False, seed=1)
        pair, base, tuned = [], [], []
        with for_inference(loaded):
            if not supports_pair(loaded):
                raise SystemExit("This backend does not carry the two-row pass; a pair costs two answers.")
            for number in range(rounds + 1):
                times = one_round(loaded)
                if number:  # the first round warms up
                    for seconds, kept in zip(times, (base, tuned, pair), strict=True):
                        kept.append(seconds)
    report(
        "pair",
        layers_4bit=f"{loaded.report.linear_layers_4bit} of {loaded.report.linear_layers}",
        parameters=loaded.report.parameters,
        tokens=TOKENS,
        pair_s=statistics.median(pair),
        base_s=statistics.median(base),
        tuned_s=statistics.median(tuned),
        ratio=median_ratio(pair, [(a + b) / 2 for a, b in zip(base, tuned, strict=True)]),
        ratio_to_base=median_ratio(pair, base),
        ratio_to_tuned=median_ratio(pair, tuned),
    )


def one_round(loaded) -> tuple[float, float, float]:
    """Seconds for the base alone, the tuned alone, and both at once."""
    inputs = _encode(loaded, [PROMPT])
    both = {key: value.repeat(2, 1) for key, value in inputs.items()}
    with base_view(loaded):
        base = seconds_of(loaded, inputs, rows=1)
    return base, seconds_of(loaded, inputs, rows=1), seconds_of(loaded, both, rows=2, adapter_names=PAIR)


def seconds_of(loaded, inputs, rows: int, **kwargs) -> float:
    began = time.monotonic()
    *_, answers = _generate(loaded, inputs, Sampling(max_new_tokens=TOKENS), lambda: False, rows, **kwargs)
    seconds = time.monotonic() - began
    if any(answer.tokens != TOKENS for answer in answers):
        raise SystemExit(f"An answer ended before {TOKENS} tokens; the times cannot be compared.")
    return seconds


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
