"""What trained embeddings cost, before anything is loaded: parameters, memory, and their share of the adapter on disk.

By arithmetic from the settings and the model's shape alone. Knows nothing of torch, threads or gradio.
"""

from dataclasses import replace
from math import inf

from pydantic import BaseModel

from core.memory.cards import Card
from core.memory.hardware import GIB
from core.memory.model_shape import ModelShape
from core.memory.weights_and_states import STATES, adapter_parameters, embeddings, gradients, optimizer
from core.memory.workload import Workload, workload
from core.settings.run_config import RunConfig
from core.settings.unsloth_limits import NO_SINGLE_ROWS_ON_A_GPU

LARGE = 1.0  # GiB of an adapter, above which it is a burden to keep and to give away
ADAPTER_WEIGHT = 4  # bytes of each weight of the adapter proper in its file, which PEFT keeps in 32-bit


class EmbeddingsCost(BaseModel, frozen=True):
    """What training embed_tokens and lm_head adds. `parameters` counts tied ones once, as they are one tensor.

    `memory_gib` is for trained copies, gradients and the optimizer's states. `disk_bytes` are those of their tensors in
    the adapter's file, exactly, where `rows` is known or all of them train; else `is_at_most` says that these are
    bounds. `warning` is a sentence when they make the adapter larger than `LARGE`, or cannot be trained so; else empty.
    """

    parameters: int
    memory_gib: float
    disk_bytes: int
    is_tied: bool
    is_at_most: bool = False
    warning: str = ""

    @property
    def disk_gib(self) -> float:
        return self.disk_bytes / GIB


def embeddings_cost(
    config: RunConfig, shape: ModelShape, card: Card | None = None, rows: int | None = None
) -> EmbeddingsCost | None:
    """None when neither trains. `card` is where the run would be, a GPU when it is not given; `rows` the number of rows
    that train, where only some do and it is known already: without it all rows are taken.

    The memory is the trained copies', the gradients' and the optimizer's of `core.memory`, with trained embeddings less
    without them; what the loss needs for a head that trains comes on top. Where only rows train, PEFT puts
    them into a copy of the whole matrix at each pass (peft, TrainableTokensLayer.get_merged_weights), which counts too.
    """
    adapter = config.adapter
    if not adapter.modules_to_save:
        return None
    on_gpu, has_bfloat16 = (card.is_gpu, card.has_bfloat16) if card else (True, True)
    work = workload(config, shape, on_gpu, has_bfloat16, inf, None)
    bare = replace(work, trained=(), only_rows=False)
    some = adapter.trains_rows
    trained = min(rows, shape.vocab_size) if some and rows is not None else shape.vocab_size
    matrices = 1 if shape.tied_embeddings else len(adapter.modules_to_save)
    parameters = matrices * trained * shape.hidden_size
    adds = sum(part(work) - part(bare) for part in (embeddings, gradients, optimizer))
    if some:  # each row, what it was, its gradient and its states, all in 32-bit; adafactor's are next to nothing
        adds += parameters * (3 * 4 + STATES.get(work.optimizer, 0.0))
    # Of whole ones PEFT writes a tied pair twice, of rows once.
    written = parameters * (2 if shape.tied_embeddings and not some else 1)
    disk = written * saved_element(config, on_gpu, has_bfloat16)
    if some and on_gpu:
        warning = NO_SINGLE_ROWS_ON_A_GPU
    else:
        is_known = not some or rows is not None
        warning = large_adapter(disk, _adapter_bytes(work), not on_gpu and not some) if is_known else ""
    return EmbeddingsCost(
        parameters=parameters,
        memory_gib=adds / GIB,
        disk_bytes=disk,
        is_tied=shape.tied_embeddings,
        is_at_most=some and rows is None,
        warning=warning,
    )


def saved_element(config: RunConfig, on_gpu: bool, has_bfloat16: bool) -> int:
    """Bytes of each weight of trained embeddings in the file: they are saved in the precision that the base is kept in,
    which on a processor is never float16 (unsloth_zoo, cpu/loader.py, _resolve_dtype)."""
    dtype = config.model.dtype
    if dtype == "float32":
        return 4
    return 2 if on_gpu or has_bfloat16 or dtype == "bfloat16" else 4


def large_adapter(embeddings_bytes: int, others_bytes: int, offers_rows: bool) -> str:
    """A sentence when the embeddings make an adapter larger than `LARGE`; `others_bytes` are those of all else in it.

    `offers_rows`: whether single rows could be trained in their place.
    """
    total = (embeddings_bytes + others_bytes) / GIB
    if total <= LARGE or others_bytes / GIB > LARGE:
        return ""
    instead = "train only the rows of new or seen tokens, or " if offers_rows else ""
    return (
        f"Trained embeddings make the adapter {total:.2f} GiB on disk, {embeddings_bytes / GIB:.2f} GiB of it theirs: "
        f"to keep it small, {instead}leave them out under Fully trained layers."
    )


def _adapter_bytes(work: Workload) -> int:
    return adapter_parameters(work) * ADAPTER_WEIGHT
