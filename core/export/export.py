"""Exports a run: what is written, where, and how much disk it needs."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.disk.atomic import is_disk_full, put_in_place
from core.export.adapter_folder import write_adapter_folder
from core.export.merged_folder import merged_bytes, write_merged
from core.export.merged_weights import Base, merged
from core.export.source import Source
from core.model.download import Report
from core.problems import ExportError
from core.runs.run_folder import Run
from core.stopping import ShouldStop

Kind = Literal["adapter", "merged"]
Dtype = Literal["bfloat16", "float16", "float32"]
NO_ROOM = (
    "The export needs {needed_gb:.2f} GB and the disk of {folder} has {free_gb:.2f} GB free: make room, or choose "
    "another folder."
)
DISK_FULL = "The disk of {folder} is full, so nothing was exported; make room and export again."
CANNOT_WRITE = "The export cannot be written to {folder} ({reason}); choose another folder."
GB = 10**9


@dataclass(frozen=True)
class Wanted:
    """What to export, and the folder to write. `onto` and `dtype` are for a merged model."""

    to: Kind
    out: Path
    dtype: Dtype = "bfloat16"
    onto: Base = "trained"


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export, with its size in bytes and its SHA-256 in hexadecimal."""

    path: Path
    bytes: int
    sha256: str


def default_folder(run: Run, to: Kind, step: int | None = None) -> Path:
    """Where an export goes unless a folder is given: into the run's own folder."""
    return run.folder / "exports" / (to if step is None else f"{to}-step-{step}")


def write_export(
    source: Source,
    wanted: Wanted,
    report: Report = lambda text, share: None,
    should_stop: ShouldStop = lambda: False,
) -> None:
    """Writes the export into `wanted.out`, which is replaced whole or not at all.

    Raises ExportError if the disk has no room or cannot be written, ModelError if the adapter cannot be merged, and
    Stopped within a second or so after `should_stop` says so.
    """
    out = wanted.out
    with errors_of_disk(out):
        if wanted.to == "adapter":
            _check_room(out, source.weights.stat().st_size)
            put_in_place(out, lambda folder: write_adapter_folder(folder, source))
            return
        with merged(source, wanted.onto) as weights:
            _check_room(out, merged_bytes(weights, wanted.dtype))

            def progress(share: float) -> None:
                report("Writing the merged model", share)

            put_in_place(out, lambda folder: write_merged(folder, source, weights, wanted.dtype, progress, should_stop))


def files_of(out: Path) -> tuple[ExportedFile, ...]:
    """The files of an export, by name. Raises ExportError if they cannot be read."""
    with errors_of_disk(out):
        return tuple(_described(file) for file in sorted(out.iterdir()))


@contextmanager
def errors_of_disk(out: Path) -> Iterator[None]:
    """Turns OSErrors into ExportErrors about the folder `out`."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise ExportError(DISK_FULL, folder=str(out)) from None
        raise ExportError(CANNOT_WRITE, folder=str(out), reason=error.strerror or error) from None


def _check_room(out: Path, needed: int) -> None:
    """Raises ExportError if the disk has less room than `needed` bytes."""
    place = next(folder for folder in (out, *out.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ExportError(NO_ROOM, folder=str(out), needed_gb=needed / GB, free_gb=free / GB)


def _described(file: Path) -> ExportedFile:
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
    return ExportedFile(file, file.stat().st_size, digest.hexdigest())
