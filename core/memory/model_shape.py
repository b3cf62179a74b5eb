"""The shape of a model, read from its config.json alone, without its weights."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import httpx
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from pydantic import BaseModel, Field, ValidationError

from core.disk.tolerant_reading import Unreadable, read_json
from core.families import DOES, FAMILIES, Family, is_tied, sliding_layers
from core.hub_names import Token, checked_token, exact_name, is_hub_name
from core.memory.gguf_models import refuse_gguf, refuse_gguf_name
from core.memory.known_shapes import KNOWN
from core.memory.refused_models import check_family
from core.problems import ModelError, mark
from core.settings.paths import resolve_path
from core.settings.sections import ModelConfig

NOT_COUNTED = mark(
    "The memory of {model} cannot be estimated: its config.json is not that of a Llama, nor of another model whose "
    "memory is known."
)
_OF_THE_MLP = {"gate", "up", "down"}  # of what a matrix does; the rest is attention
# Both are far more than any real model has.
_MAX_SIZE = 10_000_000
_MAX_WEIGHTS = 10**13


class ModelShape(BaseModel, frozen=True):
    """The values of a config.json that memory depends on, most under the names that transformers uses there."""

    vocab_size: int = Field(ge=1, le=_MAX_SIZE)
    hidden_size: int = Field(ge=1, le=_MAX_SIZE)
    intermediate_size: int = Field(ge=1, le=_MAX_SIZE)
    num_hidden_layers: int = Field(ge=1, le=10_000)
    num_attention_heads: int = Field(ge=1, le=_MAX_SIZE)
    num_key_value_heads: int = Field(ge=1, le=_MAX_SIZE)
    head_dim: int = Field(ge=1, le=_MAX_SIZE)
    tied_embeddings: bool
    max_length: int = Field(ge=1)
    model_type: str = "llama"
    sliding_window: int | None = Field(None, ge=1)  # tokens that some layers see back
    sliding_layers: int = 0  # how many
    attention_bias: bool = False
    mlp_bias: bool = False
    caps_logits: bool = False  # by tanh, as in Gemma 2
    caps_attention: bool = False
    is_prequantized: bool = False  # its weights are stored in 4-bit
    quantization: Literal["nf4", "nf4-dq"] = "nf4-dq"  # what they are or will be quantized to
    unquantized_parameters: int = 0  # weights in the layers' matrices that stay 16-bit all the same

    @property
    def query_width(self) -> int:
        """Features of all query heads, and of the attention's output."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Features of all key heads; the values have as many."""
        return self.num_key_value_heads * self.head_dim

    @property
    def family(self) -> Family:
        """What is known of models of this kind."""
        return FAMILIES[self.model_type]

    @property
    def linear_widths(self) -> dict[str, tuple[int, int]]:
        """Input and output features of each of a layer's matrices."""
        hidden, inner, query, key = self.hidden_size, self.intermediate_size, self.query_width, self.key_width
        comes_out = {"q": query, "k": key, "v": key, "o": hidden, "gate": inner, "up": inner, "down": hidden}
        goes_in = {"o": query, "down": inner}
        return {
            name: (goes_in.get(DOES[name][0], hidden), sum(comes_out[part] for part in DOES[name]))
            for name in self.family.layers
        }

    @property
    def linear_parameters(self) -> int:
        """Weights in the matrices of all layers, which 4-bit makes smaller."""
        return self.num_hidden_layers * sum(a * b for a, b in self.linear_widths.values())

    @property
    def embedding_parameters(self) -> int:
        """Weights in embed_tokens; an untied lm_head has as many again."""
        return self.vocab_size * self.hidden_size

    @property
    def norm_parameters(self) -> int:
        """Weights in all norms, and in the biases of the layers that have one."""
        widths, family = self.linear_widths, self.family
        biased = {name for name in widths if self.mlp_bias and _OF_THE_MLP & set(DOES[name])}
        biased |= {name for name in widths if self.attention_bias and not _OF_THE_MLP & set(DOES[name])}
        of_a_layer = family.norms * self.hidden_size + sum(widths[name][1] for name in biased.union(family.biased))
        of_heads = 2 * self.head_dim if family.head_norms else 0
        return self.num_hidden_layers * (of_a_layer + of_heads) + self.hidden_size

    @property
    def parameters(self) -> int:
        """Weights in the whole model, tied ones counted once."""
        matrices = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        return self.linear_parameters + matrices + self.norm_parameters

    @classmethod
    def build(cls, values: dict, name: str) -> "ModelShape":
        """The shape in the values of a config.json. Raises ModelError if nothing is known of such a model."""
        check_family(values, name)
        try:
            heads, hidden = values["num_attention_heads"], values["hidden_size"]
            kind = values.get("model_type", "llama")
            if kind not in FAMILIES or not FAMILIES[kind].is_counted:
                raise ValueError("another kind of model")
            quantized = values.get("quantization_config") or {}
            window, sliding = sliding_layers(values)
            shape = cls(
                model_type=kind,
                sliding_window=window,
                sliding_layers=sliding,
                **{key: values[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")},
                num_attention_heads=heads,
                num_key_value_heads=values.get("num_key_value_heads") or heads,
                head_dim=values.get("head_dim") or FAMILIES[kind].head_dim or hidden // heads,
                tied_embeddings=is_tied(values),
                attention_bias=bool(values.get("attention_bias")),
                mlp_bias=bool(values.get("mlp_bias")),
                caps_logits=bool(values.get("final_logit_softcapping")),
                caps_attention=bool(values.get("attn_logit_softcapping")),
                max_length=values.get("max_position_embeddings") or 2048,
                is_prequantized=bool(quantized.get("load_in_4bit")),
                quantization="nf4-dq" if quantized.get("bnb_4bit_use_double_quant", True) else "nf4",
            )
            skipped = [str(module) for module in quantized.get("llm_int8_skip_modules") or ()]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, ValidationError):
            raise ModelError(NOT_COUNTED, model=name) from None
        if shape.parameters > _MAX_WEIGHTS:
            raise ModelError(
                "The memory of {model} cannot be estimated: its config.json describes {weights:,} weights, more than "
                "any model has.",
                model=name,
                weights=shape.parameters,
            )
        return shape.model_copy(update={"unquantized_parameters": shape._weights_of(skipped)})

    def _weights_of(self, modules: list[str]) -> int:
        """Number of weights in the layers' matrices with these names, such as model.layers.3.mlp or q_proj."""
        covered = set()
        for module in modules:
            found = re.search(r"(?:layers\.(\d{1,5}))?(?:\.?(self_attn|mlp))?(?:\.?([a-z_]+_proj))?$", module)
            number, part, matrix = found.groups()
            inner = [name for name in self.linear_widths if _OF_THE_MLP & set(DOES[name])]
            attention = [name for name in self.linear_widths if name not in inner]
            names = [matrix] if matrix else {"self_attn": attention, "mlp": inner, None: attention + inner}[part]
            layers: Iterable[int] = ()
            if number:
                layers = [int(number)]
            elif part or matrix:
                layers = range(self.num_hidden_layers)
            covered |= {(layer, name) for layer in layers for name in names if name in self.linear_widths}
        return sum(a * b for layer, name in covered for a, b in [self.linear_widths[name]])


def shape_of(config: ModelConfig, token: Token = None, fetch: bool = True) -> ModelShape:
    """The shape of a model, from a folder's config.json, the table of common models, or the hub (once per name).

    If `fetch` is false, nothing is downloaded. Raises ModelError.
    """
    name = exact_name(config.model_name, config.load_in_4bit)
    path = resolve_path(config.model_name)
    if path is not None:
        refuse_gguf(path, config.model_name)
        return _read(path / "config.json", name)
    refuse_gguf_name(config.model_name)
    if config.revision is None and (known := KNOWN.get(name.lower())) is not None:
        return ModelShape.build(known, name)
    revision = config.revision if name == config.model_name else None
    if "/" not in config.model_name or not is_hub_name(config.model_name):
        raise ModelError(
            "There is no folder {folder:.200}; check the path, or use a name like owner/model.",
            folder=config.model_name,
        )
    return _read(Path(_fetched(name, revision, checked_token(token), fetch)), name)


def _read(path: Path, name: str) -> ModelShape:
    try:
        stamp = path.stat()
    except OSError:
        raise ModelError(
            "{model:.200} has no model: config.json is missing; choose another model or folder.", model=name
        ) from None
    return _read_once(path, name, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(64)
def _read_once(path: Path, name: str, *stamp: int) -> ModelShape:
    """`stamp` is part of the cache's key, so that a changed file is read again."""
    try:
        return ModelShape.build(read_json(path), name)
    except Unreadable:
        raise ModelError(
            "{model:.200} is damaged: its config.json cannot be read; download the model again.", model=name
        ) from None


@lru_cache(64)
def _fetched(name: str, revision: str | None, token: Token, fetch: bool) -> str:
    try:
        return hf_hub_download(name, "config.json", revision=revision, token=token, local_files_only=not fetch)
    except HFValidationError:
        raise ModelError("{model!r:.80} is neither a folder nor a name like owner/model.", model=name) from None
    except (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HfHubHTTPError,
        httpx.HTTPError,
        OSError,
        json.JSONDecodeError,
    ):
        raise ModelError(
            "The memory of {model} cannot be estimated yet: its config.json is not on this machine and could not be "
            "downloaded; check the name, or load the model.",
            model=name,
        ) from None
