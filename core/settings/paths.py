"""Where a path that a person typed leads, and where runs are kept."""

import os
import re
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent
PRESETS_DIR = PROJECT_DIR / "presets"
SPACE_DISK = Path("/data")  # where Spaces attach what outlives a restart


def resolve_path(path: str) -> Path | None:
    """The file or folder at a path, relative to the working directory or else to the project; None if there is none."""
    for candidate in (Path(os.path.expanduser(path)), PROJECT_DIR / path):
        try:
            if candidate.exists():
                return candidate.resolve()
        except (OSError, ValueError):  # too long, or with a null byte: cannot be a path
            continue
    return None


def is_path(name: str) -> bool:
    """Whether a name can only be that of a file or folder, on any system: /models/llama, ~/llama, C:\\models\\llama."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or bool(re.match("[A-Za-z]:", name))


def last_part(path: str) -> str:
    """The last part of a path or of a name on Hugging Face, on any system."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def default_runs_dir() -> str:
    """The folder with the runs: on a Space on the disk that outlives a restart, if it has one that can be written."""
    folder = SPACE_DISK / "runs"
    is_kept = os.access(folder if folder.exists() else SPACE_DISK, os.W_OK)
    return str(folder) if "SPACE_ID" in os.environ and is_kept else "runs"
