"""The files of an export on the disk: what may be replaced, what is there, and what goes wrong."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.disk.atomic import is_disk_full
from core.problems import ConfigError, ExportError, mark
from core.runs.run_folder import Run

DISK_FULL = mark("The disk of {folder} is full, so nothing was exported; free some space and export again.")
CANNOT_WRITE = mark("The export cannot be written to {folder} ({reason}); choose another folder.")
NOT_EMPTY = mark("{folder} is there already and would be replaced; choose a new folder, or delete that one first.")


@dataclass(frozen=True)
class ExportedFile:
    """A file of an export, with its size in bytes and its SHA-256 in hexadecimal."""

    path: Path
    bytes: int
    sha256: str

    @property
    def is_unchanged(self) -> bool:
        """Whether it has every byte that it had. Raises OSError if it cannot be read."""
        return _described(self.path) == self


def check_replaceable(run: Run, *folders: Path) -> None:
    """Raises ConfigError if one of the folders to write has files of a person: only a run's exports are replaced."""
    for folder in folders:
        is_ours = folder.parent == run.folder.resolve() / "exports"
        if not is_ours and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ConfigError(NOT_EMPTY, folder=str(folder))


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
