"""What to change when memory ran out, and how much each change would save. Knows nothing of threads or gradio."""

from core.data.prepared.prepared_data import PreparedData
from core.memory.cards import this_machine
from core.memory.hardware import detect_machine
from core.memory.model_shape import ModelShape
from core.memory.suggestions import suggestions
from core.model.loaded_model import LoadedModel
from core.problems import ModelError
from core.settings.run_config import RunConfig


def relief(loaded: LoadedModel, config: RunConfig, data: PreparedData | None) -> str:
    """One sentence with the two or three changes that would help most. Without `data` rows are as long as they may be."""
    where = "The card's memory" if loaded.device.type == "cuda" else "The computer's memory"
    lengths = data.train.figures["kept"] if data is not None else ()
    longest = int(lengths.max()) if len(lengths) else None
    try:
        shape = ModelShape.build(loaded.model.config.to_dict(), config.model.model_name)
    except ModelError:  # no Llama, and so nothing is known of what it takes
        return f"{where} is full: take a smaller batch, shorter rows, or a smaller model."
    changes = suggestions(config, shape, this_machine(detect_machine()), longest=longest)[:3]
    if not changes:
        return f"{where} is full, and nothing in these settings would save much: take a smaller model."
    words = "; ".join(f"{change.words} (saves about {_size(change.saves_gib)})" for change in changes)
    return f"{where} is full. What would help most: {words}."


def _size(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= 0.095 else f"{gib * 1024:.1f} MiB"
