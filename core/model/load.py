"""Loads a base model, with or without an adapter on it, and checks what came out. Library errors become ModelErrors."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from core.disk.sizes import GIB
from core.disk.tolerant_reading import read_json
from core.hub_names import Token, exact_name
from core.model.adapter_files import NOT_FINITE, OTHER_SHAPES, adapter_files
from core.model.device_memory import free_memory, is_out_of_memory
from core.model.download import Report
from core.model.library_patches.model_parts import (
    has_mismatched_weights,
    is_4bit,
    keeps_its_embeddings,
    made_up_weights,
    wants_to_run_code,
)
from core.model.library_patches.peft_parts import has_mismatched_adapter, original, show_bias
from core.model.loaded_model import LoadedModel, ModelReport, TokenizerAlone, embedding_rows, end_ids
from core.model.model_files import locate
from core.model.model_kind import NEEDS_CODE, check_kind, continues_text, other_kind
from core.model.new_tokens import give_chat_template
from core.model.unsloth_start import import_unsloth
from core.model.vocabulary import make_padding_usable
from core.problems import ModelError, tr
from core.settings.sections import ModelConfig
from core.threads import Stopped

IN_ADAPTER_NAMES = ("lora_", "modules_to_save", "trainable_tokens_")  # in the names of an adapter's own weights
# Errors whose text means something only to a programmer, such as a key or the name of a type.
WORDLESS = (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, AssertionError)


def load(
    config: ModelConfig,
    token: Token = None,
    adapter_dir: Path | None = None,
    report: Report = lambda text, share: None,
    use_gradient_checkpointing: str | bool = "unsloth",
) -> LoadedModel:
    """The base model, with the adapter in `adapter_dir` on it if one is given. Raises ModelError.

    `token` is for gated and private models on Hugging Face. `report` is told about the progress.
    """
    began = time.monotonic()
    folder = find_loadable(config, token, report)
    report(tr("Loading the weights"), None)
    with _errors_as_sentences(config, adapter_dir):
        model, tokenizer = _from_pretrained(config, folder, adapter_dir, use_gradient_checkpointing)
        show_bias(model)
        tokenizer, new_ids = give_chat_template(tokenizer, config, embedding_rows(model))
        make_padding_usable(model, tokenizer)
        _check_finite(model, config, adapter_dir)
        described = describe(model, tokenizer, config, time.monotonic() - began)
    return LoadedModel(
        model, tokenizer, config, described, has_adapter=adapter_dir is not None, new_ids=new_ids
    )  # fmt: skip


def load_tokenizer(
    config: ModelConfig, token: Token = None, report: Report = lambda text, share: None
) -> TokenizerAlone:
    """The tokenizer that `load` would return, without the weights, which are not downloaded. Raises ModelError."""
    folder = locate(config, token, report, with_weights=False)
    report(tr("Loading the tokenizer"), None)
    with _errors_as_sentences(config, None):
        import torch

        check_kind(folder, config)
        arguments = {"trust_remote_code": config.trust_remote_code is not None, "padding_side": "right"}
        is_on_gpu = torch.cuda.is_available()
        if is_on_gpu:  # there Unsloth corrects chat templates that have no generation prompt
            import_unsloth()
            from unsloth.tokenizer_utils import load_correct_tokenizer

            tokenizer = load_correct_tokenizer(str(folder), model_max_length=config.max_seq_length, **arguments)
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=config.max_seq_length, **arguments)
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
        settings = read_json(folder / "config.json")
        own = folder / "generation_config.json"
        ends = (read_json(own) if own.is_file() else settings).get("eos_token_id")
        rows = settings.get("vocab_size")
        tokenizer, _ = give_chat_template(tokenizer, config, rows or len(tokenizer))
    return TokenizerAlone(tokenizer, end_ids(ends, tokenizer), rows, config, is_on_gpu)


def find_loadable(config: ModelConfig, token: Token, report: Report) -> Path:
    """The model's folder, fetched if it must be, once all is well that can be known without reading the weights.

    Raises ModelError.
    """
    report(tr("Looking for the model"), None)
    with _errors_as_sentences(config, None):
        folder = locate(config, token, report)
        report(tr("Starting Unsloth"), None)
        import_unsloth()
        check_kind(folder, config)
    return folder


def _from_pretrained(config: ModelConfig, folder: Path, adapter_dir: Path | None, checkpointing: str | bool):
    """Model and tokenizer. Raises ModelError when weights are missing, and whatever the libraries raise."""
    import torch

    place = adapter_files(adapter_dir, folder, config) if adapter_dir else nullcontext(folder)
    with made_up_weights() as made_up, keeps_its_embeddings(), place as place_of_all:
        model, tokenizer = import_unsloth().FastLanguageModel.from_pretrained(
            model_name=str(place_of_all),
            max_seq_length=config.max_seq_length,
            dtype=None if config.dtype == "auto" else getattr(torch, config.dtype),
            load_in_4bit=config.load_in_4bit,
            token=False,  # all files are here; without this, Unsloth would take the token of this machine
            use_exact_model_name=True,
            use_gradient_checkpointing=checkpointing,
            trust_remote_code=config.trust_remote_code is not None,
        )
    if tokenizer.pad_token_id is None and tokenizer.all_special_tokens:
        tokenizer.pad_token = tokenizer.all_special_tokens[0]  # any will do, because padding is masked
    if made_up:
        if not continues_text(folder):
            raise other_kind(json.loads((folder / "config.json").read_text(encoding="utf-8")), config.model_name)
        raise ModelError(
            "{name} is damaged: some of its weights are missing; download the model again.", name=config.model_name
        )
    return model, tokenizer


@contextmanager
def _errors_as_sentences(config: ModelConfig, adapter_dir: Path | None) -> Iterator[None]:
    """Five libraries raise all kinds of errors while they load; each becomes a ModelError, and none is hidden."""
    name = config.model_name
    try:
        yield
    except (ModelError, Stopped):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            free_memory()
            raise ModelError(
                "{name} does not fit into the card's memory; use 4-bit weights or a smaller model.", name=name
            ) from None
        if config.trust_remote_code is None and wants_to_run_code(error):  # the tokenizer's, for example
            raise ModelError(NEEDS_CODE, name=name) from None
        if adapter_dir and has_mismatched_adapter(error):
            raise ModelError(OTHER_SHAPES, folder=str(adapter_dir)) from None
        if has_mismatched_weights(error):
            raise ModelError(
                "{name} is damaged: its weights have other shapes than its settings say; download the model again.",
                name=name,
            ) from None
        if isinstance(error, WORDLESS):
            raise ModelError(
                "{name} could not be loaded: one of its files contains an invalid value.", name=name
            ) from error
        raise ModelError("{name} could not be loaded: {reason}.", name=name, reason=_first_sentence(error)) from error


def _first_sentence(error: Exception) -> str:
    """Of a library's error: at most 200 characters, without the full stop."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if first.startswith("Unsloth: "):
        return first[:200].rstrip(".")
    return re.split(r"[.!?:]+(?:\s|$)", first, maxsplit=1)[0][:200]


def _check_finite(model, config: ModelConfig, adapter_dir: Path | None) -> None:
    """Raises ModelError, about the adapter or the base, when a weight is NaN or infinite."""
    name = not_finite(model)
    if name is None:
        return
    if any(part in name for part in IN_ADAPTER_NAMES):
        raise ModelError(NOT_FINITE, folder=str(adapter_dir))
    raise ModelError(
        "{name} is damaged: some of its weights are NaN or infinite; use another copy.", name=config.model_name
    )


def not_finite(model, within: str = "") -> str | None:
    """The name of a weight that contains NaN or infinity, among those with `within` in their names.

    Each weight is summed up, which takes no extra memory.
    """
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


def describe(model, tokenizer, config: ModelConfig, seconds: float) -> ModelReport:
    """What was loaded. `seconds` is how long that took."""
    import torch

    def is_of_base(name: str) -> bool:
        return not any(part in name for part in IN_ADAPTER_NAMES)

    linear = [
        module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and is_of_base(name)
    ]
    in_4bit = [module for module in linear if is_4bit(module)]
    # A 4-bit weight packs two values into a byte, so its tensor has only half as many elements.
    packed = sum(module.weight.numel() for module in in_4bit)
    unpacked = sum(module.in_features * module.out_features for module in in_4bit)
    stored = sum(weight.numel() for name, weight in model.named_parameters() if is_of_base(name))
    embeddings = original(model.get_input_embeddings())  # a trained copy may have another precision
    return ModelReport(
        name=exact_name(config.model_name, config.load_in_4bit),
        parameters=stored - packed + unpacked,
        linear_layers=len(linear),
        linear_layers_4bit=len(in_4bit),
        tied_embeddings=bool(model.config.tie_word_embeddings),
        has_chat_template=bool(tokenizer.chat_template),
        dtype=str(embeddings.weight.dtype).removeprefix("torch."),
        device=str(model.device),
        max_seq_length=int(getattr(model, "max_seq_length", config.max_seq_length)),
        memory_gib=model.get_memory_footprint() / GIB,
        seconds=seconds,
        chat_template=config.chat_template,
    )
