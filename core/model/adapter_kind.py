"""What kind of adapter a folder holds, and whether the base stays the base under it.

Adapters of other programs come in kinds that cannot be used here. Some also change the weights of the base itself:
then what is shown as the base would not be it, also with the adapter off.
"""

import filecmp
import json
from collections.abc import Iterator
from pathlib import Path

from safetensors import safe_open

from core.disk.tolerant_reading import Unreadable, read_json
from core.model.library_patches.peft_parts import EMBEDDINGS, LORA_KINDS, changes_base
from core.problems import ModelError, mark

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # the files that PEFT saves
OTHER_KIND = mark(
    "The adapter in {folder} is of type {kind:.40}, and only LoRA adapters can be used here: choose one of those, "
    "or train it again as LoRA."
)
CHANGES_BASE = mark(
    "The adapter in {folder} was initialized with init_lora_weights={init:.40}, which changes the weights of the base "
    "itself: where it was trained, save it once more with path_initial_model_for_weight_conversion, which makes it an "
    "ordinary LoRA adapter, and use that."
)
LOFTQ = mark(
    "The adapter in {folder} was initialized with init_lora_weights={init:.40}, which changes the weights of the base "
    "itself and cannot be converted: train it again without, or choose another."
)
REPEATS_LAYERS = mark(
    "The adapter in {folder} builds another model out of the base's layers (layer_replication), so there would be no "
    "base to compare with: choose another, or train it again without."
)
BRINGS_WEIGHTS = mark(
    "The adapter in {folder} contains {weight:.80}, a weight of the base itself that differs from the base's: save it "
    "without (save_embedding_layers=False), or, if that weight was trained (bias), train it again without."
)
OTHER_VOCABULARY = mark(
    "The adapter in {folder} was trained with {theirs:,} embeddings and {model} has {ours:,}, because tokens were "
    "added before it was trained: choose the model to which they were added, or another adapter."
)
OTHER_TOKENIZER = mark(
    "The adapter in {folder} was trained with another tokenizer than {model} has and would answer nonsense: choose the "
    "model that it was trained on, or train it again."
)
PREFIX = "base_model.model."  # in front of the base's own names in an adapter's file


def check_adapter(adapter_dir: Path, settings: dict, weights: Path, base: Path, name: str) -> None:
    """Raises ModelError when the adapter cannot be used on the model `name` in the folder `base`, or would change it.

    `settings` are those of the adapter, and `weights` is its file, which is read only as far as needed.
    """
    # Without PEFT: importing it fails while another thread is importing Unsloth, because each needs the other.
    folder, kind, init = str(adapter_dir), settings.get("peft_type"), settings.get("init_lora_weights")
    if isinstance(kind, str) and kind not in LORA_KINDS:  # PEFT refuses anything that is not a name
        raise ModelError(OTHER_KIND, folder=folder, kind=kind)
    if changes_base(init):
        raise ModelError(LOFTQ if init == "loftq" else CHANGES_BASE, folder=folder, init=init)
    if settings.get("layer_replication"):
        raise ModelError(REPEATS_LAYERS, folder=folder)
    ours = _vocabulary(base)
    with safe_open(weights, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118  not a dict
            theirs = _rows(key, file.get_slice(key).get_shape())
            if theirs and ours and theirs != ours:
                raise ModelError(OTHER_VOCABULARY, folder=folder, model=name, theirs=theirs, ours=ours)
            if not _is_its_own(key, settings) and not _is_equal(file.get_tensor(key), key, base):
                raise ModelError(BRINGS_WEIGHTS, folder=folder, weight=_name_in_base(key))
    if not _is_cut_alike(adapter_dir / "tokenizer.json", base / "tokenizer.json"):
        raise ModelError(OTHER_TOKENIZER, folder=folder, model=name)


def _is_cut_alike(theirs: Path, ours: Path) -> bool:
    """Whether no token has another id, as far as both files can be read; the adapter's is used for nothing else.

    Tokens that only one of them has may have been added.
    """
    if not (theirs.is_file() and ours.is_file()) or filecmp.cmp(theirs, ours, shallow=False):
        return True
    ids = _tokens(ours)
    return all(ids.get(token, number) == number for token, number in _tokens(theirs).items())


def _tokens(tokenizer: Path) -> dict[str, int]:
    """The ids of the tokens in a tokenizer.json; Unigram lists them in their order, with scores."""
    try:
        tokens = read_json(tokenizer)["model"]["vocab"]
    except (Unreadable, KeyError):
        return {}
    return tokens if isinstance(tokens, dict) else {token: number for number, (token, _) in enumerate(tokens)}


def _vocabulary(base: Path) -> int | None:
    """How many embeddings the base has, if its config.json says so."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    rows = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return rows if isinstance(rows, int) else None


def _rows(key: str, shape: list[int]) -> int | None:
    """The number of embeddings that a weight of an embedding was made for; None for any other weight."""
    parts = key.split(".")
    if not set(parts) & EMBEDDINGS or len(shape) != 2:
        return None
    if "lora_embedding_A" in parts:
        return shape[1]
    whole = parts[-1] == "weight" and not {"lora_A", "lora_B"} & set(parts)
    return shape[0] if whole or ("lm_head" in parts and "lora_B" in parts) else None


def _is_its_own(key: str, settings: dict) -> bool:
    """Whether a weight belongs to the adapter, rather than being one of the base that was saved with it."""
    if any(part.startswith(("lora_", "trainable_tokens_")) for part in key.split(".")):
        return True
    trained = [str(name) for name in settings.get("modules_to_save") or ()]
    # Of a tied pair, PEFT lists one and saves both.
    if any(name.rpartition(".")[2] in EMBEDDINGS for name in trained) and set(key.split(".")) & EMBEDDINGS:
        return True
    return any(f".{name}." in f".{key}." for name in trained)


def _name_in_base(key: str) -> str:
    return key.removeprefix(PREFIX).replace(".base_layer.", ".")


def _is_equal(weight, key: str, base: Path) -> bool:
    """Whether the base has just this weight. A tied head, which is in no file, is the embeddings."""
    import torch

    name = _name_in_base(key)
    embeddings = name.replace("lm_head", "model.embed_tokens")
    found = next((tensor for wanted in (name, embeddings) for tensor in _tensors(base, wanted)), None)
    return found is not None and found.shape == weight.shape and torch.equal(found.float(), weight.float())


def _tensors(base: Path, name: str) -> Iterator:
    """The weight of that name in the base's files, if there is one."""
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118  not a dict
                yield file.get_tensor(name)
