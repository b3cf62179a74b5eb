"""A LoRA adapter as GGUF, which llama.cpp and Ollama put on a GGUF file of its base."""

from collections.abc import Callable
from pathlib import Path

from core.export.gguf_head import pad, write_head
from core.export.gguf_tensors import GgufTensors, interleaved
from core.export.merged_weights import MergedWeights
from core.export.source import Source
from core.problems import ExportError, mark

NOT_LOW_RANK = mark(
    "This adapter cannot be a LoRA in GGUF, because {weight:.80} was trained whole or as DoRA, for which GGUF has no "
    "form; export the merged model as GGUF instead."
)


def write_lora_gguf(
    folder: Path, source: Source, weights: MergedWeights, written: Callable[[int], None] = lambda size: None
) -> Path:
    """Writes the adapter into `folder` as a GGUF file with matrices in float32, and returns it.

    `written` is told the bytes of each matrix. Raises ExportError if the adapter has more than low-rank matrices.
    """
    import numpy as np
    from gguf import GGUFType, GGUFWriter, Keys

    tensors = GgufTensors(weights)
    changed = [tensor for tensor in tensors.tensors if weights.is_changed(tensor.source)]
    pairs, alpha = [], None
    for tensor in changed:
        pair = weights.low_rank(tensor.source)
        if pair is None:
            raise ExportError(NOT_LOW_RANK, weight=tensor.source)
        (a, b), scale = (matrix.numpy() for matrix in pair), weights.scale(tensor.source)
        # llama.cpp multiplies by alpha over the rank, with one alpha for all: what differs from that goes into B.
        alpha = alpha or scale * len(a)
        b = b * np.float32(scale * len(a) / alpha)
        heads = tensors.heads_of(tensor)
        pairs.append((tensor.name, a, b if heads is None else interleaved(b, heads)))
    file = folder / f"{source.name}-lora.gguf"
    writer = GGUFWriter(file, tensors.architecture)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_string(Keys.Adapter.TYPE, "lora")
    writer.add_float32(Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_name(source.run.short_name)
    matrices = [(f"{name}.lora_{part}", matrix) for name, a, b in pairs for part, matrix in (("a", a), ("b", b))]
    for name, matrix in matrices:
        writer.add_tensor_info(name, matrix.shape, np.dtype(np.float32), matrix.nbytes)
    write_head(writer, file)
    with open(file, "ab") as out:
        for _, matrix in matrices:
            out.write(np.ascontiguousarray(matrix, dtype=np.float32).tobytes())
            pad(out)
            written(matrix.nbytes)
    return file
