"""Models as GGUF files: refused, with the model to load in their place."""

from pathlib import Path

from core.disk.gguf import gguf_in, names_gguf
from core.memory.known_shapes import KNOWN
from core.problems import ModelError, mark

MADE_FROM = mark(
    "{name} is a GGUF model, which can be run but not trained: load the safetensors model that it was "
    "made from, such as {model}."
)
UNKNOWN = mark(
    "{name} is a GGUF model, which can be run but not trained: load the safetensors model that it was "
    "made from; the page where you found the GGUF usually names it."
)
OWNER = "unsloth/"  # of copies that need no token


def refuse_gguf_name(name: str) -> None:
    """Raises ModelError for a name, of nothing on this machine, that only a GGUF file can have."""
    if names_gguf(name):
        raise _error(name)


def refuse_gguf(path: Path, name: str) -> None:
    """Raises ModelError for a GGUF file, and for a folder of such files without safetensors."""
    if gguf_in(path) and not (path.is_dir() and any(path.glob("*.safetensors"))):
        raise _error(name)


def refuse_gguf_files(files: list[str], name: str) -> None:
    """Raises ModelError when there are GGUF files among the files of a repository that has no safetensors."""
    if any(gguf_in(Path(file)) for file in files):
        raise _error(name)


def _error(name: str) -> ModelError:
    short = name.replace("\\", "/").rpartition("/")[2].lower()
    known = [model for model in KNOWN if model.startswith(OWNER) and model.removeprefix(OWNER) in short]
    if not known:
        return ModelError(UNKNOWN, name=name)
    return ModelError(MADE_FROM, name=name, model=max(known, key=len))
