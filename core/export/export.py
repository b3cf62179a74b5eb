"""Exports a run: what is written, where, and how much disk it needs."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal, get_args

from core.disk.atomic import is_disk_full, put_in_place
from core.export.adapter_folder import write_adapter_folder
from core.export.card import write_card
from core.export.estimate import bytes_of
from core.export.gguf_file import write_gguf
from core.export.gguf_lora import write_lora_gguf
from core.export.gguf_tensors import PRECISIONS
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
WORDS = {
    "adapter": "the adapter",
    "merged": "the merged model",
    "gguf": "GGUF",
    "ollama": "GGUF for Ollama",
    "lora-gguf": "the LoRA as GGUF",
}


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

    @property
    def kinds(self) -> tuple[str, ...]:
        """The precisions in which whole models are written."""
        return (self.dtype,) if self.to == "merged" else self.quant if self.to in ("gguf", "ollama") else ()


def wanted_of(
    run: Run,
    to: str,
    quant: Sequence[str] = ("q8_0",),
    dtype: str = "bfloat16",
    base: str = "trained",
    step: int | None = None,
    out: Path | None = None,
) -> Wanted:
    """What is asked for in words, in the run's default folder unless `out` is given; a precision counts once.

    Raises ConfigError for a word that there is not.
    """
    quant = tuple(dict.fromkeys(name.strip().lower() for name in quant))
    asked = [("to", to, get_args(Kind)), ("dtype", dtype, get_args(Dtype)), ("base", base, get_args(Base))]
    for option, word, known in [*asked, *(("quant", name, PRECISIONS) for name in quant)]:
        if word not in known:
            raise ConfigError(
                "There is no {word!r} for {option}; choose from {known}.",
                word=word, option=option, known=", ".join(known),
            )  # fmt: skip
    return Wanted(to, (out or default_folder(run, to, step)).resolve(), dtype, base, quant)


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
    check_room(source, wanted)
    with errors_of_disk(out):
        if wanted.to == "adapter":

            def write_adapter(folder: Path) -> None:
                write_adapter_folder(folder, source)
                write_card(folder, source, wanted.to)

            put_in_place(out, write_adapter)
            return
        with merged(source, wanted.onto) as weights:
            total, done = _bytes(source, weights, wanted), 0

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


def check_room(source: Source, wanted: Wanted) -> None:
    """Raises ExportError if the disk has less room than the export needs, and ModelError as `write_export` does."""
    place = next(folder for folder in (wanted.out, *wanted.out.parents) if folder.exists())
    with errors_of_disk(wanted.out):
        free = shutil.disk_usage(place).free
        if wanted.to in ("adapter", "lora-gguf"):
            needed = source.weights.stat().st_size
        else:
            with merged(source, wanted.onto) as weights:
                needed = _bytes(source, weights, wanted)
    if free < needed:
        raise ExportError(NO_ROOM, folder=str(wanted.out), needed_gb=needed / GB, free_gb=free / GB)


def _bytes(source: Source, weights: MergedWeights, wanted: Wanted) -> int:
    if wanted.to == "lora-gguf":
        return source.weights.stat().st_size
    return bytes_of(sum(prod(weights.shape(name)) for name in weights.names), wanted.kinds)


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


def _described(file: Path) -> ExportedFile:
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256")
    return ExportedFile(file, file.stat().st_size, digest.hexdigest())
