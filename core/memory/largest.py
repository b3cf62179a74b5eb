"""The longest rows and the largest batch that fit on a card, each with all other settings as they are."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from core.memory.cards import Card
from core.memory.estimate import estimate, verdict
from core.memory.model_shape import ModelShape
from core.settings.run_config import RunConfig

if TYPE_CHECKING:
    from core.memory.probe_record import ProbeRecord

LENGTH_STEP = 64  # tokens
MAX_LENGTH, MAX_BATCH = 131072, 1024  # allowed by the settings


class Largest(BaseModel, frozen=True):
    """`length` is in tokens, `batch` in rows per forward pass; None if not even the least fits. `length_is_whole`: it
    is all that the model can read."""

    length: int | None
    batch: int | None
    length_is_whole: bool = False


def largest(
    config: RunConfig, shape: ModelShape, card: Card, probe: "ProbeRecord | None" = None, longest: int | None = None
) -> Largest:
    """What fits with room to spare, as the verdict "fits" says. `longest`: tokens in the longest row, if known.

    The length is for rows that fill it; with batch size auto, one at a time.
    """
    limit = min(shape.max_length, MAX_LENGTH)
    lengths = range(LENGTH_STEP, limit + 1, LENGTH_STEP)
    one = config.training.per_device_train_batch_size
    batch_now = 1 if one == "auto" else one

    def fits(batch: int, length: int, rows: int | None) -> bool:
        training = config.training.model_copy(update={"per_device_train_batch_size": batch})
        model = config.model.model_copy(update={"max_seq_length": length})
        sized = config.model_copy(update={"training": training, "model": model})
        return verdict(estimate(sized, shape, card, probe, rows), card) == "fits"

    length = _last(lengths, lambda length: fits(batch_now, length, None))
    batch = _last(range(1, MAX_BATCH + 1), lambda batch: fits(batch, config.model.max_seq_length, longest))
    return Largest(length=length, batch=batch, length_is_whole=length is not None and length == lengths[-1])


def _last(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """The last of the sizes that fits, as memory grows with them; None if none does."""
    count = bisect_left(sizes, True, key=lambda size: not fits(size))
    return sizes[count - 1] if count else None
