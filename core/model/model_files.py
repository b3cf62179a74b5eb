"""From a model's name to a checked folder on this machine: one that is there already, or a download from Hugging Face.

Only safetensors are accepted as weights, because reading a pickle can run code.
"""

import json
import os
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from core.disk.tolerant_reading import Unreadable, read_json, read_text
from core.hub_names import Token, checked_token, exact_name
from core.memory.gguf_models import refuse_gguf, refuse_gguf_files, refuse_gguf_name
from core.model.download import Report, download, files_on_hub
from core.problems import ModelError, mark, tr
from core.settings.paths import is_path, resolve_path
from core.settings.sections import ModelConfig

SMALL_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
# Pickles that trainers leave beside the weights; so are files that begin with rng_state.
NOT_WEIGHTS = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")
WEIGHTS = "model.safetensors"
CONFIG_UNREADABLE = mark("{name} is damaged: its {file} cannot be read; download the model again.")


def locate(
    config: ModelConfig,
    token: Token = None,
    report: Report = lambda text, share: None,
    with_weights: bool = True,
) -> Path:
    """A local model's folder, or the one in the cache that its files were downloaded to. Raises ModelError.

    Without weights, they are neither downloaded nor checked.
    """
    path = resolve_path(config.model_name)
    if path is not None:
        return _checked_folder(path, config.model_name, config.trust_remote_code is not None, with_weights)
    refuse_gguf_name(config.model_name)
    if is_path(config.model_name):
        raise ModelError(
            "There is no folder {name}; check the path, or use a name like owner/model.", name=config.model_name
        )
    token = checked_token(token)
    name = exact_name(config.model_name, config.load_in_4bit)
    revision = config.revision if name == config.model_name else None  # a revision of the other repository
    is_trusted = config.trust_remote_code is not None
    folder = Path(download(name, revision, token, report, is_trusted, with_weights))
    if with_weights and not any(folder.glob("*.safetensors")):
        files = files_on_hub(name, revision, token)
        refuse_gguf_files(files, name)
        _refuse_pickles(name, files)
    return _checked_folder(folder, name, is_trusted, with_weights)


def code_warning(name: str) -> str:
    """The warning shown where a model's own code has been allowed."""
    return tr(
        "Code of {name} runs on this machine when it is loaded, and can do everything you can do here; allow that only "
        "if you have read it.",
        name=name,
    )


def _checked_folder(folder: Path, name: str, is_trusted: bool, with_weights: bool) -> Path:
    if folder.is_dir():
        _refuse_unreadable(folder, name)
    refuse_gguf(folder, name)
    if not folder.is_dir():
        raise ModelError("{name} is a file; enter the folder that contains config.json and the weights.", name=name)
    if not os.path.lexists(folder / "config.json"):
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                "{name} contains an adapter, not a model; load its base and continue from the adapter instead.",
                name=name,
            )
        raise ModelError("{name} contains no model: config.json is missing; choose another model or folder.", name=name)
    try:
        config = read_json(folder / "config.json")
    except Unreadable:
        raise ModelError(CONFIG_UNREADABLE, name=name, file="config.json") from None
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise ModelError("{name} is damaged: its config.json names no model_type; download the model again.", name=name)
    if with_weights:
        _check_weights(folder, name, config)
    _check_small_files(folder, name)
    if is_trusted:
        _refuse_foreign_code(folder, name)
    return folder


def _refuse_unreadable(folder: Path, name: str) -> None:
    """Raises ModelError when this program may not see what is in the folder."""
    try:
        files_in(folder)
        os.stat(folder / "config.json")
    except FileNotFoundError:  # has a sentence of its own
        pass
    except OSError as error:
        raise ModelError(
            "{name} cannot be read ({reason}); check the folder's permissions.", name=name, reason=error.strerror
        ) from None


def _check_weights(folder: Path, name: str, config: dict) -> None:
    """Raises ModelError unless all the weights that a loader would pick are safetensors, and complete."""
    if (folder / WEIGHTS).is_file():
        _check_layers(folder, name, [WEIGHTS], config)
        return
    index = folder / f"{WEIGHTS}.index.json"
    if not index.is_file():
        # A loader would turn to the pickles even if there are other safetensors, such as an adapter's.
        _refuse_pickles(name, files_in(folder))
        raise ModelError(
            "{name} has no weights as safetensors, the only format this app reads; choose another.", name=name
        )
    try:
        listed = read_json(index)
        shards = set(listed["weight_map"].values())
        wrong = sorted(shard for shard in shards if not shard.endswith(".safetensors") or Path(shard).name != shard)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(CONFIG_UNREADABLE, name=name, file=index.name) from None
    if wrong:
        _refuse_pickles(name, wrong)
        raise ModelError(
            "{name} lists {file!r:.80} among its weights, which is not a file in its folder; choose another.",
            name=name,
            file=wrong[0],
        )
    for shard in sorted(shards):
        if not (folder / shard).is_file():
            raise ModelError(
                "{name} is damaged: {file:.80} is missing; download the model again.", name=name, file=shard
            )
    if not shards or not isinstance(listed.get("metadata"), dict):
        raise ModelError(
            "{name} is damaged: its {file} is incomplete; download the model again.", name=name, file=index.name
        )
    _check_layers(folder, name, sorted(shards), config)


def _check_layers(folder: Path, name: str, files: list[str], config: dict) -> None:
    """Raises ModelError when a file of weights is cut off, or has fewer layers than config.json says.

    A loader would fill the missing ones with random numbers, and a billion of them would fill the memory.
    """
    layers = set()
    for file in files:
        try:
            with safe_open(folder / file, framework="numpy") as weights:  # reads only the list at its beginning
                names = list(weights.keys())
        except (OSError, SafetensorError):
            raise ModelError(
                "{name} is damaged: {file:.80} is cut off or not safetensors; download the model again.",
                name=name,
                file=file,
            ) from None
        layers |= {int(found[1]) for key in names if (found := re.search(r"\blayers\.(\d{1,9})\.", key))}
    promised = config.get("num_hidden_layers")
    if isinstance(promised, int) and layers and not 1 <= promised <= len(layers):
        raise ModelError(
            "{name} is damaged: its config.json gives {promised:,} layers, but its weights have {layers:,}; "
            "download the model again.",
            name=name,
            promised=promised,
            layers=len(layers),
        )


def _check_small_files(folder: Path, name: str) -> None:
    """Raises ModelError when the tokenizer or another of the model's small files is damaged."""
    for file in (folder / small for small in SMALL_FILES):
        try:
            if os.path.lexists(file):
                (read_text if file.suffix == ".jinja" else read_json)(file)
        except Unreadable:
            raise ModelError(CONFIG_UNREADABLE, name=name, file=file.name) from None


def first_pickle(files: list[str]) -> str | None:
    """The first of these files that would hold weights as a pickle."""
    for file in files:
        if file.endswith(PICKLES) and file not in NOT_WEIGHTS and not file.startswith("rng_state"):
            return file
    return None


def _refuse_pickles(name: str, files: list[str]) -> None:
    if file := first_pickle(files):
        raise ModelError(
            "{name} has its weights in {file:.80}, a format that can run code when it is read; this app reads only "
            "safetensors, so choose another, or a copy of it with safetensors.",
            name=name,
            file=file,
        )


def _refuse_foreign_code(folder: Path, name: str) -> None:
    """Raises ModelError when the model would run code from another repository: only its own was trusted."""
    for file in sorted(folder.glob("*config.json")):
        try:
            classes = json.loads(file.read_text(encoding="utf-8"))["auto_map"].values()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        named = [part for value in classes for part in (value if isinstance(value, list) else [value])]
        for place, marker, _ in (str(part).partition("--") for part in named):
            if marker:
                raise ModelError(
                    "{name} would run code from {repository:.80}, and only its own was allowed; choose another.",
                    name=name,
                    repository=place,
                )


def files_in(folder: Path) -> list[str]:
    """Names, sorted."""
    return sorted(file.name for file in folder.iterdir())
