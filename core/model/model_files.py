"""From a model's name to files on this machine: a folder as it stands, or a download from the hub with progress.

Knows nothing of torch, threads or gradio. A connection that breaks is taken up where it stopped, and whole files are kept.
"""

import json
import os
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from core.disk.tolerant_reading import Unreadable, read_json, read_text
from core.hub_names import checked_token, exact_name
from core.model.download import Report, download, files_on_hub
from core.problems import ModelError
from core.settings.paths import resolve_path
from core.settings.sections import ModelConfig

SMALL_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")  # nor are rng_state*
MODEL, ADAPTER = "model.safetensors", "adapter_model.safetensors"


def locate(config: ModelConfig, token: str | None = None, report: Report = lambda text, share: None) -> Path:
    """The folder of a local model, or the folder in the cache where the hub's files now are. Raises ModelError."""
    path = resolve_path(config.model_name)
    if path is not None:
        return _checked_folder(path, config.model_name, config.trust_remote_code is not None)
    if config.model_name.startswith((".", "/", "~")) or config.model_name.count("/") > 1:
        raise ModelError(f"There is no folder {config.model_name}; check the path, or give a name like owner/model.")
    token = checked_token(token)
    name = exact_name(config)
    revision = config.revision if name == config.model_name else None  # a revision of the other repository
    is_trusted = config.trust_remote_code is not None
    folder = Path(download(name, revision, token, report, is_trusted))
    if not any(folder.glob("*.safetensors")):
        _refuse_pickles(name, files_on_hub(name, revision, token))
    return _checked_folder(folder, name, is_trusted)


def code_warning(name: str) -> str:
    """What is said where a model's own code has been allowed."""
    return (
        f"Code of {name} runs on this machine when it is loaded, with all that you may do here; allow that only if you have "
        "read it."
    )


def checked_adapter(folder: Path) -> Path:
    """The adapter's own weights. Raises ModelError when they are not whole safetensors; only their list is read."""
    weights = folder / ADAPTER
    if not weights.is_file():
        _refuse_pickles(f"The adapter in {folder}", _files_in(folder))
        raise ModelError(f"The adapter in {folder} has no {ADAPTER}; choose another, or train it again.")
    try:
        with safe_open(weights, framework="numpy"):
            return weights
    except (OSError, SafetensorError):
        raise ModelError(
            f"The adapter in {folder} is damaged: {ADAPTER} is cut off; choose another, or train it again."
        ) from None


def _checked_folder(folder: Path, name: str, is_trusted: bool) -> Path:
    if not folder.is_dir():
        raise ModelError(f"{name} is a file; give the folder that holds config.json and the weights.")
    if not os.path.lexists(folder / "config.json"):
        if (folder / "adapter_config.json").is_file():
            raise ModelError(f"{name} holds an adapter, not a model; load its base and go on from it instead.")
        raise ModelError(f"{name} holds no model: config.json is missing; choose another model or folder.")
    try:
        config = read_json(folder / "config.json")
    except Unreadable:
        raise ModelError(f"{name} is damaged: its config.json cannot be read; fetch the model again.") from None
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise ModelError(f"{name} is damaged: its config.json names no model_type; fetch the model again.")
    _check_weights(folder, name, config)
    _check_small_files(folder, name)
    if is_trusted:
        _refuse_foreign_code(folder, name)
    return folder


def _check_weights(folder: Path, name: str, config: dict) -> None:
    """Raises ModelError unless the weights that a loader would pick are safetensors, all of them, and whole."""
    if (folder / MODEL).is_file():
        _check_layers(folder, name, [MODEL], config)
        return
    index = folder / f"{MODEL}.index.json"
    if not index.is_file():
        # Beside other safetensors, such as an adapter's, a loader would still turn to the pickles.
        _refuse_pickles(name, _files_in(folder))
        raise ModelError(f"{name} has no weights as safetensors, the only kind this program reads; choose another.")
    try:
        listed = read_json(index)
        shards = set(listed["weight_map"].values())
        wrong = sorted(shard for shard in shards if not shard.endswith(".safetensors") or Path(shard).name != shard)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"{name} is damaged: its {index.name} cannot be read; fetch the model again.") from None
    if wrong:
        _refuse_pickles(name, wrong)
        raise ModelError(
            f"{name} names {wrong[0]!r:.80} among its weights, which is no file of its own; choose another."
        )
    for shard in sorted(shards):
        if not (folder / shard).is_file():
            raise ModelError(f"{name} is damaged: {shard:.80} is missing; fetch the model again.")
    if not shards or not isinstance(listed.get("metadata"), dict):
        raise ModelError(f"{name} is damaged: its {index.name} is not whole; fetch the model again.")
    _check_layers(folder, name, sorted(shards), config)


def _check_layers(folder: Path, name: str, files: list[str], config: dict) -> None:
    """Raises ModelError when a file of weights is not whole, or holds fewer layers than config.json promises.

    A loader would make up the missing ones, of random numbers, and of a billion promised ones fill the memory.
    """
    layers = set()
    for file in files:
        try:
            with safe_open(folder / file, framework="numpy") as weights:  # reads no more than the list at its beginning
                layers |= {
                    int(found[1]) for key in weights.keys() if (found := re.search(r"\blayers\.(\d{1,9})\.", key))
                }
        except (OSError, SafetensorError):
            raise ModelError(
                f"{name} is damaged: {file:.80} is cut off or no safetensors; fetch the model again."
            ) from None
    promised = config.get("num_hidden_layers")
    if isinstance(promised, int) and layers and not 1 <= promised <= len(layers):
        raise ModelError(
            f"{name} is damaged: its config.json promises another number of layers than its weights have, {len(layers):,}; "
            "fetch the model again."
        )


def _check_small_files(folder: Path, name: str) -> None:
    """Raises ModelError when the tokenizer or what else belongs to the model is damaged."""
    for file in (folder / small for small in SMALL_FILES):
        try:
            if os.path.lexists(file):
                (read_text if file.suffix == ".jinja" else read_json)(file)
        except Unreadable:
            raise ModelError(f"{name} is damaged: its {file.name} cannot be read; fetch the model again.") from None


def _refuse_pickles(name: str, files: list[str]) -> None:
    found = [
        file for file in files if file.endswith(PICKLES) and file not in NO_WEIGHTS and not file.startswith("rng_state")
    ]
    if found:
        raise ModelError(
            f"{name} has its weights in {found[0]:.80}, a format that can run code when it is read; this program reads "
            "safetensors only, so choose another, or a copy of it with safetensors."
        )


def _refuse_foreign_code(folder: Path, name: str) -> None:
    """Raises ModelError when the model would have code of another repository run: trust was given to this one alone."""
    for file in sorted(folder.glob("*config.json")):
        try:
            classes = json.loads(file.read_text(encoding="utf-8"))["auto_map"].values()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        named = [part for value in classes for part in (value if isinstance(value, list) else [value])]
        for place, marker, _ in (str(part).partition("--") for part in named):
            if marker:
                raise ModelError(f"{name} has code of {place:.80} run, and only its own was allowed; choose another.")


def _files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())
