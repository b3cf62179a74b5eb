"""Writes safetensors one tensor at a time; the library's own writer wants all of them in memory at once.

The format is documented at https://huggingface.co/docs/safetensors/index#format.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from core.export.base_weights import cut
from core.export.in_order import in_order

MAX_SHARD = 5 * 10**9  # bytes
NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True)
class Planned:
    """A tensor to be written. `reader` returns what gives its rows from `first` to before `last`."""

    name: str
    shape: tuple[int, ...]
    reader: Callable[[], Callable]

    def size(self, dtype: str) -> int:
        """Bytes in this precision."""
        return prod(self.shape) * (4 if dtype == "float32" else 2)


def write_sharded(
    folder: Path, tensors: list[Planned], dtype: str, written: Callable[[int], None] = lambda size: None
) -> list[Path]:
    """Writes the tensors in this precision to model.safetensors, or to files of at most 5 GB with an index.

    `written` is told the bytes of each piece. Returns the files. Raises OSError.
    """
    shards = _shards(tensors, dtype)
    if len(shards) == 1:
        names = ["model.safetensors"]
    else:
        names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
        places = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(tensor.size(dtype) for tensor in tensors)
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for name, shard in zip(names, shards, strict=True):
        _write(folder / name, shard, dtype, written)
    return [folder / name for name in names]


def _shards(tensors: list[Planned], dtype: str) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.size(dtype) > MAX_SHARD:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.size(dtype)
    return shards


def _write(file: Path, tensors: list[Planned], dtype: str, written: Callable[[int], None]) -> None:
    header: dict = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.size(dtype)
        header[tensor.name] = {"dtype": NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors begin at a multiple of 8
    with open(file, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for content in in_order(_pieces(tensors, dtype)):
            out.write(content)
            written(content.nbytes)


def _pieces(tensors: list[Planned], dtype: str) -> Iterator[Callable]:
    """What makes the bytes of each piece of the file."""
    import torch

    for tensor in tensors:
        read = tensor.reader()
        for first, last in cut(tensor.shape):
            yield lambda r=read, a=first, b=last: _bytes(r(a, b).to(getattr(torch, dtype)))


def _bytes(rows):
    import torch

    return rows.contiguous().flatten().view(torch.uint8).numpy()
