"""The memory of a stage in figures: what was used before and at the peak, and what the estimate adds up."""

from core.memory.parts import part_names
from core.problems import tr
from core.runs.events import Estimated, Finished
from ui.shared.formatting import gib, percent


def memory_rows(device: str, finished: Finished) -> list[tuple[str, str]]:
    """The device, what it had in use before training, the peak, what training added to it, and the shares of both."""
    peak, training, total = finished.peak_memory_gib, finished.peak_memory_for_training_gib, finished.total_memory_gib
    rows = [
        (tr("Device"), tr("{device}, {memory} in all", device=device, memory=gib(total)) if device else gib(total)),
        (tr("Used before training"), gib(max(peak - training, 0.0))),
        (tr("Peak"), gib(peak)),
        (tr("Peak for training"), gib(training)),
    ]
    if total:
        rows += [
            (tr("Peak, of all memory"), percent(peak / total)),
            (tr("Peak for training, of all memory"), percent(training / total)),
        ]
    return rows


def memory_sum(estimated: Estimated, is_gpu: bool) -> str:
    """The parts of the estimate as a sum: 0.62 (weights) + 0.02 (adapter) + … = 1.40 GiB."""
    names = part_names(is_gpu)
    parts = [
        tr("{size:.3f} ({part})", size=size, part=tr(names[key]))
        for key, size in estimated.parts.items()
        if key in names and size >= 0.0005
    ]
    return tr("{parts} = {total:.3f} GiB", parts=" + ".join(parts), total=estimated.total_gib)
