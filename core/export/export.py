"""Exports a run: what is written, where, and how much disk it needs."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from core.disk.atomic import is_disk_full, put_in_place
from core.export.adapter_folder import write_adapter_folder
from core.export.card import write_card
from core.export.gguf_file import write_gguf
from core.export.gguf_lora import write_lora_gguf
from core.export.merged_folder import write_merged
from core.export.merged_weights import Base, MergedWeights, merged
from core.export.modelfile import write_modelfiles
from core.export.source import Source
from core.model.download import Report
from core.problems import ConfigError, ExportError
from core.runs.run_folder import Run
from core.stopping import ShouldStop, leave_if

Kind = Literal["adapter", "merged", "gguf", "lora-gguf", "ollama"]
Dtype = Literal["bfloat16", "float16", "float32"]
NO_ROOM = (
    "The export needs {needed_gb:.2f} GB and the disk of {folder} has {free_gb:.2f} GB free: free some space, or "
    "choose another folder."
)
DISK_FULL = "The disk of {folder} is full, so nothing was exported; free some space and export again."
CANNOT_WRITE = "The export cannot be written to {folder} ({reason}); choose another folder."
NOT_EMPTY = "{folder} is there already and would be replaced; choose a new folder, or delete that one first."
GB = 10**9
WORDS = {"merged": "the merged model", "gguf": "GGUF", "ollama": "GGUF for Ollama", "lora-gguf": "the LoRA as GGUF"}
# Bytes of a weight; q8_0 stores 32 of them and their scale in 34 bytes.
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "f32": 4, "f16": 2, "bf16": 2, "q8_0": 34 / 32}
BYTES |= {"q6_k": 0.82, "q5_k_m": 0.73, "q4_k_m": 0.62}  # about, with the tensors that get more


@dataclass(frozen=True)
class Wanted:
    """What to export, and the folder to write.

    `onto` is for all that is merged, `dtype` for a merged model, and `quant` for GGUF, a file for each;
    "ollama" is GGUF with a Modelfile beside it.
    """

    to: Kind
    out: Path
    dtype: Dtype = "bfloat16"
    onto: Base = "trained"
    quant: tuple[str, ...] = ("q8_0",)


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export, with its size in bytes and its SHA-256 in hexadecimal."""

    path: Path
    bytes: int
    sha256: str


def default_folder(run: Run, to: Kind, step: int | None = None) -> Path:
    """Where an export goes unless a folder is given: into the run's own folder."""
    return run.folder / "exports" / (to if step is None else f"{to}-step-{step}")


def check_replaceable(run: Run, *folders: Path) -> None:
    """Raises ConfigError if one of the folders to write has files of a person: only a run's exports are replaced."""
    for folder in folders:
        is_ours = folder.parent == run.folder.resolve() / "exports"
        if not is_ours and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ConfigError(NOT_EMPTY, folder=str(folder))


def write_export(
    source: Source,
    wanted: Wanted,
    report: Report = lambda text, share: None,
    should_stop: ShouldStop = lambda: False,
) -> None:
    """Writes the export into `wanted.out`, which is replaced whole or not at all.

    Raises ExportError if the disk has no room or cannot be written, or if GGUF has no form for the model, ModelError if
    the adapter cannot be merged, and Stopped within a second or so after `should_stop` says so.
    """
    out = wanted.out
    with errors_of_disk(out):
        if wanted.to == "adapter":
            _check_room(out, source.weights.stat().st_size)

            def write_adapter(folder: Path) -> None:
                write_adapter_folder(folder, source)
                write_card(folder, source, wanted.to)

            put_in_place(out, write_adapter)
            return
        with merged(source, wanted.onto) as weights:
            total, done = export_bytes(source, weights, wanted), 0
            _check_room(out, total)

            def written(size: int) -> None:
                nonlocal done
                leave_if(should_stop)
                done += size
                report(f"Writing {WORDS[wanted.to]}", min(done / total, 1.0))

            def write(folder: Path) -> None:
                if wanted.to == "merged":
                    write_merged(folder, source, weights, wanted.dtype, written)
                elif wanted.to == "lora-gguf":
                    write_lora_gguf(folder, source, weights, written)
                else:
                    files = write_gguf(folder, source, weights, wanted.quant, written)
                if wanted.to == "ollama":
                    write_modelfiles(folder, source, files)
                write_card(folder, source, wanted.to)

            put_in_place(out, write)


def export_bytes(source: Source, weights: MergedWeights, wanted: Wanted) -> int:
    """About how many bytes the weights take."""
    if wanted.to == "lora-gguf":
        return source.weights.stat().st_size
    values = sum(prod(weights.shape(name)) for name in weights.names)
    kinds = (wanted.dtype,) if wanted.to == "merged" else wanted.quant
    return round(sum(values * BYTES[kind] for kind in kinds))


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
