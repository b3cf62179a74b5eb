"""What probes measured on this machine, kept below the runs. Knows nothing of torch, threads or gradio.

    runs/probes/<key>.jsonl   of one machine and one model: a line for each set of settings probed, the newest last

A line that is no record, such as one that was damaged, is passed over and stays where it is.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from core.disk.atomic import write_whole
from core.memory.cards import this_machine
from core.memory.estimate import estimate
from core.memory.hardware import Machine, detect_machine
from core.memory.model_shape import shape_of
from core.memory.parts import FORMULAS
from core.memory.probe_record import ProbeRecord, memory_settings
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of

FOLDER = "probes"
MOST = 200  # lines kept of one machine and model


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
