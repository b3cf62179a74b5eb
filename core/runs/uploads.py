"""Uploaded files, and removing those that no run needs any more.

runs/uploads/<hash of the content>/<name>
"""

import os
import shutil
import time
from pathlib import Path

KEPT_DAYS = 7


def uploads_dir(runs_dir: Path) -> Path:
    """The folder of all uploads."""
    return runs_dir / "uploads"


def sweep_uploads(runs_dir: Path, days: float = KEPT_DAYS) -> list[Path]:
    """Removes uploads that are older than `days` days and not used by any run, including those in the trash.

    Returns what was removed. The rows of a run are kept as long as the run, because resuming it needs them.
    """
    folder = uploads_dir(runs_dir)
    if not folder.is_dir():
        return []
    settings = [path.read_text(encoding="utf-8", errors="replace") for path in _configs(runs_dir)]
    removed = []
    for found in folder.iterdir():
        is_new = time.time() - found.lstat().st_mtime < days * 86400
        if is_new or any(found.name in text for text in settings):
            continue
        try:
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink()  # an upload that was cut off
        except OSError:  # perhaps open in another program: it is tried again the next time
            continue
        removed.append(found)
    return removed


def _configs(runs_dir: Path) -> list[Path]:
    places = ("*/config.yaml", "trash/*/*/config.yaml")
    return [path for place in places for path in runs_dir.glob(place) if os.path.isfile(path)]
