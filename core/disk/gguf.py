"""GGUF files, which llama.cpp and Ollama run: recognised by their names, to say that they cannot be trained."""

import os
from pathlib import Path

GGUF = ".gguf"


def gguf_in(path: Path) -> str | None:
    """The name of the GGUF file at this path, or of the first one in this folder; None if there is none."""
    if os.path.isdir(path):  # not Path.is_dir and iterdir, which raise an error where this program may not look
        return next((file.name for file in sorted(path.glob("*")) if _is_gguf(file.name)), None)
    return path.name if _is_gguf(path.name) else None


def names_gguf(name: str) -> bool:
    """Whether a name can only be that of a GGUF file, or of one in a repository: owner/model-GGUF:Q4_K_M."""
    repository, colon, _ = name.lower().partition(":")
    return _is_gguf(name) or (repository.endswith("-gguf") and bool(colon or name.count("/") > 1))


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(GGUF)
