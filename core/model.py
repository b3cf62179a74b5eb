"""The loaded model: load it, attach an adapter, look at it with and without. Knows nothing of threads or gradio.

With `core.train` and `core.trainer` the only place that reaches unsloth, all through `import_unsloth`.
"""

import ctypes
import gc
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from core.disk.atomic import ASIDE
from core.disk.tolerant_reading import Unreadable, read_json
from core.hub import Report, checked_adapter, locate
from core.hub_names import exact_name
from core.problems import ModelError
from core.settings.paths import PROJECT_DIR
from core.settings.sections import AdapterConfig, ModelConfig

GIB = 1024**3
OTHER_SHAPES = "its weights have other shapes than its settings say"
OF_ADAPTER = ("lora_", "modules_to_save", "trainable_tokens_")  # in the names of an adapter's own weights
ADAPTER_FILES = ("*.json", "*.jinja", "*.model", "*.txt")  # beside its weights: its settings and its tokenizer
NEEDS_CODE = (
    "{name} cannot be loaded without running code of its own, and none is run unasked; choose another, or, if you have read "
    "that code, give the model's exact name under More, Run this model's own code."
)


def import_unsloth():
    """The unsloth package, with its background activities switched off. The first call takes about ten seconds."""
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")  # no probe of the network at start-up
    os.environ.setdefault("UNSLOTH_AUTO_INSTALL", "0")  # no llama.cpp installed unasked
    os.environ.setdefault("UNSLOTH_DATASET_NUM_PROC", "0")  # no forks beside a training thread
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(PROJECT_DIR / "unsloth_compiled_cache"))
    # Threads that wait for each other spin briefly, then sleep. By default they spin for long, and beside any other
    # busy program a step of a small model then takes ten times as long; sleeping at once costs half as much again.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("UNSLOTH_FORCE_CPU", "1")  # a driver without a usable card makes the import raise
    import unsloth  # isort: skip  first, because it patches the others
    import datasets
    import transformers

    # Their progress bars would be drawn over ours.
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    return unsloth


class ModelReport(BaseModel, frozen=True):
    """What was loaded. `seconds` it took; `memory_gib` that its weights take."""

    name: str
    parameters: int
    linear_layers: int
    linear_layers_4bit: int
    tied_embeddings: bool
    has_chat_template: bool
    dtype: str
    device: str
    max_seq_length: int
    memory_gib: float
    seconds: float


@dataclass
class LoadedModel:
    """A model in memory, its tokenizer, and how it came there.

    `is_pristine` until an adapter has touched it: only then may a run start on it without loading it anew.
    """

    model: Any
    tokenizer: Any
    config: ModelConfig
    report: ModelReport
    has_adapter: bool = False
    fingerprint: str | None = None  # of the base, from before any adapter was on it (`core.proof`)
    is_doubtful: bool = False  # once a proof has failed: it must not stay in use
    supports_rows: bool | None = None  # whether PEFT's pass of a row per adapter works here; None until it was tried

    @property
    def is_pristine(self) -> bool:
        return not self.has_adapter

    @property
    def device(self):
        """Where it computes. Not `model.device`, which is where its first weight lies: Unsloth's offloading checkpointing
        leaves the originals of trained embeddings in the computer's memory."""
        import torch

        return torch.device(self.report.device)

    @property
    def eos_token_ids(self) -> list[int]:
        """The tokens that end an answer."""
        ids = self.model.generation_config.eos_token_id
        ids = ids if isinstance(ids, list) else [ids]
        return sorted({i for i in (*ids, self.tokenizer.eos_token_id) if i is not None})


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
            _made_up_weights() as made_up,
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
    _show_bias(model)
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


@contextmanager
def _made_up_weights():
    """A list that is no longer empty once transformers has reported that weights were missing and it made them up."""
    import logging

    class Reports(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "MISSING:" in record.getMessage():
                found.append(record)

    found: list = []
    logger, handler = logging.getLogger("transformers.modeling_utils"), Reports()
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


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


def attach_adapter(
    loaded: LoadedModel,
    config: AdapterConfig,
    use_gradient_checkpointing: str | bool,
    seed: int,
    token_ids: Sequence[int] | None = None,
) -> None:
    """Puts a fresh adapter on a pristine model. Raises ModelError when the model has no such layers.

    `token_ids` are the rows that train where the settings ask for single rows (`core.token_rows.rows_to_train`).
    """
    if config.trains_rows != (token_ids is not None):
        raise ValueError("token_ids are given if and only if single rows train")
    model, is_tied = loaded.model, loaded.report.tied_embeddings
    # Of a tied pair PEFT takes the head along by itself, and with the head alone it would come apart.
    layers = ["embed_tokens"] if is_tied else config.modules_to_save
    if token_ids is None:
        # Tied weights stay one tensor; without this, training both makes copies that drift apart.
        trained = {
            "modules_to_save": list(config.modules_to_save) or None,
            "ensure_weight_tying": bool(config.modules_to_save) and is_tied,
        }
    else:
        trained = {"trainable_token_indices": {name: list(token_ids) for name in layers}}
    # Unsloth's offloading writes the embeddings to a file below this name: for a path, into the model's own folder.
    place, model.config._name_or_path = model.config._name_or_path, "embeddings"
    try:
        # Windows deletes no file that is still mapped, as that of the offloaded embeddings is.
        with TemporaryDirectory(prefix="hearthtune-", ignore_cleanup_errors=True) as folder:
            loaded.model = import_unsloth().FastLanguageModel.get_peft_model(
                model,
                r=config.r,
                target_modules=list(config.target_modules),
                lora_alpha=config.lora_alpha,
                lora_dropout=config.lora_dropout,
                bias="none",
                use_rslora=config.use_rslora,
                **trained,
                use_gradient_checkpointing=use_gradient_checkpointing,
                random_state=seed,
                temporary_location=folder,
            )
    except ValueError as error:
        raise ModelError(f"The adapter does not fit this model: {str(error).splitlines()[0]:.300}.") from error
    finally:
        model.config._name_or_path = place
    _show_bias(loaded.model)
    # The name, not the folder on this machine: a run can be moved and given away.
    loaded.model.peft_config["default"].base_model_name_or_path = loaded.report.name
    loaded.has_adapter = True


def _show_bias(model) -> None:
    """TRL's check reads the head's bias, of which Llamas have none; PEFT's wrapper of trained rows shows the weight alone."""
    for module in model.modules():
        if type(module).__name__ == "TrainableTokensWrapper" and getattr(module.original_module, "bias", None) is None:
            module.bias = None


@contextmanager
def for_inference(loaded: LoadedModel):
    """The model ready to generate: no dropout, with a KV cache, padding on the left; as before afterwards."""
    language_model = import_unsloth().FastLanguageModel
    moved: list[tuple] = []
    try:
        language_model.for_inference(loaded.model)
        _gather_original_embeddings(loaded.model, moved)
        yield loaded.model
    finally:
        for weight, original in moved:
            weight.data = original
        language_model.for_training(loaded.model)


@contextmanager
def base_view(loaded: LoadedModel):
    """The model without its adapter. Never during training: PEFT freezes the adapter meanwhile."""
    if not loaded.has_adapter:
        yield loaded.model
        return
    with loaded.model.disable_adapter(), _kernels_aside(loaded.model):
        yield loaded.model


@contextmanager
def _kernels_aside(model):
    """Every adapted layer is computed by PEFT meanwhile, as in a base that never had an adapter.

    On a card Unsloth puts kernels of its own in the place of adapted layers, which round otherwise. Those leave a layer
    to PEFT where more than one adapter is active; the same one twice is that, and changes nothing else.
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [layer._active_adapter for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = layer.active_adapters[:1] * 2
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


def _gather_original_embeddings(model, moved: list[tuple]) -> None:
    """Brings the untrained embeddings to the device of the trained ones; adds each weight and what it was to `moved`.

    Unsloth's offloading checkpointing leaves the originals of trained embeddings in the computer's memory, where
    the base pass cannot use them.
    """
    for module in model.modules():
        if type(module).__name__ == "ModulesToSaveWrapper":
            weight, device = module.original_module.weight, module.weight.device
            if weight.device != device:
                moved.append((weight, weight.data))
                weight.data = weight.data.to(device)


def free_memory() -> None:
    """Gives memory that nothing refers to any more back to the device and to the system."""
    import torch

    if offloading := sys.modules.get("unsloth_zoo.gradient_checkpointing"):
        # It does so itself only after a run that came to its end: not when it was stopped or failed.
        offloading.reset_unsloth_gradient_checkpointing_buffers()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if hasattr(libc, "malloc_trim"):
        # glibc keeps what threads have freed in a pool for each of them, which grow one by one over many runs.
        libc.malloc_trim(0)
