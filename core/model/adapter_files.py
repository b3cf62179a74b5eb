"""The files of a saved adapter: checked, and laid out so that PEFT finds the base on this machine."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError, safe_open

from core.disk.atomic import ASIDE
from core.disk.gguf import gguf_in
from core.disk.tolerant_reading import Unreadable, read_json
from core.model.adapter_kind import SETTINGS, WEIGHTS, check_adapter
from core.model.base_names import base_name, is_for
from core.model.model_files import files_in, first_pickle
from core.problems import ModelError, mark
from core.settings.sections import ModelConfig

SMALL_FILES = ("*.json", "*.jinja", "*.model", "*.txt")  # the adapter's settings and its tokenizer
OTHER_SHAPES = mark(
    "The adapter in {folder} is damaged: its weights have other shapes than its settings say; choose another, or train "
    "it again."
)
NOT_FINITE = mark("The adapter in {folder} is damaged: some of its weights are NaN or infinite; use another copy.")


@contextmanager
def adapter_files(adapter_dir: Path, base: Path, config: ModelConfig) -> Iterator[Path]:
    """A temporary folder with the adapter's files, whose settings name the folder `base` as its model.

    The adapter's own folder is not changed. Raises ModelError when the adapter is damaged or belongs to another model.
    """
    saved, weights = checked_adapter(adapter_dir, base, config)
    with _temporary_folder(adapter_dir.parent) as name:
        folder = Path(name)
        # Only these: nothing that could contain code. Linked, not copied: trained embeddings take gigabytes.
        for file in (weights, *(file for pattern in SMALL_FILES for file in adapter_dir.glob(pattern))):
            if file.is_file() and file.name != SETTINGS:
                _link(file, folder / file.name)
        settings = json.dumps(saved | {"base_model_name_or_path": str(base), "revision": None})
        (folder / SETTINGS).write_text(settings, encoding="utf-8")
        yield folder


def checked_adapter(adapter_dir: Path, base: Path, config: ModelConfig) -> tuple[dict, Path]:
    """The settings and the file of the weights of an adapter for the model in the folder `base`.

    Raises ModelError when the adapter is damaged or belongs to another model.
    """
    saved = _settings(adapter_dir, config)
    weights = _checked_weights(adapter_dir)
    check_adapter(adapter_dir, saved, weights, base, config.model_name)
    return saved, weights


def _settings(adapter_dir: Path, config: ModelConfig) -> dict:
    """Raises ModelError when they cannot be read or name another model than `config`."""
    try:
        saved = read_json(adapter_dir / SETTINGS)
    except Unreadable as error:
        raise ModelError(
            "The adapter in {folder} cannot be read: {file}: {reason}.",
            folder=str(adapter_dir),
            reason=error,
            file=SETTINGS,
        ) from None
    made_for = base_name(saved.get("base_model_name_or_path"), adapter_dir)
    if not isinstance(made_for, str):
        raise ModelError(
            "The adapter in {folder} cannot be read: its {file} names no model.", folder=str(adapter_dir), file=SETTINGS
        )
    if not is_for(made_for, config):
        raise ModelError(
            "The adapter in {folder} was made for {model:.80}; choose that model to use it.",
            folder=str(adapter_dir),
            model=made_for,
        )
    return saved


def _checked_weights(folder: Path) -> Path:
    """The file of the weights. Raises ModelError unless it is complete; only the list at its beginning is read."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        if pickle := first_pickle(files_in(folder)):
            raise ModelError(
                "The adapter in {folder} has its weights in {file:.80}, a format that can run code when it is read; "
                "this app reads only safetensors, so choose another, or a copy of it with safetensors.",
                folder=str(folder),
                file=pickle,
            )
        if file := gguf_in(folder):
            raise ModelError(
                "The adapter in {folder} is a GGUF ({file:.80}), which can be run but not used here: choose the "
                "adapter that it was made from, with its weights as safetensors.",
                folder=str(folder),
                file=file,
            )
        raise ModelError(
            "The adapter in {folder} has no {file}; choose another, or train it again.",
            folder=str(folder),
            file=WEIGHTS,
        )
    try:
        with safe_open(weights, framework="numpy"):
            return weights
    except (OSError, SafetensorError):
        raise ModelError(
            "The adapter in {folder} is damaged: {file} is cut off; choose another, or train it again.",
            folder=str(folder),
            file=WEIGHTS,
        ) from None


def _temporary_folder(parent: Path) -> TemporaryDirectory:
    """In `parent`, where files can be linked to; elsewhere if it is read-only."""
    try:
        return TemporaryDirectory(prefix=f"{ASIDE}load-", dir=parent)
    except OSError:
        return TemporaryDirectory(prefix=f"{ASIDE}load-")


def _link(file: Path, place: Path) -> None:
    for link in (os.link, os.symlink):
        try:
            link(file.resolve(), place)
            return
        except OSError:  # another disk, or a file system without such links
            continue
    shutil.copyfile(file, place)
