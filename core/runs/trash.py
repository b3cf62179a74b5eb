"""The trash: deleted runs, which can be put back until it is emptied.

    runs/trash/<when it was deleted>/<id>/    the run's folder, unchanged

Each has a folder of its own, so that two runs with the same id do not collide.
"""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.disk.tolerant_reading import in_words
from core.problems import RunError
from core.runs.run_folder import open_run


@dataclass(frozen=True)
class Deleted:
    """A run in the trash. `id` identifies its place there, `size` is in bytes."""

    id: str
    run_id: str
    name: str
    size: int
    owner: str = ""


class Trash:
    """The trash of a runs folder."""

    def __init__(self, runs_dir: Path):
        self._runs_dir = runs_dir
        self.folder = runs_dir / "trash"
        self._sizes: dict[Path, int] = {}  # runs in the trash do not change

    def runs(self) -> list[Deleted]:
        """The runs that can be put back, the last deleted first."""
        return [self._deleted(folder) for folder in sorted(self._folders(), key=lambda f: f.parent.name, reverse=True)]

    @property
    def changed(self) -> int:
        """A number that changes when a run is added or removed."""
        try:
            return self.folder.stat().st_mtime_ns
        except OSError:
            return 0

    def take(self, folder: Path) -> Deleted:
        """Moves a run's folder here. Raises RunError."""
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        try:
            for number in range(1, 100_000):
                place = self.folder / f"{stamp}-{number:05}"
                try:
                    place.mkdir(parents=True)
                    break
                except FileExistsError:
                    continue
            try:
                folder.rename(place / folder.name)
            except OSError:
                place.rmdir()
                raise
        except OSError as error:
            raise RunError(
                "Run {run} cannot be moved to the trash: {reason}.", run=folder.name, reason=in_words(error)
            ) from None
        return self._deleted(place / folder.name)

    def put_back(self, deleted_id: str) -> str:
        """Moves a run back and returns its id, which is a new one if its own is taken. Raises RunError."""
        folder = next((folder for folder in self._folders() if folder.parent.name == deleted_id), None)
        if folder is None:
            raise RunError("This run is no longer in the trash; it was put back or deleted for good.")
        for number in range(1, 1000):
            place = self._runs_dir / (folder.name if number == 1 else f"{folder.name}-{number}")
            if not os.path.lexists(place):
                break
        try:
            folder.rename(place)
            folder.parent.rmdir()
        except OSError as error:
            raise RunError("Run {run} cannot be put back: {reason}.", run=folder.name, reason=in_words(error)) from None
        return place.name

    def empty(self, deleted_ids: Collection[str] | None = None) -> int:
        """Permanently deletes everything in the trash, or only what has these ids; returns the number of bytes freed.

        Raises RunError.
        """
        freed = 0
        for folder in self._folders():
            if deleted_ids is not None and folder.parent.name not in deleted_ids:
                continue
            size = self._size(folder)
            try:
                if folder.is_symlink():
                    folder.unlink()
                else:
                    shutil.rmtree(folder)
                folder.parent.rmdir()
            except OSError as error:
                raise RunError(
                    "{folder} could not be deleted completely: {reason}.", folder=str(folder), reason=in_words(error)
                ) from None
            freed += size
        return freed

    def _folders(self) -> list[Path]:
        return [folder for folder in self.folder.glob("*/*") if folder.is_dir()]

    def _deleted(self, folder: Path) -> Deleted:
        run = open_run(folder)
        return Deleted(folder.parent.name, folder.name, run.name, self._size(folder), run.owner)

    def _size(self, folder: Path) -> int:
        if folder not in self._sizes:
            self._sizes[folder] = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
        return self._sizes[folder]
