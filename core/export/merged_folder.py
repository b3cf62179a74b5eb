"""A merged model as a folder that transformers loads by itself: weights, settings and the tokenizer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from core.export.merged_weights import MergedWeights
from core.export.modelfile import chat_template
from core.export.safetensors_writer import Planned, write_sharded
from core.export.source import Source

TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "chat_template.jinja",
    "special_tokens_map.json",
)


def write_merged(
    folder: Path,
    source: Source,
    weights: MergedWeights,
    dtype: str,
    written: Callable[[int], None] = lambda size: None,
) -> None:
    """Fills `folder` with the merged model in this precision ("bfloat16", "float16" or "float32").

    `written` is told the bytes of each piece. Raises what it raises, and OSError.
    """
    copy_tokenizer(source, folder)  # first: a checkpoint may go while gigabytes are written; its weights are open
    tensors = [Planned(name, weights.shape(name), lambda name=name: weights.reader(name)) for name in weights.names]
    write_sharded(folder, tensors, dtype, written)
    settings = {
        key: value for key, value in weights.base.config.items() if key not in ("quantization_config", "torch_dtype")
    }
    _write_json(folder / "config.json", settings | {"dtype": dtype})
    own = source.base_dir / "generation_config.json"
    if own.is_file():
        shutil.copyfile(own, folder / own.name)


def copy_tokenizer(source: Source, folder: Path) -> None:
    """The tokenizer that the run was trained with, and the chat template that makes its prompts. Raises OSError."""
    for name in TOKENIZER:
        found = source.adapter_dir / name
        if found.is_file():
            shutil.copyfile(found, folder / name)
    template = chat_template(source)
    if template and source.config.data.prompt_template != "chat":
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _write_json(file: Path, values: dict) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
