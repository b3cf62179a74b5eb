"""What two and three answers side by side cost beside one answer, on a 4-bit Llama of about 100M parameters.

    python -m bench.pair [ROUNDS]

The bars on a CPU: a pair at most 1.35 times one answer, three panes at most 1.7 times. One answer is the mean of those
alone that stand in the panes: the base, and adapters with trained embeddings. The ratios to the base alone and to one
tuned alone stand beside them. Last what it takes to put another adapter on, and the memory that this takes beside the
adapter's own size.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.common import make_llama, median_ratio, report
from core.answering.rows_in_one_pass import supports_rows
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.memory.hardware import sample_memory
from core.model.adapters_on_base import FIRST, put_on
from core.model.load import GIB, load
from core.model.new_adapter import attach_adapter
from core.model.unsloth_start import import_unsloth
from core.model.views import for_inference
from core.settings.sections import AdapterConfig, ModelConfig

TOKENS = 32
PROMPT = "<|begin_of_text|>The old man reads a book. "
ALONE = {"base": [None], "tuned": [FIRST], "other": ["pane-2"]}
TOGETHER = {"pair": [None, FIRST], "three": [None, FIRST, "pane-2"]}


def main(rounds: int = 7) -> None:
    import_unsloth()  # before anything else imports torch, so that its threads wait as they do in the app
    with tempfile.TemporaryDirectory() as folder:
        path = make_llama(Path(folder))
        config = ModelConfig(model_name=str(path), max_seq_length=512)
        loaded = load(config)
        attach_adapter(loaded, AdapterConfig(), use_gradient_checkpointing=False, seed=1)
        adapter = Path(folder) / "adapter"
        loaded.model.save_pretrained(adapter)
        loaded = load(config)
        put_on(loaded, adapter, FIRST)
        before, began = sample_memory().used_by_us_gib, time.monotonic()
        put_on(loaded, adapter, "pane-2")
        switch_s, switch_gib = time.monotonic() - began, sample_memory().used_by_us_gib - before
        with for_inference(loaded):
            if not supports_rows(loaded):
                raise SystemExit("This backend does not carry the pass of several rows; a pair costs two answers.")
        found = {name: [] for name in (*ALONE, *TOGETHER)}
        for number in range(rounds + 1):
            for name, adapters in (ALONE | TOGETHER).items():
                seconds = seconds_of(loaded, adapters)
                if number:  # the first round warms up
                    found[name].append(seconds)
    pair_of = [statistics.mean(times) for times in zip(found["base"], found["tuned"], strict=True)]
    three_of = [statistics.mean(times) for times in zip(*(found[name] for name in ALONE), strict=True)]
    report(
        "pair",
        layers_4bit=f"{loaded.report.linear_layers_4bit} of {loaded.report.linear_layers}",
        parameters=loaded.report.parameters,
        tokens=TOKENS,
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


def seconds_of(loaded, adapters: list[str | None]) -> float:
    began = time.monotonic()
    *_, answers = stream(loaded, [PROMPT] * len(adapters), adapters, Sampling(max_new_tokens=TOKENS), lambda: False)
    seconds = time.monotonic() - began
    if any(answer.tokens != TOKENS for answer in answers):
        raise SystemExit(f"An answer ended before {TOKENS} tokens; the times cannot be compared.")
    return seconds


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
