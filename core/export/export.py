"""Exports a run: what is written, and how much disk it needs."""

import shutil
from math import prod
from pathlib import Path

from core.disk.atomic import put_in_place
from core.export.adapter_folder import write_adapter_folder
from core.export.card import write_card
from core.export.estimate import bytes_of
from core.export.export_files import errors_of_disk
from core.export.gguf_file import write_gguf
from core.export.gguf_lora import write_lora_gguf
from core.export.merged_folder import write_merged
from core.export.merged_weights import MergedWeights, merged
from core.export.modelfile import write_modelfiles
from core.export.source import Source
from core.export.wanted import WORDS, Wanted
from core.model.download import Report
from core.problems import ExportError, mark, tr
from core.threads import ShouldStop, leave_if

NO_ROOM = mark(
    "The export needs {needed_gb:.2f} GB and the disk of {folder} has {free_gb:.2f} GB free: free some space, or "
    "choose another folder."
)
GB = 10**9


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
                report(tr("Writing {what}", what=tr(WORDS[wanted.to])), min(done / total, 1.0))

            def write(folder: Path) -> None:
                if wanted.to == "merged":
                    write_merged(folder, source, weights, wanted.dtype, written)
                elif wanted.to == "lora-gguf":
                    write_lora_gguf(folder, source, weights, written)
                else:
                    files = write_gguf(folder, source, weights, wanted.quant, written)
                if wanted.to == "ollama":
                    write_modelfiles(folder, source, files, wanted.chat)
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
