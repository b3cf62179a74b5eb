"""The shape of a Llama, from its config.json alone: no weights are read. Knows nothing of torch, threads or gradio."""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

import httpx
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from pydantic import BaseModel, Field, ValidationError

from core.disk.tolerant_reading import Unreadable, read_json
from core.hub_names import checked_token, exact_name
from core.memory.known_shapes import KNOWN
from core.problems import ModelError
from core.settings.paths import resolve_path
from core.settings.sections import ModelConfig

LIKE_LLAMA = ("llama", "mistral")  # of the same layers; others have some that are not counted here
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
ATTENTION, INNER = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
_MOST = 10_000_000  # far above any real one
_MOST_WEIGHTS = 10**13
_UNREACHED = "its config.json is not on this machine and could not be fetched"


class ModelShape(BaseModel, frozen=True):
    """What of a config.json decides memory, under the names that transformers gives it there."""

    vocab_size: int = Field(ge=1, le=_MOST)
    hidden_size: int = Field(ge=1, le=_MOST)
    intermediate_size: int = Field(ge=1, le=_MOST)
    num_hidden_layers: int = Field(ge=1, le=10_000)
    num_attention_heads: int = Field(ge=1, le=_MOST)
    num_key_value_heads: int = Field(ge=1, le=_MOST)
    head_dim: int = Field(ge=1, le=_MOST)
    tied_embeddings: bool
    max_length: int = Field(ge=1)
    is_prequantized: bool = False  # its weights lie in 4-bit already
    quantization: Literal["nf4", "nf4-dq"] = "nf4-dq"  # in which they are, or will be
    unquantized_parameters: int = 0  # of the layers' matrices, those that stay 16-bit all the same

    @property
    def query_width(self) -> int:
        """Features of all query heads; of what the attention gives out, too."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Features of all key heads; those of the values are as many."""
        return self.num_key_value_heads * self.head_dim

    @property
    def linear_widths(self) -> dict[str, tuple[int, int]]:
        """Features in and out of each of a layer's seven matrices."""
        hidden, inner = self.hidden_size, self.intermediate_size
        return {
            "q_proj": (hidden, self.query_width), "k_proj": (hidden, self.key_width), "v_proj": (hidden, self.key_width),
            "o_proj": (self.query_width, hidden), "gate_proj": (hidden, inner), "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }  # fmt: skip

    @property
    def linear_parameters(self) -> int:
        """Weights of all layers' matrices, those that 4-bit makes smaller."""
        return self.num_hidden_layers * sum(a * b for a, b in self.linear_widths.values())

    @property
    def embedding_parameters(self) -> int:
        """Weights of embed_tokens; those of an untied lm_head are as many again."""
        return self.vocab_size * self.hidden_size

    @property
    def norm_parameters(self) -> int:
        return (2 * self.num_hidden_layers + 1) * self.hidden_size

    @property
    def parameters(self) -> int:
        matrices = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        return self.linear_parameters + matrices + self.norm_parameters

    @classmethod
    def build(cls, values: dict, name: str) -> "ModelShape":
        """From the values of a config.json. Raises ModelError when they are those of no Llama."""
        try:
            heads, hidden = values["num_attention_heads"], values["hidden_size"]
            if values.get("model_type", "llama") not in LIKE_LLAMA or any(key in values for key in EXPERTS):
                raise ValueError("of another kind")
            quantized = values.get("quantization_config") or {}
            shape = cls(
                **{key: values[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")},
                num_attention_heads=heads,
                num_key_value_heads=values.get("num_key_value_heads") or heads,
                head_dim=values.get("head_dim") or hidden // heads,
                tied_embeddings=bool(values.get("tie_word_embeddings", False)),
                max_length=values.get("max_position_embeddings") or 2048,
                is_prequantized=bool(quantized.get("load_in_4bit")),
                quantization="nf4-dq" if quantized.get("bnb_4bit_use_double_quant", True) else "nf4",
            )
            skipped = [str(module) for module in quantized.get("llm_int8_skip_modules") or ()]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, ValidationError):
            raise ModelError(f"The memory of {name} cannot be estimated: its config.json is none of a Llama.") from None
        if shape.parameters > _MOST_WEIGHTS:
            raise ModelError(
                f"The memory of {name} cannot be estimated: its config.json promises more weights than any model has."
            )
        return shape.model_copy(update={"unquantized_parameters": shape._weights_of(skipped)})

    def _weights_of(self, modules: list[str]) -> int:
        """How many weights the layers' matrices have that these names cover, as model.layers.3.mlp or q_proj."""
        covered = set()
        for module in modules:
            found = re.search(r"(?:layers\.(\d{1,5}))?(?:\.?(self_attn|mlp))?(?:\.?([a-z]+_proj))?$", module)
            number, part, matrix = found.groups()
            names = [matrix] if matrix else {"self_attn": ATTENTION, "mlp": INNER, None: ATTENTION + INNER}[part]
            layers = [int(number)] if number else range(self.num_hidden_layers) if part or matrix else []
            covered |= {(layer, name) for layer in layers for name in names if name in self.linear_widths}
        return sum(a * b for layer, name in covered for a, b in [self.linear_widths[name]])


def shape_of(config: ModelConfig, token: str | None = None, fetch: bool = True) -> ModelShape:
    """From a folder's config.json, from what is known of usual models, or from the hub, once for each name.

    With `fetch` false nothing is asked of the hub. Raises ModelError with one sentence.
    """
    name = exact_name(config)
    path = resolve_path(config.model_name)
    if path is not None:
        return _read(path / "config.json", name)
    if config.revision is None and (known := KNOWN.get(name.lower())) is not None:
        return ModelShape.build(known, name)
    revision = config.revision if name == config.model_name else None
    if config.model_name.startswith((".", "/", "~")) or config.model_name.count("/") != 1:
        raise ModelError(
            f"There is no folder {config.model_name:.200}; check the path, or give a name like owner/model."
        )
    return _read(Path(_fetched(name, revision, checked_token(token), fetch)), name)


def _read(path: Path, name: str) -> ModelShape:
    try:
        stamp = path.stat()
    except OSError:
        raise ModelError(
            f"{name:.200} holds no model: config.json is missing; choose another model or folder."
        ) from None
    return _read_once(path, name, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(64)
def _read_once(path: Path, name: str, *stamp: int) -> ModelShape:
    """`stamp` tells a file from one that took its place."""
    try:
        return ModelShape.build(read_json(path), name)
    except Unreadable:
        raise ModelError(f"{name:.200} is damaged: its config.json cannot be read; fetch the model again.") from None


@lru_cache(64)
def _fetched(name: str, revision: str | None, token: str | None, fetch: bool) -> str:
    try:
        return hf_hub_download(name, "config.json", revision=revision, token=token, local_files_only=not fetch)
    except HFValidationError:
        raise ModelError(f"{name!r:.80} is neither a folder nor a name like owner/model.") from None
    except (
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        HfHubHTTPError,
        httpx.HTTPError,
        OSError,
        json.JSONDecodeError,
    ):
        raise ModelError(
            f"The memory of {name} cannot be estimated yet: {_UNREACHED}; check the name, or load the model."
        ) from None
