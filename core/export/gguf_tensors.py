"""The weights of a model as the tensors of a GGUF file: names, order of rows, and precision.

Where llama.cpp rotates neighbouring pairs of values, the rows of the query and key projections are put in another
order (`core.export.gguf_models`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

from core.export.base_weights import cut
from core.export.gguf_models import ADDS_ONE, ROTATES_PAIRS, architecture
from core.export.k_quants import MIXES, k_quant_type
from core.export.merged_weights import MergedWeights
from core.families import FAMILIES
from core.problems import ExportError, mark

OTHER_SCALING = mark(
    "A model whose positions are scaled by {kind:.40} cannot be exported as GGUF; export a merged model instead."
)
ROPE_FREQUENCIES = "rope_freqs.weight"


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file. `source` is the name of the weight that it is made of."""

    name: str
    shape: tuple[int, ...]
    source: str


class GgufTensors:
    """The tensors of a merged model. Raises ExportError if GGUF has no form for it."""

    def __init__(self, weights: MergedWeights):
        from gguf import MODEL_ARCH, get_tensor_name_map

        self.config, self._weights = weights.base.config, weights
        self.architecture = architecture(self.config)
        self.layers = self.config["num_hidden_layers"]
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config.get("num_key_value_heads") or self.heads
        family = FAMILIES[self.config["model_type"]]
        self.head_dim = self.config.get("head_dim") or family.head_dim or self.config["hidden_size"] // self.heads
        names = get_tensor_name_map(MODEL_ARCH[self.architecture.upper()], self.layers)
        self.tensors = [
            Tensor(names.get_name(name, try_suffixes=(".weight", ".bias")) or name, weights.shape(name), name)
            for name in weights.names
        ]
        self.frequencies = rope_frequencies(rope(self.config), self.head_dim)

    def stored(self, tensor: Tensor, precision: str):
        """What a tensor is stored as (gguf.GGMLQuantizationType) in a file of this precision.

        Norms stay in float32, and rows that cannot be cut into blocks become f16.
        """
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        if len(tensor.shape) == 1:
            return GGMLQuantizationType.F32
        if precision in MIXES:
            name = k_quant_type(precision, tensor.name, tensor.shape[-1], self.layers, self._weights.base.is_tied)
            return GGMLQuantizationType[name]
        wanted = GGMLQuantizationType[precision.upper()]
        return wanted if tensor.shape[-1] % GGML_QUANT_SIZES[wanted][0] == 0 else GGMLQuantizationType.F16

    def pieces(self, tensor: Tensor) -> list[Callable]:
        """What gives the tensor's rows in float32, from the first to the last, as numpy arrays of whole rows."""
        read, heads = self._weights.reader(tensor.source), self.heads_of(tensor)
        if heads is None:
            if self.architecture in ADDS_ONE and tensor.source.endswith("norm.weight"):
                return [lambda a=first, b=last: read(a, b).numpy() + 1 for first, last in cut(tensor.shape)]
            return [lambda a=first, b=last: read(a, b).numpy() for first, last in cut(tensor.shape)]
        of_head = tensor.shape[0] // heads
        return [
            lambda a=first, b=last: interleaved(read(a, b).numpy(), (b - a) // of_head)
            for first, last in cut(tensor.shape, of_head)
        ]

    def heads_of(self, tensor: Tensor) -> int | None:
        """How many heads a query or key projection has whose rows are in another order; None for other tensors."""
        if self.architecture not in ROTATES_PAIRS:
            return None
        return {"q_proj": self.heads, "k_proj": self.kv_heads}.get(tensor.source.split(".")[-2])


def interleaved(rows, heads: int):
    """The rows of so many heads of a query or key projection, those of each head's halves by turns."""
    return rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def rope(config: dict) -> dict:
    """How positions are encoded, as transformers 5 writes it in config.json, also for a file of an older version."""
    found = {"rope_theta": config.get("rope_theta", 10000.0), "rope_type": "default"}
    found |= config.get("rope_scaling") or {}
    given = config.get("rope_parameters") or {}
    found |= given.get("full_attention", given)  # those of Gemma 3 are by the kind of layer
    return found | {"rope_type": found.get("rope_type") or found.get("type", "default")}


def rope_frequencies(rope: dict, head_dim: int):
    """What llama.cpp divides each frequency by, as float32, for the scaling of Llama 3.1; None for other models.

    Formula: transformers' `_compute_llama3_parameters`. Raises ExportError for a scaling that the file cannot hold.
    """
    import numpy as np

    if rope["rope_type"] in ("default", "linear"):
        return None
    if rope["rope_type"] != "llama3":
        raise ExportError(OTHER_SCALING, kind=rope["rope_type"])
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    length = rope["original_max_position_embeddings"]
    divisors = []
    for place in range(0, head_dim, 2):
        wavelength = 2 * pi * rope["rope_theta"] ** (place / head_dim)
        smooth = (length / wavelength - low) / (high - low)
        smooth = min(max(smooth, 0.0), 1.0)
        divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)
