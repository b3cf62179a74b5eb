"""Exports a run as a script: `train.py` with its rows beside it, which trains the same adapter without this app."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from pprint import pformat

from core.data.prepared.prepare import prepare
from core.disk.atomic import put_in_place
from core.disk.tolerant_reading import read_json
from core.export.export_files import check_replaceable, errors_of_disk
from core.families import layers_for
from core.hub_names import Token, exact_name
from core.model.load import load_tokenizer
from core.model.model_files import locate
from core.problems import ExportError, mark
from core.runs.run_folder import Run
from core.settings.paths import resolve_path
from core.settings.run_config import RunConfig
from core.training.trainer import training_arguments

TOKENIZER = "tokenizer"  # the folder beside the rows, where the chat template is not the model's own
SCRIPT = Path(__file__).with_name("train_script.py")
EMPTY = "SETTINGS: dict = {}  # filled in by the export"
# What the script imports, and what of that Unsloth imports; Unsloth's own list of requirements asks for more.
PACKAGES = (
    "unsloth", "unsloth_zoo", "torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets",
    "pyarrow", "sentencepiece", "protobuf", "psutil",
)  # fmt: skip
WITHOUT_DEPENDENCIES = ("unsloth", "unsloth_zoo")
ADAPTER = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora")
CONTINUES = mark(
    "Run {run} continues from another adapter, which a script cannot bring along; export its adapter instead."
)
SINGLE_ROWS = mark(
    "Run {run} trains the embeddings of single tokens, which a script cannot; export its adapter instead."
)
NO_BATCH = mark("Run {run} has not chosen its batch size yet: train it first, or set the batch size to a number.")


def write_script(run: Run, out: Path, token: Token = None) -> tuple[Path, Path]:
    """Writes train.py and rows.parquet into the folder `out`, with the tokenizer if the settings name a chat template;
    returns the two files.

    `token` is for gated models and data. Raises ConfigError if `out` has other files, ExportError if the run cannot be
    a script, and what reading its rows raises: ModelError, DataError.
    """
    check_replaceable(run, out)
    config = _decided(run)
    alone = load_tokenizer(config.model, token)
    about = read_json(locate(config.model, token, with_weights=False) / "config.json")
    layers = layers_for(about["model_type"], config.adapter.target_modules)
    data = prepare(
        config.data, alone.tokenizer, config.model.max_seq_length, config.training.completion_only_loss, token,
        end_ids=alone.eos_token_ids, embeddings=alone.embeddings, prompt_date=run.prompt_date,
    )  # fmt: skip

    def write(folder: Path) -> None:
        rows = folder / "rows.parquet"
        data.train.as_dataset().to_parquet(str(rows))
        settings = _settings(config, alone.tokenizer, hashlib.sha256(rows.read_bytes()).hexdigest(), layers)
        source = SCRIPT.read_text(encoding="utf-8")
        filled = source.replace(EMPTY, f"SETTINGS = {pformat(settings, width=100, sort_dicts=False)}")
        if config.model.chat_template:
            alone.tokenizer.save_pretrained(str(folder / TOKENIZER))
        (folder / "train.py").write_text(_header() + filled, encoding="utf-8")

    with errors_of_disk(out):
        put_in_place(out, write)
    return out / "train.py", out / "rows.parquet"


def _decided(run: Run) -> RunConfig:
    """The settings that the run trained with, the batch size as a number. Raises ExportError."""
    config = run.config()
    if config.adapter.continue_from:
        raise ExportError(CONTINUES, run=run.id)
    if config.adapter.trains_rows:
        raise ExportError(SINGLE_ROWS, run=run.id)
    if config.training.per_device_train_batch_size == "auto":
        chosen = run.snapshot().batch_chosen
        if chosen is None:
            raise ExportError(NO_BATCH, run=run.id)
        return config.with_batch(chosen.batch, chosen.accumulation)
    return config


def _settings(config: RunConfig, tokenizer, rows_sha256: str, layers: list[str]) -> dict:
    model, adapter, training = config.model, config.adapter, config.training
    folder = resolve_path(model.model_name)
    is_exact = exact_name(model.model_name, model.load_in_4bit) == model.model_name
    return {
        "model": {
            "model_name": model.model_name if folder is None else str(folder),
            "revision": model.revision if is_exact else None,
            "max_seq_length": model.max_seq_length,
            "dtype": model.dtype,
            "load_in_4bit": model.load_in_4bit,
        },
        "tokenizer": TOKENIZER if model.chat_template else None,
        "adapter": {name: getattr(adapter, name) for name in ADAPTER}
        | {"target_modules": layers, "modules_to_save": list(adapter.modules_to_save) or None},
        "training": training_arguments(config),
        "checkpointing": training.use_gradient_checkpointing,
        "pad_token": tokenizer.pad_token,
        "rows_sha256": rows_sha256,
    }


def _header() -> str:
    """The dependencies, as PEP 723 writes them, with the versions of this machine."""
    lines = [f'requires-python = "=={platform.python_version_tuple()[0]}.{platform.python_version_tuple()[1]}.*"']
    lines += ["dependencies = ["]
    lines += [f'    "{name}=={version(name).partition("+")[0]}",' for name in PACKAGES]
    lines += ["]"]
    for name in WITHOUT_DEPENDENCIES:
        lines += [
            "[[tool.uv.dependency-metadata]]",
            f'name = "{name}"',
            f'version = "{version(name)}"',
            "requires-dist = []",
        ]
    return "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", ""])
