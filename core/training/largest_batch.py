"""The largest batch that fits, found by probes. Knows nothing of threads, files or gradio.

`largest_batch` is the search alone, over any way to try a batch; `find_batch` tries by probing, under the settings'
headroom: the share of the device's memory that must stay free. Rows of a step stay as many as they were: a batch
divides them, and the rest is accumulation.
"""

from collections.abc import Callable

from pydantic import BaseModel

from core.data.prepared.prepared_data import PreparedData
from core.memory.hardware import MemoryStats, sample_memory
from core.model.device_memory import free_memory, is_out_of_memory
from core.model.loaded_model import LoadedModel
from core.problems import TrainingError
from core.settings.run_config import RunConfig
from core.stopping import ShouldStop, leave_if
from core.training.out_of_memory import relief
from core.training.step_probe import Measured, measure

MOST = 1024  # rows at once, and micro-batches in a step: where both settings end
Tried = tuple[tuple[int, float | None], ...]


class BatchFound(BaseModel, frozen=True):
    """Rows at once, micro-batches in a step, and the batches that were `tried`, in order, each with its peak in GiB, or
    None where it did not fit; `headroom` is a share, 0 to 1."""

    batch: int
    accumulation: int
    tried: Tried
    headroom: float


def words_of_trying(batch: int) -> str:
    """For whoever waits."""
    return f"Finding the largest batch: trying {batch:,}"


def sizes_of(rows_of_a_step: int) -> list[int]:
    """The batches into which so many rows can be shared out, the smallest first: where a step has more than `MOST` rows
    that is not one row at a time."""
    most = min(rows_of_a_step, MOST)
    return [size for size in range(1, most + 1) if rows_of_a_step % size == 0 and rows_of_a_step // size <= MOST]


def largest_batch(sizes: list[int], fits: Callable[[int], float | None]) -> tuple[int | None, Tried]:
    """The largest of `sizes`, which are in order, that fits, and all that were tried; None when not even the smallest does.

    `fits(batch)` gives the peak in GiB, or None. From the smallest on each try is about twice the one before, so that
    none is far beyond what fits; once one does not, what lies between is halved.
    """
    tried: list[tuple[int, float | None]] = []

    def tries(size: int) -> bool:
        tried.append((size, fits(size)))
        return tried[-1][1] is not None

    best, above = None, len(sizes)  # places in sizes: the largest that fits, the smallest that does not
    at = 0
    while at < above:
        if tries(sizes[at]):
            best = at
        else:
            above = at
        if best is None or best + 1 >= above:
            break
        doubled = max((place for place, size in enumerate(sizes) if size <= 2 * sizes[best]), default=best)
        # Sizes may lie further apart than doubling reaches.
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
    """Probes batches of `loaded`, which has its adapter on it, and leaves it as it was.

    `trying` is called before each probe, with what was tried before; `measured` after each that went through, with its
    settings. The smallest batch is taken when it goes through at all: nothing smaller is left. Raises TrainingError
    when not even that does, with what would help, and Stopped.
    """
    rows, headroom, tried = config.training.effective_batch, config.training.auto_batch_headroom, []
    sizes = sizes_of(rows)

    def fits(batch: int) -> float | None:
        tried.append((batch, peak := probed(batch)))
        return peak

    def probed(batch: int) -> float | None:
        leave_if(should_stop)
        trying(batch, tuple(tried))
        sized = config.with_batch(batch, rows // batch)
        free_memory()
        limit = limit_gib(sample_memory(), headroom)
        if loaded.device.type == "cpu" and batch != sizes[0] and drawn_on(tried, batch) > limit:
            return None
        found = measure_if_it_fits(loaded, sized, data, should_stop)
        if found is None:
            return None
        measured(sized, found)
        return found.peak_gib if found.peak_gib <= limit or batch == sizes[0] else None

    batch, all_tried = largest_batch(sizes, fits)
    if batch is None:
        raise TrainingError(relief(loaded, config.with_batch(sizes[0], rows // sizes[0]), data))
    return BatchFound(batch=batch, accumulation=rows // batch, tried=all_tried, headroom=headroom)


def limit_gib(memory: MemoryStats, headroom: float) -> float:
    """What this program may come to hold: what it holds and what is free now, less the headroom."""
    return memory.used_by_us_gib + memory.available_gib - headroom * memory.total_gib


def drawn_on(tried: list[tuple[int, float | None]], batch: int) -> float:
    """The peak to be expected, in GiB: a straight line through the last two that fit, or the only one; 0 without any.

    Without a card memory that runs out may end the whole program, so there what would be too much is not tried.
    """
    peaks = [(size, peak) for size, peak in tried if peak is not None][-2:]
    if len(peaks) < 2:
        return peaks[0][1] if peaks else 0.0
    (small, low), (large, high) = peaks
    return high + (high - low) / (large - small) * (batch - large)


def measure_if_it_fits(
    loaded: LoadedModel, config: RunConfig, data: PreparedData | None, should_stop: ShouldStop
) -> Measured | None:
    """None when memory ran out; it is free again then. Raises Stopped, and what the libraries raise otherwise."""
    try:
        return measure(loaded, config, data, should_stop)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # Its frames hold the trainer, the optimizer and the tensors for which there was no room.
        error.with_traceback(None)
        error.__context__ = error.__cause__ = None
    free_memory()
    return None
