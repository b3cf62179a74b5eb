"""Deleted runs, which can be put back until the trash is emptied. Knows nothing of pages, or of how a run went.

    runs/trash/<when it was deleted>/<id>/    the run's folder as it was

Each lies in a folder of its own, so that a name that is already in the trash is no trouble.
"""

import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.problems import RunError
from core.runs.run_folder import open_run


@dataclass(frozen=True)
class Deleted:
    """`id` is that of the place in the trash, `size` is in bytes."""

    id: str
    run_id: str
    name: str
    size: int


class Trash:
    """The trash of a runs folder."""

    def __init__(self, runs_dir: Path):
        self._runs_dir = runs_dir
        self.folder = runs_dir / "trash"
        self._sizes: dict[Path, int] = {}  # what lies there does not change

    def runs(self) -> list[Deleted]:
        """What can be put back, the last deleted first."""
        return [self._deleted(folder) for folder in sorted(self._folders(), key=lambda f: f.parent.name, reverse=True)]

    @property
    def changed(self) -> int:
        """Differs whenever a run came or went."""
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
            raise RunError(f"Run {folder.name} cannot be moved to the trash: {error.strerror or error}.") from None
        return self._deleted(place / folder.name)

    def put_back(self, deleted_id: str) -> str:
        """Moves a run back, under another id when its own was taken since; returns the id. Raises RunError."""
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
            raise RunError(f"Run {folder.name} cannot be put back: {error.strerror or error}.") from None
        return place.name

    def empty(self) -> int:
        """Deletes all that is here for good; returns the bytes that this frees. Raises RunError."""
        freed = 0
        for folder in self._folders():
            size = self._size(folder)
            try:
                if folder.is_symlink():
                    folder.unlink()
                else:
                    shutil.rmtree(folder)
                folder.parent.rmdir()
            except OSError as error:
                raise RunError(f"Not all of {folder} could be deleted: {error.strerror or error}.") from None
            freed += size
        return freed

    def _folders(self) -> list[Path]:
        return [folder for folder in self.folder.glob("*/*") if folder.is_dir()]

    def _deleted(self, folder: Path) -> Deleted:
        return Deleted(folder.parent.name, folder.name, open_run(folder).name, self._size(folder))

    def _size(self, folder: Path) -> int:
        if folder not in self._sizes:
            self._sizes[folder] = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
        return self._sizes[folder]
