"""An estimate and a probe as text and as plain values, for the command line."""

from typing import TYPE_CHECKING, Any

from core.memory.cards import Card
from core.memory.embeddings_cost import embeddings_cost
from core.memory.estimate import estimate, verdict
from core.memory.model_shape import ModelShape
from core.memory.parts import part_names
from core.memory.suggestions import WORTH_SAYING, suggestions, to_fit
from core.settings.run_config import RunConfig
from core.settings.steps import steps_of, warmup_warning
from ui.shared.formatting import duration, pace

if TYPE_CHECKING:
    from core.memory.probe_record import ProbeRecord

IN_WORDS = {"fits": "fits", "tight": "fits, but tightly", "no": "does not fit"}


def as_values(config: RunConfig, shape: ModelShape, card: Card, probe: "ProbeRecord | None") -> dict[str, Any]:
    """What `estimate --json` prints, sizes in GiB. `suggestions` are separate, the changes of `to_fit` add up."""
    found = estimate(config, shape, card, probe)
    return {
        "card": card.name,
        "card_gib": card.memory_gib,
        "usable_gib": card.usable_gib,
        "total_gib": found.total_gib,
        "parts": found.parts,
        "fits": verdict(found, card) != "no",
        "verdict": verdict(found, card),
        "batch": found.batch,
        "is_corrected_by_a_probe": found.is_corrected,
        "warning": _warning(config, shape, card),
        "suggestions": [change.model_dump() for change in suggestions(config, shape, card, probe)],
        "to_fit": [change.model_dump() for change in to_fit(config, shape, card, probe)],
    }


def in_lines(config: RunConfig, shape: ModelShape, card: Card, probe: "ProbeRecord | None") -> list[str]:
    """What `estimate` prints for a person."""
    found = estimate(config, shape, card, probe)
    judged = verdict(found, card)
    left = card.usable_gib - found.total_gib
    words = f"{left:.1f} GiB to spare" if left >= 0 else f"{-left:.1f} GiB too much"
    by = ", corrected by a probe" if found.is_corrected else ""
    lines = [
        f"{config.model.model_name} on {card.name}: {IN_WORDS[judged]}, {words}.",
        f"About {found.total_gib:.1f} GiB of the {card.usable_gib:.1f} GiB that can be used{by}:",
    ]
    names = part_names(card.is_gpu)
    lines += [f"  {names[part]:<22}{size:6.2f} GiB" for part, size in found.parts.items() if size >= WORTH_SAYING]
    if config.training.per_device_train_batch_size == "auto":
        lines.append(f"That is with a batch of {found.batch}, the largest that fits by this estimate.")
    if warning := _warning(config, shape, card):
        lines.append(warning)
    if judged != "no":
        return lines
    if not (changes := to_fit(config, shape, card, probe)):
        return [*lines, "No change to these settings makes it fit: choose a smaller model or another card."]
    lines.append("The cheapest changes that make it fit:")
    return lines + [f"  {change.words}: {change.saves_gib:.1f} GiB   {_options(change)}" for change in changes]


def _warning(config: RunConfig, shape: ModelShape, card: Card) -> str:
    cost = embeddings_cost(config, shape, card)
    found = [cost.warning if cost else "", warmup_warning(config.training, steps_of(config, None))]
    return " ".join(filter(None, found))


def _options(change) -> str:
    return " ".join(f"--set {setting}" for setting in (change.set, *change.also))


def probe_lines(record: "ProbeRecord", note: str) -> list[str]:
    """What `probe` prints for a person. `note` says why the record could not be saved; empty when it was saved."""
    lines = [
        f"Peak memory: {record.peak_gib:.2f} GiB (estimated {record.estimate.comparable_gib:.2f} GiB).",
        f"One step: {pace(record.seconds_per_step)}, on rows of {record.length:,} tokens.",
    ]
    if record.steps:
        took = duration(record.steps * record.seconds_per_step)
        lines.append(f"The whole run of {record.steps:,} steps takes about {took}, less with shorter rows.")
    else:
        lines.append("The time of the whole run is unknown: it runs for epochs, and its rows were not counted.")
    return [*lines, note or "Estimates for this model on this machine are now corrected by it."]
