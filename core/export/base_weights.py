"""The weights of a base model, read from its files one at a time.

As it was trained on, the linear layers of a 4-bit model are what NF4 made of them. They are dequantized here: from the
4-bit files themselves, or from 16-bit files after the same quantizing that loading does.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from math import prod
from pathlib import Path

from safetensors import safe_open

from core.disk.tolerant_reading import read_json
from core.families import is_tied
from core.model.library_patches.model_parts import layers_in_4bit

PACKED = ".quant_state.bitsandbytes__nf4"  # what bitsandbytes appends to the name of a weight that is stored in 4-bit
# Weights. Whole embeddings in float32 would take gigabytes, and pieces of more than some megabytes are new memory each
# time, which the system has to fill with zeros: at 64 MB that took five times as long as the merging.
MAX_PIECE = 2**20


class BaseWeights:
    """The weights of the model in `folder`; see `opened`.

    `in_4bit`: the linear layers are those of the model loaded in 4-bit. `dtype` is the precision it is loaded in
    before it is quantized; None for that of its files.
    """

    def __init__(self, folder: Path, in_4bit: bool, dtype: str | None, files: dict):
        self.folder = folder
        self.config = read_json(folder / "config.json")
        self.is_tied = is_tied(self.config)
        self._in_4bit, self._dtype = in_4bit, dtype
        self._files = files  # the open file of each stored tensor, by the tensor's name
        self._packed = {name.removesuffix(PACKED) for name in files if name.endswith(PACKED)}

    @cached_property
    def names(self) -> list[str]:
        """The names of all weights, sorted. A head that is tied to the embeddings is not among them."""
        parts = {name for name in self._files if any(name.startswith(f"{packed}.") for packed in self._packed)}
        tied = {"lm_head.weight"} if self.is_tied else set()
        return sorted(self._files.keys() - parts - tied)

    @cached_property
    def _quantized(self) -> set[str]:
        """Names of the weights that loading quantizes."""
        wanted = self._in_4bit and not self._packed
        return {f"{layer}.weight" for layer in layers_in_4bit(self.folder)} if wanted else set()

    def shape(self, name: str) -> tuple[int, ...]:
        if name in self._packed:
            return tuple(self._quant_state(name).shape)
        return tuple(self._files[name].get_slice(name).get_shape())

    def reader(self, name: str) -> Callable:
        """What gives the rows from `first` to before `last` of the weight, in float32; several threads can call it."""
        import torch

        if name in self._packed or name in self._quantized:
            whole = self._dequantized(name)
        else:
            whole = self._files[name].get_slice(name)  # read as it is sliced
        return lambda first, last: whole[first:last].to(torch.float32)

    def _dequantized(self, name: str):
        """The weight as the 4-bit layer computes with it, not rounded to 16 bits."""
        import torch
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        weight = self._files[name].get_tensor(name)
        if name in self._packed:
            state = self._quant_state(name)
        else:
            loaded = weight.to(getattr(torch, self._dtype)) if self._dtype else weight
            weight, state = quantize_4bit(loaded.contiguous(), compress_statistics=True, quant_type="nf4")
        state.dtype = torch.float32
        return dequantize_4bit(weight, state).reshape(state.shape)

    def _quant_state(self, name: str):
        import torch
        from bitsandbytes.functional import QuantState

        parts = {key: file.get_tensor(key) for key, file in self._files.items() if key.startswith(f"{name}.")}
        return QuantState.from_dict(parts, device=torch.device("cpu"))


def cut(shape: tuple[int, ...], multiple: int = 1) -> list[tuple[int, int]]:
    """(first, last) of the rows of each piece, of at most MAX_PIECE values, or of `multiple` rows if these have more.

    All pieces but the last have a multiple of that many rows.
    """
    rows = max(1, MAX_PIECE // prod(shape[1:]) // multiple) * multiple
    return [(first, min(first + rows, shape[0])) for first in range(0, shape[0], rows)]


@contextmanager
def opened(folder: Path, in_4bit: bool, dtype: str | None = None) -> Iterator[BaseWeights]:
    """The weights of the model in `folder`, with its files open meanwhile."""
    with ExitStack() as stack:
        files = {}
        for path in weight_files(folder):
            file = stack.enter_context(safe_open(path, framework="pt"))
            files |= dict.fromkeys(file.keys(), file)
        yield BaseWeights(folder, in_4bit, dtype, files)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors that a loader picks: `model.safetensors`, or else the files in its index."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    listed = read_json(folder / "model.safetensors.index.json")["weight_map"]
    return [folder / name for name in sorted(set(listed.values()))]
