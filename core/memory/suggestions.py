"""Which changes of the settings save memory, and how much."""

from typing import TYPE_CHECKING

from pydantic import BaseModel

from core.memory.cards import Card
from core.memory.estimate import estimate, verdict
from core.memory.model_shape import ModelShape
from core.memory.workload import batch_size
from core.problems import tr
from core.settings.run_config import RunConfig

if TYPE_CHECKING:
    from core.memory.probe_record import ProbeRecord

MIN_LENGTH = 128
MAX_ACCUMULATION = 1024  # allowed by the settings
WORTH_SAYING = 0.005  # GiB


class Suggestion(BaseModel, frozen=True):
    """A change: `set` as for --set, `also` the settings that go with it, `words` the same for a person."""

    set: str
    also: tuple[str, ...] = ()
    words: str
    saves_gib: float


def suggestions(
    config: RunConfig, shape: ModelShape, card: Card, probe: "ProbeRecord | None" = None, longest: int | None = None
) -> list[Suggestion]:
    """Changes that save memory, each by itself, the largest saving first."""
    now = estimate(config, shape, card, probe, longest).total_gib
    found = []
    for setting, also, words in _changes(config, shape, card, longest):
        changed = config.with_settings([setting, *also])
        saves = now - estimate(changed, shape, card, probe, longest).total_gib
        if saves > 0:
            found.append(Suggestion(set=setting, also=tuple(also), words=words, saves_gib=saves))
    return sorted(found, key=lambda change: -change.saves_gib)


def to_fit(
    config: RunConfig, shape: ModelShape, card: Card, probe: "ProbeRecord | None" = None, longest: int | None = None
) -> list[Suggestion]:
    """The cheapest changes that together make a run fit, each with what it saves after those before it.

    Changes that only cost time come first, those that cost quality last; changes that turn out to be unnecessary are
    left out. Empty if the run fits already, or if nothing makes it fit.
    """
    made: list[Suggestion] = []
    now = config
    while verdict(found := estimate(now, shape, card, probe, longest), card) == "no":
        steps = ((setting, tuple(also), words) for setting, also, words in _changes(now, shape, card, longest))
        for setting, also, words in steps:
            changed = now.with_settings([setting, *also])
            saves = found.total_gib - estimate(changed, shape, card, probe, longest).total_gib
            if saves > WORTH_SAYING:
                made.append(Suggestion(set=setting, also=also, words=words, saves_gib=saves))
                now = changed
                break
        else:
            return []
    return _without_unnecessary(config, made, shape, card, probe, longest)


def _without_unnecessary(config, made: list[Suggestion], shape, card, probe, longest) -> list[Suggestion]:
    """Each setting once, changed no further than needed, with what it saves after those before it."""
    steps: dict[str, list[Suggestion]] = {}
    for change in made:
        steps.setdefault(change.set.partition("=")[0], []).append(change)
    taken = {kind: len(changes) for kind, changes in steps.items()}

    def total(taken: dict[str, int]):
        last = [steps[kind][count - 1] for kind, count in taken.items() if count]
        settings = [setting for change in last for setting in (change.set, *change.also)]
        return estimate(config.with_settings(settings), shape, card, probe, longest)

    for kind in reversed(steps):  # the most expensive first
        taken[kind] = next(n for n in range(taken[kind] + 1) if verdict(total(taken | {kind: n}), card) != "no")
    kept, before = [], dict.fromkeys(steps, 0)
    for kind, count in taken.items():
        if count:
            after = before | {kind: count}
            words = _from_to(steps[kind][0].words, steps[kind][count - 1].words)
            saves = total(before).total_gib - total(after).total_gib
            kept.append(steps[kind][count - 1].model_copy(update={"saves_gib": saves, "words": words}))
            before = after
    return kept


def _from_to(first: str, last: str) -> str:
    """Joins "batch 8 → 4, with accumulation 1 → 2" and "batch 4 → 2, with accumulation 2 → 4". So translations keep
    the commas and arrows."""
    pairs = zip(first.split(", "), last.split(", "), strict=True)
    return ", ".join(f"{a.rpartition(' → ')[0]} → {b.rpartition(' → ')[2]}" if " → " in a else a for a, b in pairs)


def _changes(config: RunConfig, shape: ModelShape, card: Card, longest: int | None):
    """Each change as a setting, the settings that go with it, and words; the cheapest first."""
    training, adapter, model = config.training, config.adapter, config.model
    batch, steps = batch_size(config), training.gradient_accumulation_steps
    half = max(batch // 2, 1)
    more = -(-steps * batch // half)
    if training.per_device_train_batch_size != "auto" and batch > 1 and more <= MAX_ACCUMULATION:
        numbers = {"batch": batch, "half": half, "steps": steps, "more": more}
        yield (
            f"training.per_device_train_batch_size={half}", [f"training.gradient_accumulation_steps={more}"],
            tr("batch {batch} → {half}, with accumulation {steps} → {more}", **numbers),
        )  # fmt: skip
    best = "unsloth" if card.is_gpu else True
    if training.use_gradient_checkpointing != best:
        setting = "unsloth" if best == "unsloth" else "yes"
        words = tr("Unsloth's gradient checkpointing") if card.is_gpu else tr("gradient checkpointing on")
        yield f"training.use_gradient_checkpointing={setting}", [], words
    if card.is_gpu and training.optim not in ("adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"):
        yield "training.optim=adamw_8bit", [], tr("optimizer adamw_8bit")
    if not model.load_in_4bit:
        yield "model.load_in_4bit=yes", [], tr("4-bit weights")
    fills = training.packing and card.is_gpu  # packed sequences have the full length, however short the rows are
    length = (
        model.max_seq_length if fills else min(model.max_seq_length, shape.max_length, longest or model.max_seq_length)
    )
    if length > MIN_LENGTH:
        shorter = max(length // 2, MIN_LENGTH)
        words = tr("length {length:,} → {shorter:,}", length=model.max_seq_length, shorter=shorter)
        yield f"model.max_seq_length={shorter}", [], words
    if adapter.modules_to_save:
        yield "adapter.modules_to_save=[]", [], tr("without {layers}", layers=tr(" and ").join(adapter.modules_to_save))
    if adapter.r > 8:
        yield f"adapter.r={adapter.r // 2}", [], tr("rank {rank} → {half}", rank=adapter.r, half=adapter.r // 2)
