import os
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parent.parent.parent


def resolve_path(path: str) -> Path | None:
    """The file or folder that a path names, looked up here and beside the program, or None where there is none."""
    for candidate in (Path(os.path.expanduser(path)), PROJECT_DIR / path):
        try:
            if candidate.exists():
                return candidate.resolve()
        except (OSError, ValueError):  # too long, a null byte: not a path of this machine
            continue
    return None
