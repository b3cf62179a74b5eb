"""4 to 6 bits a weight, by ggml's own kernels: llama.cpp's Q4_K_M, Q5_K_M and Q6_K.

Which tensor gets how many bits is llama.cpp's choice (`llama_tensor_get_type` in src/llama-quant.cpp): more for the
output and, in some layers, for values and the second projection of the feed-forward part.
"""

import ctypes
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from core.problems import ExportError, mark

MIXES = {"q4_k_m": ("Q4_K", "Q6_K"), "q5_k_m": ("Q5_K", "Q6_K"), "q6_k": ("Q6_K", "Q6_K")}
# Where a row is no multiple of 256 weights, as llama.cpp falls back (tensor_type_fallback).
FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
BLOCK, SMALL_BLOCK = 256, 32
PACKAGE = "libggml-python"
NOT_INSTALLED = mark(
    "{quant} needs ggml, which is not installed: run `{python} -m pip install {package}` (6 MB), or choose q8_0."
)


def k_quant_type(quant: str, name: str, columns: int, layers: int, is_tied: bool) -> str:
    """The name of the type (gguf.GGMLQuantizationType) that a tensor with this many columns is stored as.

    `name` is the tensor's in GGUF. A tied token_embd is the output as well.
    """
    usual, better = MIXES[quant]
    if columns % SMALL_BLOCK:
        return "F16"
    kind = better if _gets_more(name, layers, is_tied) else usual
    return kind if columns % BLOCK == 0 else FALLBACKS[kind]


def _gets_more(name: str, layers: int, is_tied: bool) -> bool:
    if name == "output.weight" or (name == "token_embd.weight" and is_tied):
        return True
    if name.endswith(("attn_v.weight", "ffn_down.weight")):
        layer = int(name.split(".")[1])
        return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return False


@cache
def has_ggml() -> bool:
    return find_spec("libggml") is not None


def check_ggml(quant: str) -> None:
    """Raises ExportError, with the command that installs it, if ggml is missing."""
    if not has_ggml():
        raise ExportError(NOT_INSTALLED, quant=quant, python=sys.executable, package=PACKAGE)


def quantize(rows, kind: str):
    """Rows of float32, of shape (rows, columns), as bytes of this type; other threads can run meanwhile."""
    import numpy as np
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    ggml, stored = _ggml(), GGMLQuantizationType[kind]
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    count, columns = rows.shape
    block, size = GGML_QUANT_SIZES[stored]
    made = np.empty((count, columns // block * size), dtype=np.uint8)
    ggml.ggml_quantize_init(int(stored))
    ggml.ggml_quantize_chunk(int(stored), rows.ctypes.data, made.ctypes.data, 0, count, columns, None)
    return made


@cache
def _ggml() -> ctypes.CDLL:
    folder = Path(find_spec("libggml").submodule_search_locations[0])
    pattern = {"win32": "ggml-base.dll", "darwin": "libggml-base.dylib"}.get(sys.platform, "libggml-base.so")
    library = ctypes.CDLL(str(next(folder.rglob(pattern))))
    library.ggml_quantize_init.argtypes = [ctypes.c_int]
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return library
