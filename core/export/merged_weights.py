"""The weights of a base with an adapter merged into them, one at a time, in float32.

Formulas: LoRA (Hu et al. 2021) W + s·B·A with s = alpha / r, or alpha / sqrt(r) for rsLoRA (Kalajdzievski 2023); DoRA
(Liu et al. 2024) scales each row of that to its trained magnitude.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import sqrt

from safetensors import safe_open

from core.export.base_weights import BaseWeights, opened
from core.export.source import Source
from core.export.wanted import Base
from core.model.adapter_kind import PREFIX
from core.problems import ModelError, mark

CANNOT_MERGE = mark(
    "The adapter in {folder} contains {weight:.80}, which cannot be merged into a weight of its base; export the "
    "adapter itself instead."
)
HEAD_NOT_TRAINED = mark(
    "The adapter in {folder} changes the embeddings but not the output layer, and in its base both are the same "
    "weights, so a merged model would answer differently; export the adapter itself instead."
)
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
KINDS = {  # how the keys of an adapter's file end (peft 0.21.2, get_peft_model_state_dict)
    ".lora_A.weight": "A",
    ".lora_B.weight": "B",
    ".lora_embedding_A": "embedding_A",
    ".lora_embedding_B": "embedding_B",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".token_adapter.trainable_tokens_delta": "tokens",
    ".trainable_tokens_delta": "tokens",
}


class MergedWeights:
    """The weights of `base` with an adapter, of which these keys count, merged into them; see `merged`."""

    def __init__(self, base: BaseWeights, source: Source, adapter, keys: Sequence[str]):
        self.base, self.names = base, base.names
        self._settings, self._adapter = source.settings, adapter
        self._parts: dict[str, dict[str, str]] = {}  # by the base's weight: the adapter's keys for it, by kind
        for key in keys:
            weight, kind = _place(key)
            if weight == HEAD and base.is_tied:  # PEFT saves the embeddings a second time
                continue
            if kind is None or weight not in base.names:
                raise ModelError(CANNOT_MERGE, folder=str(source.adapter_dir), weight=key)
            self._parts.setdefault(weight, {})[kind] = key
        trained = self._parts.get(EMBEDDINGS, {})
        is_head_saved = any(_place(key)[0] == HEAD for key in keys)
        if base.is_tied and trained and not is_head_saved and "tokens" not in trained:
            raise ModelError(HEAD_NOT_TRAINED, folder=str(source.adapter_dir))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.base.shape(name)

    def is_changed(self, name: str) -> bool:
        """Whether the adapter changes this weight."""
        return name in self._parts

    def reader(self, name: str) -> Callable:
        """What gives the rows from `first` to before `last` of the merged weight, as `BaseWeights.reader`."""
        import torch

        keys = dict(self._parts.get(name, {}))
        whole = keys.pop("whole", None)
        tokens = self._trained_tokens(name, keys.pop("tokens", None))
        parts = {kind: self._adapter.get_tensor(key).float() for kind, key in keys.items()}
        trained = self._adapter.get_slice(whole) if whole else None
        base = self.base.reader(name)

        def read(first: int, last: int):
            rows = base(first, last) if trained is None else trained[first:last].float()
            if "A" in parts:
                rows = torch.addmm(rows, parts["B"][first:last], parts["A"], alpha=self.scale(name))
            if "embedding_A" in parts:
                rows = rows + self.scale(name) * (parts["embedding_B"] @ parts["embedding_A"][:, first:last]).T
            if "magnitude" in parts:
                rows = rows * (parts["magnitude"].flatten()[first:last] / rows.norm(dim=1)).unsqueeze(1)
            if tokens:
                rows = rows.clone()  # those of a base in float32 may be the file's own
            for token, row in tokens.items():
                if first <= token < last:
                    rows[token - first] = row
            return rows

        return read

    def low_rank(self, name: str) -> tuple | None:
        """(A, B) in float32, of shapes (rank, columns) and (rows, rank); None if there is more than these."""
        keys = self._parts.get(name, {})
        if keys.keys() != {"A", "B"}:
            return None
        return tuple(self._adapter.get_tensor(keys[kind]).float() for kind in ("A", "B"))

    def scale(self, name: str) -> float:
        """What B·A of this weight is multiplied by."""
        layer = name.removesuffix(".weight")
        rank = _of_layer(self._settings.get("rank_pattern"), layer, self._settings["r"])
        alpha = _of_layer(self._settings.get("alpha_pattern"), layer, self._settings["lora_alpha"])
        return alpha / (sqrt(rank) if self._settings.get("use_rslora") else rank)

    def _trained_tokens(self, name: str, key: str | None) -> dict:
        """The rows of the tokens that were trained one by one, by the token's id."""
        if key is None:
            return {}
        listed = self._settings["trainable_token_indices"]
        ids = listed[name.split(".")[-2]] if isinstance(listed, dict) else listed
        return dict(zip(ids, self._adapter.get_tensor(key).float(), strict=True))


@contextmanager
def merged(source: Source, onto: Base = "trained", with_adapter: bool = True) -> Iterator[MergedWeights]:
    """The base's weights with the adapter merged into them, or alone; files are open meanwhile.

    `onto`: "trained" for the base as it was trained on, so that the result is what Compare shows; "original" for the
    16-bit weights (`Source.original_dir`), for which the adapter was not made if it was trained in 4-bit. Raises
    ModelError if the adapter contains something else than LoRA, DoRA, and layers or tokens that were trained whole.
    """
    model = source.config.model
    is_trained = onto == "trained"
    folder = source.base_dir if is_trained else source.original_dir
    dtype = None if model.dtype == "auto" else model.dtype
    with (
        opened(folder, is_trained and model.load_in_4bit, dtype) as base,
        safe_open(source.weights, framework="pt") as adapter,
    ):
        yield MergedWeights(base, source, adapter, adapter.keys() if with_adapter else ())


def _place(key: str) -> tuple[str, str | None]:
    """(name of the base's weight, kind) of a key in an adapter's file; the kind is None if it cannot be merged."""
    name = key.removeprefix(PREFIX)
    for suffix, kind in KINDS.items():
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix)}.weight", kind
    is_whole = "lora_" not in name and "trainable_tokens_" not in name
    return name.replace(".base_layer.", ".").replace(".modules_to_save.", "."), "whole" if is_whole else None


def _of_layer(pattern: dict | None, layer: str, default: int) -> int:
    """The value for a layer: that of the first key which matches the end of its name (peft.utils.get_pattern_key)."""
    return next((value for key, value in (pattern or {}).items() if re.match(rf"(.*\.)?({key})$", layer)), default)
