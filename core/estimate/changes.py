"""What to change so that a run needs less memory, and what each change saves. Knows nothing of torch or gradio."""

from typing import TYPE_CHECKING

from pydantic import BaseModel

from core.config import RunConfig
from core.estimate.cards import Card
from core.estimate.shape import ModelShape
from core.estimate.total import estimate
from core.estimate.workload import batch_size

if TYPE_CHECKING:
    from core.probe_record import ProbeRecord

LEAST_LENGTH = 128
WORTH_SAYING = 0.005  # GiB


class Suggestion(BaseModel, frozen=True):
    """`set` is a setting as --set takes it, `also` those that go with it, `words` the same for a person."""

    set: str
    also: tuple[str, ...] = ()
    words: str
    saves_gib: float


def suggestions(
    config: RunConfig, shape: ModelShape, card: Card, probe: "ProbeRecord | None" = None, longest: int | None = None
) -> list[Suggestion]:
    """Each change by itself, the largest saving first; none that saves nothing."""
    now = estimate(config, shape, card, probe, longest).total_gib
    found = []
    for setting, also, words in _changes(config, shape, card, longest):
        changed = config.with_settings([setting, *also])
        saves = now - estimate(changed, shape, card, probe, longest).total_gib
        if saves > 0:
            found.append(Suggestion(set=setting, also=tuple(also), words=words, saves_gib=saves))
    return sorted(found, key=lambda change: -change.saves_gib)


def _changes(config: RunConfig, shape: ModelShape, card: Card, longest: int | None):
    training, adapter, model = config.training, config.adapter, config.model
    batch, steps = batch_size(config), training.gradient_accumulation_steps
    if training.per_device_train_batch_size != "auto" and batch > 1:
        half = batch // 2
        more = -(-steps * batch // half)
        yield (
            f"training.per_device_train_batch_size={half}", [f"training.gradient_accumulation_steps={more}"],
            f"batch {batch} → {half}, with accumulation {steps} → {more}",
        )  # fmt: skip
    length = min(model.max_seq_length, shape.max_length, longest or model.max_seq_length)
    if length > LEAST_LENGTH:
        shorter = max(length // 2, LEAST_LENGTH)
        yield f"model.max_seq_length={shorter}", [], f"length {model.max_seq_length:,} → {shorter:,}"
    if adapter.modules_to_save:
        yield "adapter.modules_to_save=[]", [], f"without {' and '.join(adapter.modules_to_save)}"
    best = "unsloth" if card.is_gpu else True
    if training.use_gradient_checkpointing != best:
        setting = "unsloth" if best == "unsloth" else "yes"
        words = "gradient checkpointing by unsloth" if card.is_gpu else "gradient checkpointing on"
        yield f"training.use_gradient_checkpointing={setting}", [], words
    if card.is_gpu and training.optim not in ("adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"):
        yield "training.optim=adamw_8bit", [], "optimizer adamw_8bit"
    if not model.load_in_4bit:
        yield "model.load_in_4bit=yes", [], "4-bit weights"
    if adapter.r > 8:
        yield f"adapter.r={adapter.r // 2}", [], f"rank {adapter.r} → {adapter.r // 2}"
