"""What training the embeddings costs: parameters, memory, and bytes of the adapter on disk.

Computed from the settings and the model's shape alone, before anything is loaded.
"""

from dataclasses import replace
from math import inf

from pydantic import BaseModel

from core.disk.sizes import GIB
from core.memory.cards import Card
from core.memory.model_shape import ModelShape
from core.memory.weights_and_states import STATES, adapter_parameters, embeddings, gradients, optimizer
from core.memory.workload import Workload, workload
from core.problems import mark, tr
from core.settings.run_config import RunConfig
from core.settings.unsloth_limits import NO_SINGLE_ROWS_ON_A_GPU

LARGE_ADAPTER_GIB = 1.0  # an adapter above this is a burden to store and to share
LARGE = mark(
    "With trained embeddings, the adapter takes {total:.2f} GiB on disk, {embeddings:.2f} GiB of it for the "
    "embeddings: to keep it small, leave them out under Fully trained layers."
)
LARGE_WITH_ROWS = mark(
    "With trained embeddings, the adapter takes {total:.2f} GiB on disk, {embeddings:.2f} GiB of it for the "
    "embeddings: to keep it small, train only the rows of new or seen tokens, or leave them out under Fully trained "
    "layers."
)
BYTES_PER_LORA_WEIGHT = 4  # in the adapter's file, which PEFT writes in 32-bit


class EmbeddingsCost(BaseModel, frozen=True):
    """What training embed_tokens and lm_head adds. `parameters` counts tied ones once, as they are one tensor.

    `memory_gib` is for trained copies, gradients and optimizer states. `disk_bytes` is the exact size of their tensors
    in the adapter's file; with `is_at_most`, all figures are upper bounds because the number of rows is not known yet.
    `warning` is a sentence if they make the adapter large or cannot be trained like this; else empty.
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
    """The cost, or None if neither trains.

    `card` is where the run would be, by default a GPU. `rows` is the number of rows that train, if only some do and it
    is known; otherwise all rows are counted.

    The memory is that of the trained copies, gradients and optimizer states in `core.memory`, with trained embeddings
    minus without; what the loss needs for a trained head is not included. Where only rows train, PEFT copies them into
    the whole matrix at each pass (peft, TrainableTokensLayer.get_merged_weights), which is included.
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
    if some:  # each row, its original, gradient and states, all in 32-bit; adafactor's states are negligible
        adds += parameters * (3 * 4 + STATES.get(work.optimizer, 0.0))
    # PEFT writes whole tied matrices twice, and rows of them once.
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
    """Bytes per weight of trained embeddings in the file.

    They are saved in the precision of the base, which on a processor is never float16 (unsloth_zoo, cpu/loader.py,
    _resolve_dtype).
    """
    dtype = config.model.dtype
    if dtype == "float32":
        return 4
    return 2 if on_gpu or has_bfloat16 or dtype == "bfloat16" else 4


def large_adapter(embeddings_bytes: int, others_bytes: int, offers_rows: bool) -> str:
    """A warning if the embeddings make an adapter large; else empty. `others_bytes` is the size of the rest of it.

    `offers_rows`: whether only some rows could be trained instead.
    """
    total = (embeddings_bytes + others_bytes) / GIB
    if total <= LARGE_ADAPTER_GIB or others_bytes / GIB > LARGE_ADAPTER_GIB:
        return ""
    return tr(LARGE_WITH_ROWS if offers_rows else LARGE, total=total, embeddings=embeddings_bytes / GIB)


def _adapter_bytes(work: Workload) -> int:
    return adapter_parameters(work) * BYTES_PER_LORA_WEIGHT
