"""Where a path that a person typed leads."""

import os
import re
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent


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
