"""The estimate compared with published measurements: what each gives, and by how much they differ.

    python -m bench.memory POINTS.csv

A row of the CSV is a run that somebody measured: model, quant, rank, target_modules, batch, seq_len, grad_ckpt, attn,
peak_gb, unit, source. SOURCES below has what a source does not mention but its code does (loss, optimizer, precision of
the adapter), with the reason. A row is left out where its length is missing, or where its model or its source's code is
unknown; each is listed with the reason. Rows of the kind "max-context" give the longest row that fitted on a card,
instead of a measured peak: the card is then taken as full, and they are counted separately.
"""

import csv
import re
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from bench.common import bench_command, report
from core.disk.sizes import GIB
from core.memory.cards import CONTEXT_GIB
from core.memory.estimate import of_workload
from core.memory.known_shapes import FAMILIES
from core.memory.model_shape import ModelShape
from core.memory.workload import Workload
from core.settings.sections import ALL_TARGET_MODULES

GB = 1e9
ALL = tuple(ALL_TARGET_MODULES)

# By a part of the source's name: what its code does where the row does not say.
SOURCES: dict[str, dict[str, Any]] = {
    # transformers 4.39 and trainer with adamw_torch; 32-bit adapter under autocast, which copies each input.
    "LLaMA-Factory": {"optimizer": "adamw_torch", "loss": "shifted", "adapter_inputs": "copied"},
    # All in bfloat16, also Adam's states; dropout 0.05 in its recipes; losses in bfloat16; bitsandbytes 0.42; keys and
    # values are copied for each query head; an untied copy of the head.
    "litgpt": {
        "optimizer": "adamw_16bit",
        "loss": "half",
        "adapter_element": 2,
        "has_dropout": True,
        "keeps_inputs": True,
        "expands_keys": True,
    },
    # All in bfloat16; the loss in eight parts; no copy of the inputs.
    "torchtune": {"optimizer": "adamw_16bit", "loss": "chunked", "adapter_element": 2},
    # A 32-bit adapter without autocast: PEFT makes its inputs 32-bit. AdamW, transformers 5.
    "huggingface/peft": {"optimizer": "adamw_torch", "loss": "full", "adapter_inputs": "float32"},
    # 8-bit AdamW; its baseline is transformers of 2024 with FlashAttention 2, on a model that PEFT's
    # prepare_model_for_kbit_training made 32-bit where it is not 4-bit, as TRL then did.
    "unsloth": {"optimizer": "adamw_8bit", "loss": "shifted", "adapter_inputs": "copied", "stream_element": 4},
}


@dataclass(frozen=True)
class Point:
    """A row that can be compared: what was measured, in GiB, and what was estimated for it."""

    row: dict[str, str]
    measured_gib: float
    estimated_gib: float

    @property
    def error(self) -> float:
        return self.estimated_gib / self.measured_gib - 1


class LeftOut(Exception):
    """Why a row cannot be compared."""


def point_of(row: dict[str, str]) -> Point:
    """Raises LeftOut."""
    if not row["seq_len"].strip():
        raise LeftOut("its length is not given")
    unit = row["unit"]
    # Decimal only where the source says so; cards and nvidia-smi count in binary whatever they call it.
    measured = float(row["peak_gb"]) * (GB / GIB if "1e9" in unit else 1.0)
    seen_by_torch = any(word in unit for word in ("allocated", "reserved", "active")) or unit == "GiB"
    holds_unused = "allocated" not in unit and "active" not in unit and unit != "GiB"
    found = of_workload(workload_of(row), 0.0 if seen_by_torch else CONTEXT_GIB, holds_unused=holds_unused)
    return Point(row, measured, found.total_gib)


def workload_of(row: dict[str, str]) -> Workload:
    """Raises LeftOut for a model or a setting that is not known."""
    source = next((settings for name, settings in SOURCES.items() if name.lower() in row["source"].lower()), None)
    if source is None:
        raise LeftOut("its source's code is not known")
    shape = shape_of(row["model"])
    if "litgpt" in row["source"]:
        shape = shape.model_copy(update={"tied_embeddings": False})
    targets = _targets(row["target_modules"])
    work = Workload(
        shape=shape,
        batch=int(row["batch"]),
        length=int(row["seq_len"]),
        r=int(row["rank"]),
        targets=targets,
        adapts_head="lm_head" in row["target_modules"],
        quantization=_quantization(row),
        checkpointing=_checkpointing(row["grad_ckpt"]),
        attention="eager" if "eager" in row["attn"] else "flash",
        kernels="torch",
        **source,
    )
    return _with_unsloth(work, row) if "unsloth" in row["attn"] else work


def _with_unsloth(work: Workload, row: dict[str, str]) -> Workload:
    """Its kernels. Its loss in parts came in November 2024, for cards since Ampere; otherwise it is whole."""
    in_parts = "Llama-3.1" in row["model"] or "Llama-3.3" in row["model"]
    loss = "fused" if in_parts else "unsloth-full"
    return replace(work, kernels="unsloth", loss=loss, stream_element=2, expands_keys="xformers" in row["attn"])


def shape_of(model: str) -> ModelShape:
    """By its name without owner and ending. Raises LeftOut."""
    name = re.sub(r"-(instruct|chat|hf|bnb-4bit)", "", model.lower().rpartition("/")[2])
    name = re.sub(r"^(meta-)?llama-?(\d)", r"llama-\2", name)
    name = "tinyllama" if name.startswith("tinyllama") else name
    if name not in FAMILIES:
        raise LeftOut(f"the shape of {model} is not known")
    return ModelShape.build(FAMILIES[name], model)


def _targets(words: str) -> tuple[str, ...]:
    names = [word for word in re.split(r"[ ,+()]+", words.lower()) if word]
    if "all" in names:
        return ALL
    made = {"mlp": ("gate_proj", "up_proj", "down_proj")}
    found = [target for name in names for target in made.get(name, (f"{name}_proj",)) if target in ALL]
    return tuple(dict.fromkeys(found))


def _quantization(row: dict[str, str]) -> str:
    quant = row["quant"]
    if not quant.startswith("nf4"):
        return "none"
    # litgpt names the double one; the others' is double by default.
    return "nf4" if quant == "nf4" and "litgpt" in row["source"] else "nf4-dq"


def _checkpointing(words: str) -> str | bool:
    if "unsloth" in words or "offload" in words:
        return "unsloth"
    return words.startswith("yes")


def read_points(path: Path) -> tuple[list[Point], list[tuple[dict[str, str], str]]]:
    """The rows of the CSV that can be compared, and the others each with the reason."""
    points, left_out = [], []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                points.append(point_of(row))
            except LeftOut as why:
                left_out.append((row, str(why)))
    return points, left_out


@bench_command(__doc__)
@click.argument("path", metavar="POINTS.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path: Path) -> None:
    points, left_out = read_points(path)
    print(
        f"{'model':<24}{'quant':<8}{'r':>4}{'batch':>6}{'length':>8}  {'checkpoints':<13}{'attention':<17}"
        f"{'measured':>10}{'estimate':>10}{'error':>8}"
    )
    for point in sorted(points, key=lambda point: abs(point.error)):
        row = point.row
        print(
            f"{row['model'][:23]:<24}{row['quant'][:7]:<8}{row['rank']:>4}{row['batch']:>6}{row['seq_len']:>8}  "
            f"{row['grad_ckpt']:<13}{row['attn']:<17}"
            f"{point.measured_gib:>8.2f} G{point.estimated_gib:>8.2f} G{point.error:>+8.1%}"
        )
    for row, why in left_out:
        print(f"left out: {row['model']} {row['quant']} r={row['rank']} ({row['source'].split(' ')[0]}): {why}")
    for kind in dict.fromkeys(point.row["kind"] for point in points):
        _report(kind, [point for point in points if point.row["kind"] == kind])
    _report("all", points, left_out=len(left_out))


def _report(kind: str, points: list[Point], **more: int) -> None:
    errors = [abs(point.error) for point in points]
    report(f"memory, {kind}", rows=len(errors), median_error=statistics.median(errors), worst=max(errors), **more)


if __name__ == "__main__":
    main()
