"""Exports a run: what is written, where, and how much disk it needs."""

import hashlib
import shutil
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
from core.stopping import ShouldStop

Kind = Literal["adapter", "merged"]
DTYPES = ("bfloat16", "float16", "float32")
Dtype = Literal["bfloat16", "float16", "float32"]
NO_ROOM = (
    "The export needs {needed_gb:.2f} GB and the disk of {folder} has {free_gb:.2f} GB free: make room, or choose "
    "another folder."
)
DISK_FULL = "The disk of {folder} is full, so nothing was exported; make room and export again."
CANNOT_WRITE = "The export cannot be written to {folder} ({reason}); choose another folder."
GB = 10**9


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export, with its size in bytes and its SHA-256 in hexadecimal."""

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Exported:
    """What was exported, and its folder."""

    to: Kind
    out: Path
    base: Base
    files: tuple[ExportedFile, ...]


def default_folder(source: Source, to: Kind) -> Path:
    """Where an export goes unless a folder is given: into the run's own folder."""
    name = to if source.step is None else f"{to}-step-{source.step}"
    return source.run.folder / "exports" / name


def export(
    source: Source,
    to: Kind,
    out: Path,
    dtype: Dtype = "bfloat16",
    onto: Base = "trained",
    report: Report = lambda text, share: None,
    should_stop: ShouldStop = lambda: False,
) -> Exported:
    """Writes the export into `out`, which is replaced whole or not at all.

    Raises ExportError if the disk has no room or cannot be written, ModelError if the adapter cannot be merged, and
    Stopped within a second or so after `should_stop` says so.
    """
    try:
        if to == "adapter":
            _check_room(out, source.weights.stat().st_size)
            put_in_place(out, lambda folder: write_adapter_folder(folder, source))
        else:
            with merged(source, onto) as weights:
                _check_room(out, merged_bytes(weights, dtype))
                put_in_place(
                    out,
                    lambda folder: write_merged(
                        folder,
                        source,
                        weights,
                        dtype,
                        lambda share: report("Writing the merged model", share),
                        should_stop,
                    ),
                )
        files = tuple(_described(file) for file in sorted(out.iterdir()))
    except OSError as error:
        if is_disk_full(error):
            raise ExportError(DISK_FULL, folder=str(out)) from None
        raise ExportError(CANNOT_WRITE, folder=str(out), reason=error.strerror or error) from None
    return Exported(to, out, onto, files)


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
