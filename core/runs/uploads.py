"""What people uploaded, in a folder of the app's own; what no run needs any more is thrown away. Knows nothing of gradio.

runs/uploads/<hash of the content>/<name>
"""

import shutil
import time
from pathlib import Path

KEPT_DAYS = 7


def uploads_dir(runs_dir: Path) -> Path:
    return runs_dir / "uploads"


def sweep_uploads(runs_dir: Path, days: float = KEPT_DAYS) -> list[Path]:
    """Removes what was uploaded more than so many days ago and is named by no run, one in the trash among them.

    Returns what was removed. A run's own rows stay as long as it does: without them it could not be resumed.
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
                found.unlink()  # an upload that broke off
        except OSError:  # open in another program, say; there is a next time
            continue
        removed.append(found)
    return removed


def _configs(runs_dir: Path) -> list[Path]:
    places = ("*/config.yaml", "trash/*/*/config.yaml")
    return [path for place in places for path in runs_dir.glob(place) if path.is_file()]
