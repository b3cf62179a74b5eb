"""GGUF files, which llama.cpp and Ollama run: recognised by their names, to say that they cannot be trained."""

from pathlib import Path

GGUF = ".gguf"


def gguf_in(path: Path) -> str | None:
    """The name of the GGUF file at this path, or of the first one in this folder; None if there is none."""
    if path.is_dir():
        return next((file.name for file in sorted(path.iterdir()) if _is_gguf(file.name)), None)
    return path.name if _is_gguf(path.name) else None


def names_gguf(name: str) -> bool:
    """Whether a name is that of a GGUF file, or of a repository of such files, with or without a quantization."""
    return _is_gguf(name) or name.lower().partition(":")[0].endswith("-gguf")


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(GGUF)
