"""Uploaded files, and removing those that no run needs any more.

runs/uploads/<hash of the content>/<name>
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

from core.disk.tolerant_reading import in_words
from core.problems import RunError

KEPT_DAYS = 7


def uploads_dir(runs_dir: Path) -> Path:
    """The folder of all uploads."""
    return runs_dir / "uploads"


def make_uploads_dir(runs_dir: Path) -> Path:
    """The folder of all uploads, created if need be. Raises RunError if files cannot be written there."""
    folder = uploads_dir(runs_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise RunError(
            "Runs and uploads cannot be saved in {folder}: {reason}; choose another folder with --runs-dir.",
            folder=str(runs_dir),
            reason=in_words(error),
        ) from None
    return folder


def sweep_uploads(runs_dir: Path, days: float = KEPT_DAYS) -> list[Path]:
    """Removes uploads that are older than `days` days and not used by any run, including those in the trash and the
    queue, nor named by a recipe or by a preset of one's own.

    Returns what was removed. The rows of a run are kept as long as the run, because resuming it needs them.
    """
    folder = uploads_dir(runs_dir)
    if not folder.is_dir():
        return []
    removed = []
    try:
        settings = [path.read_text(encoding="utf-8", errors="replace") for path in _configs(runs_dir)]
    except OSError:  # what is needed is not known, so everything stays
        return []
    for found in list(folder.iterdir()):
        try:
            is_new = time.time() - found.lstat().st_mtime < days * 86400
            if is_new or any(found.name in text for text in settings):
                continue
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink()  # an upload that was cut off
        except OSError:  # open in another program, or removed by one: it is tried again the next time
            continue
        removed.append(found)
    return removed


def _configs(runs_dir: Path) -> list[Path]:
    places = ("*/config.yaml", "trash/*/*/config.yaml", "presets/*.yaml", "recipes/*/record.json", "queue.json")
    return [path for place in places for path in runs_dir.glob(place) if os.path.isfile(path)]
