"""The loaded model: load it, attach an adapter, look at it with and without. Knows nothing of threads or gradio.

With `core.training.train` and `core.training.trainer` the only place that reaches unsloth, all through `import_unsloth`.
"""

import json
import os
import re
import shutil
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from core.disk.atomic import ASIDE
from core.disk.tolerant_reading import Unreadable, read_json
from core.hub_names import exact_name
from core.model.device_memory import free_memory
from core.model.download import Report
from core.model.library_patches import made_up_weights, show_bias
from core.model.loaded_model import LoadedModel, ModelReport
from core.model.model_files import checked_adapter, locate
from core.model.unsloth_start import import_unsloth
from core.problems import ModelError
from core.settings.sections import ModelConfig

GIB = 1024**3
OTHER_SHAPES = "its weights have other shapes than its settings say"
OF_ADAPTER = ("lora_", "modules_to_save", "trainable_tokens_")  # in the names of an adapter's own weights
ADAPTER_FILES = ("*.json", "*.jinja", "*.model", "*.txt")  # beside its weights: its settings and its tokenizer
NEEDS_CODE = (
    "{name} cannot be loaded without running code of its own, and none is run unasked; choose another, or, if you have read "
    "that code, give the model's exact name under More, Run this model's own code."
)


def load(
    config: ModelConfig,
    token: str | None = None,
    adapter_dir: Path | None = None,
    report: Report = lambda text, share: None,
    use_gradient_checkpointing: str | bool = "unsloth",
) -> LoadedModel:
    """The base model, with the adapter in `adapter_dir` on it when given. Raises ModelError with one sentence."""
    report("Starting Unsloth", None)
    unsloth = import_unsloth()
    import torch

    began = time.monotonic()
    folder = locate(config, token, report)
    is_trusted = config.trust_remote_code is not None
    if not is_trusted and _needs_code(folder):
        raise ModelError(NEEDS_CODE.format(name=config.model_name))
    report("Loading the weights", None)
    try:
        with (
            made_up_weights() as made_up,
            adapter_files(adapter_dir, folder, config) if adapter_dir else nullcontext(folder) as place,
        ):
            model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
                model_name=str(place),
                max_seq_length=config.max_seq_length,
                dtype=None if config.dtype == "auto" else getattr(torch, config.dtype),
                load_in_4bit=config.load_in_4bit,
                use_exact_model_name=True,
                use_gradient_checkpointing=use_gradient_checkpointing,
                trust_remote_code=is_trusted,
            )
    except ModelError:
        raise
    except Exception as error:  # five libraries raise what they like; each becomes a sentence, none is hidden
        if isinstance(error, torch.OutOfMemoryError):
            free_memory()
            raise ModelError(
                f"{config.model_name} does not fit into the card's memory; take 4-bit weights or a smaller model."
            ) from None
        if not is_trusted and "trust_remote_code" in str(error):  # of a tokenizer, say
            raise ModelError(NEEDS_CODE.format(name=config.model_name)) from None
        if adapter_dir and has_other_shapes(error):
            raise ModelError(
                f"The adapter in {adapter_dir} is damaged: {OTHER_SHAPES}; choose another, or train it again."
            ) from None
        if "ignore_mismatched_sizes" in str(error):
            raise ModelError(f"{config.model_name} is damaged: {OTHER_SHAPES}; fetch the model again.") from None
        # Of such errors the words are for programmers: a key, the name of a type.
        is_said = not isinstance(
            error, (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, AssertionError)
        )
        why = _first_sentence(error) if is_said else "a value in its files is none that the loader can use"
        raise ModelError(f"{config.model_name} could not be loaded: {why}.") from error
    show_bias(model)
    if made_up:
        raise ModelError(f"{config.model_name} is damaged: some of its weights are missing; fetch the model again.")
    if (wrong := not_finite(model)) is not None:
        hurt = f"The adapter in {adapter_dir}" if any(part in wrong for part in OF_ADAPTER) else config.model_name
        raise ModelError(f"{hurt} is damaged: some of its weights are no numbers; take another copy.")
    return LoadedModel(
        model, tokenizer, config, _describe(model, tokenizer, config, time.monotonic() - began), adapter_dir is not None
    )


def not_finite(model, within: str = "") -> str | None:
    """The name, with `within` in it, of a weight that holds NaN or infinity. One pass of sums, which takes no memory."""
    import torch

    for name, weight in model.named_parameters():
        if (
            within in name
            and weight.is_floating_point()
            and weight.device.type != "meta"
            and not weight.sum(dtype=torch.float32).isfinite()
        ):
            return name
    return None


def has_other_shapes(error: Exception) -> bool:
    """Whether PEFT found the weights of an adapter not to fit the model."""
    return "loading state_dict for Peft" in str(error)


def _first_sentence(error: Exception) -> str:
    """Without its full stop, and short."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        re.split(r"[.!?:]+(?:\s|$)", first, maxsplit=1)[0][:200]
        if not first.startswith("Unsloth: ")
        else first[:200].rstrip(".")
    )


def _needs_code(folder: Path) -> bool:
    """Whether the model's classes are only in its own folder, so that to load it is to run what lies there."""
    from transformers import CONFIG_MAPPING

    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bool(settings.get("auto_map")) and settings["model_type"] not in CONFIG_MAPPING


@contextmanager
def adapter_files(adapter_dir: Path, base: Path, config: ModelConfig):
    """A folder with the adapter's files whose settings name the base where it lies on this machine.

    The adapter's own folder is left as it is. Raises ModelError when it is damaged or belongs to another model.
    """
    try:
        saved = read_json(adapter_dir / "adapter_config.json")
    except Unreadable as error:
        raise ModelError(f"The adapter in {adapter_dir} cannot be read: of adapter_config.json, {error}.") from None
    made_for = saved.get("base_model_name_or_path")
    if not isinstance(made_for, str):
        raise ModelError(f"The adapter in {adapter_dir} cannot be read: its adapter_config.json names no model.")
    if made_for not in (config.model_name, exact_name(config)):
        raise ModelError(f"The adapter in {adapter_dir} was made for {made_for:.80}; choose that model to use it.")
    weights = checked_adapter(adapter_dir)
    with TemporaryDirectory(prefix=f"{ASIDE}load-", dir=adapter_dir.parent) as folder:
        # Nothing that could hold code comes along; and no copy: trained embeddings take gigabytes.
        for file in (weights, *(file for suffix in ADAPTER_FILES for file in adapter_dir.glob(suffix))):
            if file.is_file() and file.name != "adapter_config.json":
                _link(file, Path(folder) / file.name)
        settings = json.dumps(saved | {"base_model_name_or_path": str(base), "revision": None})
        (Path(folder) / "adapter_config.json").write_text(settings, encoding="utf-8")
        yield folder


def _link(file: Path, place: Path) -> None:
    try:
        os.link(file, place)
    except OSError:  # a file system without links
        shutil.copyfile(file, place)


def _describe(model, tokenizer, config: ModelConfig, seconds: float) -> ModelReport:
    import torch

    def is_of_base(name: str) -> bool:
        return not any(part in name for part in OF_ADAPTER)

    linear = [
        module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and is_of_base(name)
    ]
    in_4bit = [module for module in linear if type(module).__name__ == "Linear4bit"]
    # A 4-bit weight stores two values in a byte, so its own count is half of what it stands for.
    packed = sum(module.weight.numel() for module in in_4bit)
    unpacked = sum(module.in_features * module.out_features for module in in_4bit)
    embeddings = model.get_input_embeddings()
    embeddings = getattr(embeddings, "original_module", embeddings)  # a trained copy may have another precision
    return ModelReport(
        name=exact_name(config),
        parameters=sum(weight.numel() for name, weight in model.named_parameters() if is_of_base(name))
        - packed
        + unpacked,
        linear_layers=len(linear),
        linear_layers_4bit=len(in_4bit),
        tied_embeddings=bool(model.config.tie_word_embeddings),
        has_chat_template=bool(tokenizer.chat_template),
        dtype=str(embeddings.weight.dtype).removeprefix("torch."),
        device=str(model.device),
        max_seq_length=int(getattr(model, "max_seq_length", config.max_seq_length)),
        memory_gib=model.get_memory_footprint() / GIB,
        seconds=seconds,
    )
