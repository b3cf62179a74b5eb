"""What probes measured on this machine, kept below the runs. Knows nothing of torch, threads or gradio.

    runs/probes/<key>.jsonl   of one machine and one model: a line for each set of settings probed, the newest last

A line that is no record, such as one that was damaged, is passed over and stays where it is.
"""

import hashlib
import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator

from core.disk.atomic import write_whole
from core.estimate.cards import this_machine
from core.estimate.shape import shape_of
from core.estimate.total import FORMULAS, PARTS, Estimate, estimate
from core.hardware import Machine, detect_machine
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of

FOLDER = "probes"
MOST = 200  # lines kept of one machine and model
# Settings on which memory depends; of the last two only whether they are more than that.
_NAMES = (
    "model.max_seq_length", "model.dtype", "model.load_in_4bit", "adapter.r", "adapter.target_modules",
    "adapter.modules_to_save", "adapter.trainable_tokens", "training.per_device_train_batch_size", "training.optim",
    "training.use_gradient_checkpointing", "training.packing",
)  # fmt: skip
_ABOVE = {"adapter.lora_dropout": 0, "training.gradient_accumulation_steps": 1}


class ProbeRecord(BaseModel, frozen=True):
    """One probe. `machine` and `total_gib` as in `core.hardware.Machine`; `model` as `ModelConfig.base`.

    `settings` are those on which memory depends (`memory_settings`), `length` the tokens of each row of the probe.
    `estimate` is the uncorrected one for just that; `peak_gib` compares with its `comparable_gib`. `steps` are those of
    a whole run at these settings, 0 when they are not known, and `at` is the time in ISO 8601. `formulas` are those of
    the estimate, as `core.estimate.total.FORMULAS` counts them; 0: from before they were counted.
    """

    machine: str
    total_gib: float = Field(gt=0, lt=1e6, allow_inf_nan=False)
    model: tuple[str | bool | None, ...]
    settings: dict[str, Any]
    length: int = Field(ge=1, le=10**7)
    estimate: Estimate
    formulas: int = 0
    peak_gib: float = Field(gt=0, lt=1e6, allow_inf_nan=False)
    seconds_per_step: float = Field(ge=0, lt=1e9, allow_inf_nan=False)
    steps: int = Field(0, ge=0, le=10**9)
    at: str = Field(default_factory=lambda: datetime.now().isoformat(timespec="seconds"))

    @field_validator("estimate")
    @classmethod
    def _of_all_parts(cls, found: Estimate) -> Estimate:
        if found.parts.keys() != PARTS.keys():
            raise ValueError("an estimate of other parts")
        return found

    def is_of(self, machine: Machine, config: RunConfig) -> bool:
        """Whether it was made on this machine with this model, and compares with the estimates of today."""
        is_here = self.machine == machine.name and abs(self.total_gib - machine.total_gib) < 0.5
        # How far older formulas were off says nothing of these.
        return is_here and self.model == config.model.base and self.formulas == FORMULAS


def memory_settings(config: RunConfig) -> dict[str, Any]:
    """The settings on which a run's memory depends, by dotted name, as plain values that JSON gives back equal."""
    values = config.model_dump(mode="json")

    def value(name: str) -> Any:
        part, _, field = name.partition(".")
        found = values[part].get(field)
        return sorted(found) if isinstance(found, list) else found

    above = {f"{name} > {bound}": value(name) > bound for name, bound in _ABOVE.items()}
    return {name: value(name) for name in _NAMES} | above


def measured_here(
    runs_dir: Path, config: RunConfig, length: int, peak_gib: float, seconds_per_step: float, rows: int | None
) -> tuple[ProbeRecord, str]:
    """A record of what was measured just now, kept; and a sentence when it could not be kept, else "".

    The model is on this machine by now. `rows` are the run's training rows, where they are known. Raises ModelError
    when there is no estimate of such a model to set beside it.
    """
    machine = detect_machine()
    record = ProbeRecord(
        machine=machine.name,
        total_gib=machine.total_gib,
        model=config.model.base,
        settings=memory_settings(config),
        length=length,
        estimate=estimate(config, shape_of(config.model, fetch=False), this_machine(machine), longest=length),
        formulas=FORMULAS,
        peak_gib=peak_gib,
        seconds_per_step=seconds_per_step,
        steps=steps_of(config, rows),
    )
    try:
        keep(runs_dir, record)
    except OSError as error:
        return record, f"What was measured could not be kept on disk: {error.strerror or error}; make room there."
    return record, ""


def keep(runs_dir: Path, record: ProbeRecord) -> None:
    """Adds a record, in place of an older one of the same settings and length. Raises OSError."""
    file = _file(runs_dir, record.machine, record.model)
    key = (record.settings, record.length)
    # A line that cannot be read is not ours to throw away.
    others = [line for line in _lines(file) if (r := _record(line)) is None or (r.settings, r.length) != key]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "".join(f"{line}\n" for line in [*others, record.model_dump_json()][-MOST:]))


def latest_probe(runs_dir: Path, machine: Machine, config: RunConfig) -> ProbeRecord | None:
    """The newest probe of this machine and model with just these settings, else the newest of any; None without one."""
    return exact_probe(runs_dir, machine, config) or next(reversed(_of_model(runs_dir, machine, config)), None)


def exact_probe(runs_dir: Path, machine: Machine, config: RunConfig, longest: int | None = None) -> ProbeRecord | None:
    """The newest probe of this machine and model with just these settings; first of all one on rows of `longest` tokens."""
    records = [record for record in _of_model(runs_dir, machine, config) if record.settings == memory_settings(config)]
    return next(reversed([r for r in records if r.length == longest] or records), None)


def _of_model(runs_dir: Path, machine: Machine, config: RunConfig) -> list[ProbeRecord]:
    """All of this machine and model, the newest last."""
    found = map(_record, _lines(_file(runs_dir, machine.name, config.model.base)))
    return [record for record in found if record is not None and record.is_of(machine, config)]


def _file(runs_dir: Path, machine: str, model: tuple) -> Path:
    key = hashlib.blake2b(json.dumps([machine, *model]).encode(), digest_size=10).hexdigest()
    return runs_dir / FOLDER / f"{key}.jsonl"


def _lines(file: Path) -> list[str]:
    text = ""
    with suppress(OSError):
        if file.is_file():  # to open a pipe would be to wait for ever
            text = file.read_bytes().decode("utf-8", "replace")
    return [line for line in text.split("\n") if line.strip()]


def _record(line: str) -> ProbeRecord | None:
    try:
        return ProbeRecord.model_validate_json(line)
    except ValidationError:
        return None
