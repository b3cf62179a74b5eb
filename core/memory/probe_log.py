"""The probes that were made on this machine.

    runs/probes/<key>.jsonl   for one machine and one model: a line per set of settings, the newest last

Lines that cannot be read are skipped, but stay in the file.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from core.disk.atomic import write_whole
from core.disk.json_lines import read_lines
from core.disk.tolerant_reading import in_words
from core.memory.cards import this_machine
from core.memory.estimate import estimate
from core.memory.hardware import Machine, detect_machine
from core.memory.model_shape import shape_of
from core.memory.parts import FORMULAS
from core.memory.probe_record import ProbeRecord, memory_settings
from core.problems import tr
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of

PROBES_FOLDER = "probes"
MAX_LINES = 200  # kept per machine and model


def measured_here(
    runs_dir: Path, config: RunConfig, length: int, peak_gib: float, seconds_per_step: float, rows: int | None
) -> tuple[ProbeRecord, str]:
    """Saves what was measured just now. Returns the record, and a sentence if it could not be saved, else "".

    The model must be on this machine. `rows` is the number of training rows, if known. Raises ModelError if there is no
    estimate for such a model to compare with.
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
        said = tr(
            "The probe's result could not be saved: {reason}; free some space on the disk.", reason=in_words(error)
        )
        return record, said
    return record, ""


def keep(runs_dir: Path, record: ProbeRecord) -> None:
    """Saves a record, replacing an older one of the same settings and length. Raises OSError."""
    file = _file(runs_dir, record.machine, record.model)
    key = (record.settings, record.length)
    # Unreadable lines may be from another version, so they stay.
    others = [line for line in _lines(file) if (r := _record(line)) is None or (r.settings, r.length) != key]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "".join(f"{line}\n" for line in [*others, record.model_dump_json()][-MAX_LINES:]))


def latest_probe(runs_dir: Path, machine: Machine, config: RunConfig) -> ProbeRecord | None:
    """The newest probe of this machine and model with exactly these settings, else with any; None if there is none."""
    return exact_probe(runs_dir, machine, config) or next(reversed(_of_model(runs_dir, machine, config)), None)


def exact_probe(runs_dir: Path, machine: Machine, config: RunConfig, longest: int | None = None) -> ProbeRecord | None:
    """The newest probe of this machine and model with exactly these settings, ideally on rows of `longest` tokens."""
    records = [record for record in _of_model(runs_dir, machine, config) if record.settings == memory_settings(config)]
    return next(reversed([r for r in records if r.length == longest] or records), None)


def _of_model(runs_dir: Path, machine: Machine, config: RunConfig) -> list[ProbeRecord]:
    """All probes of this machine and model, the newest last."""
    found = map(_record, _lines(_file(runs_dir, machine.name, config.model.base)))
    return [record for record in found if record is not None and record.is_of(machine, config)]


def _file(runs_dir: Path, machine: str, model: tuple) -> Path:
    key = hashlib.blake2b(json.dumps([machine, *model]).encode(), digest_size=10).hexdigest()
    return runs_dir / PROBES_FOLDER / f"{key}.jsonl"


def _lines(file: Path) -> list[str]:
    lines: list[bytes] = []
    with suppress(OSError):
        lines = read_lines(file)
    return [line.decode("utf-8", "replace") for line in lines]


def _record(line: str) -> ProbeRecord | None:
    try:
        return ProbeRecord.model_validate_json(line)
    except ValidationError:
        return None
