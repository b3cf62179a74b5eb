"""Runs one measurement in a process that does nothing else; its last line of output is the result as JSON.

    python -m bench.gpu.measure speed '{"shape": "1b", "trainer": "ours"}'

Memory is the peak of training, counted once the model is loaded with its adapter: how much torch reserved on the card,
and how much of it was allocated. Without a card it is the program's resident memory. The seconds of a step are the
median after the warm-up, each until the device has done its work.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.gpu import card, llama, plan, scripts

PAIR_ROUNDS = 5


class Clock:
    """Notes when each step ended, once the device had done its work."""

    def __init__(self):
        self._ends: list[float] = []

    def tick(self) -> None:
        card.synchronise()
        self._ends.append(time.perf_counter())

    @property
    def seconds_per_step(self) -> float:
        """The median after the warm-up."""
        ends = self._ends[plan.WARM_UP_STEPS - 1 :]
        return statistics.median(after - before for before, after in zip(ends, ends[1:], strict=False))


def make(shape: str) -> dict:
    return {"model": llama.make(shape)}


def speed(shape: str, trainer: str) -> dict:
    """Steps a second and peak memory of one of the three trainers."""
    model = llama.make(shape)
    config = plan.speed_config(shape, model, llama.write_rows(plan.speed_length(shape)))
    clock = Clock()
    train = {"ours": _train_ours, "unsloth": scripts.train_with_unsloth, "trl": scripts.train_with_trl}[trainer]
    train(config, clock.tick, card.start_counting)
    return {"steps_per_s": 1 / clock.seconds_per_step, **card.peak()}


def memory(shape: str, length: int, batch: int, embeddings: bool, checkpointing: str | bool) -> dict:
    """Peak memory of our run, with all that the estimate needs, so that it can be computed again without a card."""
    from core.memory.model_shape import shape_of

    model = llama.make(shape)
    config = plan.memory_config(model, llama.write_rows(length), length, batch, embeddings, checkpointing)
    clock = Clock()
    _train_ours(config, clock.tick, card.start_counting)
    return {
        "config": config.model_dump(),
        "model_shape": shape_of(config.model).model_dump(),
        "usable_gib": card.usable_gib(),
        **card.peak(),
    }


def pair(shape: str) -> dict:
    """What base and tuned side by side cost: seconds, and their ratio to the mean of each answer alone."""
    import torch

    from bench.common import median_ratio
    from bench.pair import seconds_of
    from core.answering.rows_in_one_pass import supports_rows
    from core.model.adapters_on_base import FIRST_ADAPTER
    from core.model.load import load
    from core.model.new_adapter import attach_adapter
    from core.model.views import for_inference
    from core.settings.sections import AdapterConfig, ModelConfig

    loaded = load(ModelConfig(model_name=llama.make(shape), max_seq_length=1024))
    adapter = AdapterConfig(r=32, lora_alpha=32, modules_to_save=[])
    attach_adapter(loaded, adapter, use_gradient_checkpointing=False, seed=1)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:  # or the adapter would change nothing, and a pass without it would look right
            torch.nn.init.normal_(weight, std=0.02)
    with for_inference(loaded):
        one_pass = supports_rows(loaded)
    found: dict[str, list[float]] = {"base": [], "tuned": [], "pair": []}
    for number in range(PAIR_ROUNDS + 1):
        for name, adapters in (("base", [None]), ("tuned", [FIRST_ADAPTER]), ("pair", [None, FIRST_ADAPTER])):
            card.synchronise()
            seconds = seconds_of(loaded, adapters)
            if number:  # the first round warms up
                found[name].append(seconds)
    alone = [statistics.mean(times) for times in zip(found["base"], found["tuned"], strict=True)]
    seconds = {f"{name}_s": statistics.median(times) for name, times in found.items()}
    return {"one_pass": one_pass, **seconds, "ratio": median_ratio(found["pair"], alone)}


def tests() -> dict:
    """The outcome of each test marked `gpu`, and the properties that they recorded. Printed after each test, too, in
    case that time runs out before the last."""
    import pytest

    class Outcomes:
        outcomes: dict[str, str] = {}
        noted: dict[str, str] = {}

        def pytest_runtest_logreport(self, report) -> None:
            if report.when == "call" or report.failed:
                why = f": {report.longrepr.reprcrash.message.splitlines()[0][:200]}" if report.failed else ""
                self.outcomes[report.nodeid.rpartition("::")[2]] = f"{report.outcome}{why}"
            self.noted |= {name: str(value) for name, value in report.user_properties}
            if report.when == "teardown":
                so_far = {"error": "ended before the last test", "outcomes": self.outcomes, "noted": self.noted}
                print("\n" + json.dumps(so_far), flush=True)

    one_process = ["-o", "addopts=", "-s", "-p", "no:cacheprovider"]
    pytest.main([*one_process, "-q", "-m", "gpu", "tests/journeys/test_gpu.py"], plugins=[found := Outcomes()])
    if not found.outcomes:
        raise SystemExit("No test ran, because torch sees no CUDA device.")
    return {"outcomes": found.outcomes, "noted": found.noted}


def _train_ours(config, tick, begin) -> None:
    """Trains as the app does, without the page."""
    from core.data.prepared.prepare import prepare
    from core.model.device_memory import free_memory
    from core.model.load import load
    from core.model.new_adapter import attach_adapter
    from core.runs.events import StepDone
    from core.training.train import train

    training = config.training
    loaded = load(config.model, use_gradient_checkpointing=training.use_gradient_checkpointing)
    attach_adapter(loaded, config.adapter, training.use_gradient_checkpointing, training.seed)
    length = config.model.max_seq_length
    data = prepare(config.data, loaded.tokenizer, length, training.completion_only_loss)
    if set(data.train.figures["kept"]) != {length}:
        raise SystemExit(f"The rows do not all have {length} tokens, so this would not measure that length.")

    def tick_at_steps(event) -> None:
        if isinstance(event, StepDone):
            tick()

    free_memory()
    begin()
    with tempfile.TemporaryDirectory() as folder:
        train(loaded, config, data, Path(folder) / "adapter", tick_at_steps, lambda: False)


def main(kind: str, arguments: str) -> None:
    from core.model.device_memory import is_out_of_memory

    measure = {"make": make, "speed": speed, "memory": memory, "pair": pair, "tests": tests}[kind]
    try:
        result = measure(**json.loads(arguments))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        result = {"error": "out of memory"}
    print(json.dumps({**result, **card.described()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
