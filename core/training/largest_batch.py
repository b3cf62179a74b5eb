"""Finds the largest batch size that fits in memory.

`largest_batch` is only the search; how a batch is tried is up to the caller. `find_batch` tries each by probing, and
leaves the share of the device's memory free that the settings ask for (`auto_batch_headroom`). The rows per step stay
the same: the batch divides them, and gradient accumulation does the rest.
"""

from collections.abc import Callable

from pydantic import BaseModel

from core.data.prepared.prepared_data import PreparedData
from core.memory.hardware import MemoryStats, sample_memory
from core.model.device_memory import free_memory, is_out_of_memory
from core.model.loaded_model import LoadedModel
from core.problems import tr
from core.settings.run_config import RunConfig
from core.threads import ShouldStop, forget_frames, leave_if
from core.training.out_of_memory import out_of_memory_error
from core.training.step_probe import Measured, measure

MAX_SETTING = 1024  # the largest value that the settings allow for the batch size and for the accumulation
Tried = tuple[tuple[int, float | None], ...]


class BatchFound(BaseModel, frozen=True):
    """The batch size and the accumulation (micro-batches per step) that were found.

    `tried` has every batch size in the order it was tried, with its peak in GiB, or None if it did not fit. `headroom`
    is a share from 0 to 1.
    """

    batch: int
    accumulation: int
    tried: Tried
    headroom: float


def words_of_trying(batch: int) -> str:
    """What to show while a batch size is tried."""
    return tr("Finding the largest batch: trying {batch:,}", batch=batch)


def sizes_of(rows_per_step: int) -> list[int]:
    """The batch sizes that divide the rows of a step, smallest first, with an accumulation that the settings allow.

    With more than `MAX_SETTING` rows per step the smallest is therefore more than one row.
    """
    largest = min(rows_per_step, MAX_SETTING)
    divisors = [size for size in range(1, largest + 1) if rows_per_step % size == 0]
    return [size for size in divisors if rows_per_step // size <= MAX_SETTING]


def largest_batch(sizes: list[int], fits: Callable[[int, Tried], float | None]) -> tuple[int | None, Tried]:
    """Returns the largest of the sorted `sizes` that fits, None if not even the smallest does, and all that were tried.

    `fits(batch, tried)` returns the peak in GiB, or None if the batch does not fit. Starting from the smallest, each
    try is about twice the one before, so that none is far too large; after the first that does not fit, it bisects.
    """
    tried: list[tuple[int, float | None]] = []
    best, above = None, len(sizes)  # indices into sizes: the largest that fits, the smallest that does not
    at = 0
    while at < above:
        peak = fits(sizes[at], tuple(tried))
        tried.append((sizes[at], peak))
        if peak is not None:
            best = at
        else:
            above = at
        if best is None or best + 1 >= above:
            break
        doubled = max((place for place, size in enumerate(sizes) if size <= 2 * sizes[best]), default=best)
        # The next size may be more than twice the best.
        at = max(doubled, best + 1) if above == len(sizes) else (best + above) // 2
    return None if best is None else sizes[best], tuple(tried)


def find_batch(
    loaded: LoadedModel,
    config: RunConfig,
    data: PreparedData | None = None,
    should_stop: ShouldStop = lambda: False,
    trying: Callable[[int, Tried], None] = lambda batch, tried: None,
    measured: Callable[[RunConfig, Measured], None] = lambda config, found: None,
) -> BatchFound:
    """Probes batch sizes on `loaded`, which has its adapter, and leaves the model as it was.

    `trying` is called before each probe with what was tried before, `measured` after each successful one with its
    settings. The smallest batch counts as fitting whenever its probe succeeds, because there is nothing smaller. Raises
    TrainingError if even that runs out of memory, and Stopped.
    """
    rows, headroom = config.training.effective_batch, config.training.auto_batch_headroom
    sizes = sizes_of(rows)

    def fits(batch: int, tried: Tried) -> float | None:
        leave_if(should_stop)
        trying(batch, tried)
        sized = config.with_batch(batch, rows // batch)
        free_memory()
        limit = limit_gib(sample_memory(), headroom)
        if loaded.device.type == "cpu" and batch != sizes[0] and expected_peak(tried, batch) > limit:
            return None
        found = measure_if_it_fits(loaded, sized, data, should_stop)
        if found is None:
            return None
        measured(sized, found)
        return found.peak_gib if found.peak_gib <= limit or batch == sizes[0] else None

    batch, tried = largest_batch(sizes, fits)
    if batch is None:
        raise out_of_memory_error(loaded, config.with_batch(sizes[0], rows // sizes[0]), data)
    return BatchFound(batch=batch, accumulation=rows // batch, tried=tried, headroom=headroom)


def limit_gib(memory: MemoryStats, headroom: float) -> float:
    """GiB that this program may use: what it uses and what is free now, minus the headroom."""
    return memory.used_by_us_gib + memory.available_gib - headroom * memory.total_gib


def expected_peak(tried: Tried, batch: int) -> float:
    """The expected peak of a batch in GiB: a line through the last two that fit, or the only one; 0 without any.

    Without a GPU, running out of memory can end the whole program, so a batch that is expected not to fit is not tried.
    """
    peaks = [(size, peak) for size, peak in tried if peak is not None][-2:]
    if len(peaks) < 2:
        return peaks[0][1] if peaks else 0.0
    (small, low), (large, high) = peaks
    return high + (high - low) / (large - small) * (batch - large)


def measure_if_it_fits(
    loaded: LoadedModel, config: RunConfig, data: PreparedData | None, should_stop: ShouldStop
) -> Measured | None:
    """Returns None if memory ran out, after freeing it. Raises Stopped, and other errors of the libraries."""
    try:
        return measure(loaded, config, data, should_stop)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        forget_frames(error)
    free_memory()
    return None
