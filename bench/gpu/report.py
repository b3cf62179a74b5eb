"""Renders the record of measurements as `bench/GPU.md`: the same record always gives the same text."""

import statistics
import textwrap

from bench.gpu.plan import REAL_SHAPES, Measurement, checkpointing_word, measurements

HEAD = """# What was measured on a graphics card

Written by `python -m bench.gpu --write` from `bench/gpu/measured.json`; do not edit it. Measuring needs a CUDA card and
no network: models are built with random weights, whose values affect neither speed nor memory. One command
measures everything, and continues where it left off when you run it again:

    python -m bench.gpu && python -m bench.gpu --write

A model that does not fit on the card is recorded as such, and the rest is still measured; `--shapes 1b,3b` leaves the
8B out.
"""
NOTHING = """
**None of this has been measured yet.** The scripts have only been tried on a CPU, with a tiny model
(`python -m bench.gpu --shapes tiny --out tiny.json`). What each will measure, and its bar, is described below.
"""
NOT_YET = "not measured yet"
SPEED_BAR, PEAK_BAR = 0.99, 1.02  # at least the steps per second of a bare Unsloth script, at most its peak memory
MEDIAN_BAR, WORST_BAR = 0.05, 0.12
PAIR_BAR = 1.25


def render(results: dict[str, dict]) -> str:
    """The whole file. `results` is the record: by the measurement's name, its figures or its error."""
    real = {name: result for name, result in results.items() if "tiny" not in name}
    parts = [HEAD, _machines(real) if real else NOTHING]
    parts += [_tests(real), _pair(real), _speed(real), _memory(real)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _machines(results: dict[str, dict]) -> str:
    """Each machine that something was measured on, with its libraries."""
    found = {}
    for result in results.values():
        if "device" in result:
            gib = f", {result['device_gib']:.1f} GiB" if result["device_gib"] else ""
            versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
            found[f"{result['device']}{gib}; {versions}."] = None
    return "Measured on: " + "\n\nand on: ".join(found or ["an unknown machine, since nothing succeeded."])


def _tests(results: dict[str, dict]) -> str:
    words = (
        "The tests marked `gpu`: loading in 4-bit, embeddings with a learning rate of their own, base and tuned with "
        "trained embeddings under offloading checkpointing, several rows in one pass, stop, resume, running out "
        "of memory, the memory of a second run. The bar: all pass."
    )
    result = results.get("tests")
    found = [_sentence(failure[0])] if (failure := _failure(result)) else []
    if result and "outcomes" in result:
        rows = [[_plain(name), outcome.replace("|", "¦")] for name, outcome in result["outcomes"].items()]
        noted = [f"- {name}: {value}" for name, value in result["noted"].items()]
        found += [*([""] if found else []), *_table(["test", "outcome"], rows), "", *noted]
    return _section("What the app promises", "tests", words, found)


def _speed(results: dict[str, dict]) -> str:
    words = (
        "4-bit, rank 32 on all linear layers, batch 2 × 4, length 2048, offloading checkpointing, 8-bit AdamW. The "
        "bars: at least 0.99 times the steps per second of a bare Unsloth script and at most 1.02 times its peak "
        "memory. TRL, PEFT and bitsandbytes without Unsloth are there to compare with. Memory is what torch reserved "
        "at the peak of training; a step is the median after the warm-up."
    )
    rows = []
    for shape in REAL_SHAPES:
        ours = results.get(f"speed {shape} ours")
        for trainer, name in (("ours", "ours"), ("unsloth", "bare Unsloth"), ("trl", "TRL + PEFT")):
            result = results.get(f"speed {shape} {trainer}")
            cells = _failure(result) or [f"{result['steps_per_s']:.3f}", f"{result['reserved_gib']:.2f}"]
            rows.append([shape.upper(), name, *cells, *_ratios(trainer, ours, result)])
    header = ["size", "script", "steps/s", "peak GiB", "our speed", "our memory"]
    found = _table(header, rows) if _has(results, "speed") else [_sentence(NOT_YET)]
    return _section("Compared with other scripts", "speed", words, found)


def _ratios(trainer: str, ours: dict | None, theirs: dict | None) -> list[str]:
    """Ours to theirs, against a bare Unsloth script with the verdict."""
    if trainer == "ours" or _failure(ours) or _failure(theirs):
        return ["", ""]
    speed = ours["steps_per_s"] / theirs["steps_per_s"]
    memory = ours["reserved_gib"] / theirs["reserved_gib"]
    found = [f"{speed:.3f} times", f"{memory:.3f} times"]
    if trainer == "unsloth":
        found[0] += _verdict(speed >= SPEED_BAR)
        found[1] += _verdict(memory <= PEAK_BAR)
    return found


def _memory(results: dict[str, dict]) -> str:
    wanted = measurements(REAL_SHAPES, ["memory"])
    words = (
        f"{len(wanted)} settings of our run, rank 32 on all linear layers: lengths from 512 to 8192, batches from 1 to "
        "8, with and without trained embeddings, usual and offloading checkpointing. Memory is what torch reserved; "
        "the estimate is computed again from the record each time this is written. The bars: median error at most "
        f"{MEDIAN_BAR:.0%}, worst {WORST_BAR:.0%}."
    )
    rows, errors = [], []
    for one in wanted:
        result = results.get(one.name)
        cells = [*(_failure(result) or []), ""]
        if not _failure(result):
            measured, estimated = result["reserved_gib"], _estimate(one, result)
            errors.append(estimated / measured - 1)
            cells = [f"{measured:.2f}", f"{estimated:.2f}", f"{errors[-1]:+.1%}"]
        at = f"{one.arguments['length']} × {one.arguments['batch']}"
        embeddings = "trained" if one.arguments["embeddings"] else "frozen"
        rows.append([one.shape.upper(), at, embeddings, checkpointing_word(one.arguments["checkpointing"]), *cells])
    header = ["size", "length × batch", "embeddings", "checkpointing", "measured GiB", "estimate GiB", "error"]
    found = [_summary(errors), "", *_table(header, rows)] if _has(results, "memory") else [_sentence(NOT_YET)]
    return _section("Peak memory and the estimate", "memory", words, found)


def _summary(errors: list[float]) -> str:
    if not errors:
        return "None of them fitted."
    median, worst = statistics.median(map(abs, errors)), max(map(abs, errors))
    words = f"median {median:.1%}{_verdict(median <= MEDIAN_BAR)}, worst {worst:.1%}{_verdict(worst <= WORST_BAR)}"
    return f"Of {len(errors)} that fitted: {words}."


def _estimate(one: Measurement, result: dict) -> float:
    """In GiB, for a card with just the memory that was to be had then."""
    from core.memory.cards import Card
    from core.memory.estimate import estimate
    from core.memory.model_shape import ModelShape
    from core.settings.run_config import RunConfig

    config, shape = RunConfig.build(result["config"]), ModelShape(**result["model_shape"])
    is_gpu = result["device_gib"] is not None
    card = Card(name=result["device"], memory_gib=result["usable_gib"], is_gpu=is_gpu, kept_gib=0.0)
    return estimate(config, shape, card, longest=one.arguments["length"]).comparable_gib


def _pair(results: dict[str, dict]) -> str:
    words = (
        "What a pair costs on the 8B, 32 tokens each; one answer is the mean of base alone and tuned alone. One after "
        f"the other costs 2. The bar: as two rows of one pass at most {PAIR_BAR} times."
    )
    result = results.get("pair 8b")
    if failure := _failure(result):
        return _section("Base and tuned side by side", "pair", words, [_sentence(failure[0])])
    seconds = [f"{result[name]:.2f} s" for name in ("base_s", "tuned_s", "pair_s")]
    row = [
        *seconds,
        "yes" if result["one_pass"] else "no",
        f"{result['ratio']:.2f} times{_verdict(result['ratio'] <= PAIR_BAR)}",
    ]
    table = _table(["base alone", "tuned alone", "pair", "in one pass", "pair to one answer"], [row])
    return _section("Base and tuned side by side", "pair", words, table)


def _section(title: str, kind: str, words: str, found: list[str]) -> str:
    head = [f"## {title}", "", f"    python -m bench.gpu --only {kind}", "", textwrap.fill(words, 120), ""]
    return "\n".join([*head, *found])


def _has(results: dict[str, dict], kind: str) -> bool:
    return any(name.split()[0] == kind for name in results)


def _failure(result: dict | None) -> list[str] | None:
    """Two cells to show instead of figures that are missing."""
    if result is None:
        return [NOT_YET, ""]
    return [result["error"], ""] if "error" in result else None


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _verdict(is_met: bool) -> str:
    return ", met" if is_met else ", **missed**"


def _plain(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
