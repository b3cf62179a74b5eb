"""The error for memory that ran out: it names the changes that would save the most, and how much."""

from core.data.prepared.prepared_data import PreparedData
from core.memory.cards import this_machine
from core.memory.hardware import detect_machine
from core.memory.model_shape import ModelShape
from core.memory.suggestions import suggestions
from core.model.loaded_model import LoadedModel
from core.problems import ModelError, TrainingError, mark, tr
from core.settings.run_config import RunConfig

MAX_SUGGESTIONS = 3
SMALLEST_IN_GIB = 0.095  # smaller sizes are shown in MiB
WITH_SUGGESTIONS = {
    "cuda": mark("The card's memory is full. What would help most: {changes}."),
    "cpu": mark("The computer's memory is full. What would help most: {changes}."),
}
WITHOUT_SUGGESTIONS = {
    "cuda": mark("The card's memory is full, and no change to these settings would save much: use a smaller model."),
    "cpu": mark("The computer's memory is full, and no change to these settings would save much: use a smaller model."),
}
UNKNOWN_MODEL = {
    "cuda": mark("The card's memory is full: use a smaller batch, shorter rows, or a smaller model."),
    "cpu": mark("The computer's memory is full: use a smaller batch, shorter rows, or a smaller model."),
}


def out_of_memory_error(loaded: LoadedModel, config: RunConfig, data: PreparedData | None) -> TrainingError:
    """The error to raise, with the two or three changes that would help most.

    Without `data`, rows are assumed to be as long as the settings allow.
    """
    device = "cuda" if loaded.device.type == "cuda" else "cpu"
    lengths = data.train.figures["kept"] if data is not None else ()
    longest = int(lengths.max()) if len(lengths) else None
    try:
        shape = ModelShape.build(loaded.model.config.to_dict(), config.model.model_name)
    except ModelError:  # an architecture whose memory cannot be estimated
        return TrainingError(UNKNOWN_MODEL[device])
    changes = suggestions(config, shape, this_machine(detect_machine()), longest=longest)[:MAX_SUGGESTIONS]
    if not changes:
        return TrainingError(WITHOUT_SUGGESTIONS[device])
    words = "; ".join(
        tr("{change} (saves about {size})", change=change.words, size=_size(change.saves_gib)) for change in changes
    )
    return TrainingError(WITH_SUGGESTIONS[device], changes=words)


def _size(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= SMALLEST_IN_GIB else f"{gib * 1024:.1f} MiB"
