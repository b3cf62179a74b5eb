"""The whole estimate, whether it fits, and how a probe corrects it."""

from bisect import bisect_left
from typing import TYPE_CHECKING

from core.disk.sizes import GIB
from core.memory.activations_and_logits import (
    activations_at_the_loss,
    activations_while_layers_go_back,
    logits_at_the_loss,
    logits_while_layers_go_back,
)
from core.memory.cards import CONTEXT_GIB, Card
from core.memory.model_shape import ModelShape
from core.memory.parts import PASSING, Estimate, Verdict
from core.memory.weights_and_states import adapter, embeddings, gradients, optimizer, weights
from core.memory.workload import Workload, workload
from core.settings.run_config import RunConfig

if TYPE_CHECKING:
    from core.memory.probe_record import ProbeRecord

# Memory that torch reserves beyond what activations and logits need: blocks of 2 and 20 MiB that are not full (PyTorch,
# "CUDA semantics", memory management). The share is an assumption until it is measured on a card.
UNUSED_SHARE = 0.05
# torch, transformers and Unsloth on Linux, and what they allocate for themselves, with a model of negligible size: 0.7
# GiB at the demo's first step, 0.85 after 160 (measured).
LIBRARIES_GIB = 0.85
TIGHT_SHARE = 0.9  # of the usable memory; above it, a browser tab or a longer row may be too much


def estimate(
    config: RunConfig, shape: ModelShape, card: Card, probe: "ProbeRecord | None" = None, longest: int | None = None
) -> Estimate:
    """The peak memory of a run on a card, corrected by a probe if given. `longest`: tokens in the longest row.

    Batch size auto counts as the largest that fits.
    """
    if config.training.per_device_train_batch_size == "auto":
        return _largest_that_fits(config, shape, card, probe, longest)
    free = card.usable_gib
    work = workload(config, shape, card.is_gpu, card.has_bfloat16, free, longest)
    found = of_workload(work, CONTEXT_GIB if card.is_gpu else 0.0, LIBRARIES_GIB if not card.is_gpu else 0.0)
    return corrected(found, probe) if probe else found


def of_workload(
    work: Workload, context_gib: float = 0.0, libraries_gib: float = 0.0, holds_unused: bool = True
) -> Estimate:
    """The parts at the peak: at the loss, or during the backward pass of the layers, whichever is more."""
    parts = {
        "weights": weights(work),
        "adapter": adapter(work),
        "embeddings": embeddings(work),
        "gradients": gradients(work),
        "optimizer": optimizer(work),
    }
    # The loss measures free memory once, in the first forward pass, when there are no gradients and optimizer states
    # yet (unsloth_zoo, _measured_target_gb is cached).
    free = (work.free_gib - context_gib) * GIB - sum(parts[part] for part in ("weights", "adapter", "embeddings"))
    at_the_loss = activations_at_the_loss(work), logits_at_the_loss(work, free)
    in_layers = activations_while_layers_go_back(work), logits_while_layers_go_back(work)
    parts["activations"], parts["logits"] = max(at_the_loss, in_layers, key=sum)
    unused = UNUSED_SHARE * sum(parts[part] for part in PASSING) if holds_unused and work.on_gpu else 0.0
    in_gib = {part: size / GIB for part, size in parts.items()}
    in_gib["overhead"] = context_gib + libraries_gib + unused / GIB
    return Estimate(parts=in_gib, context_gib=context_gib, batch=work.batch)


def corrected(found: Estimate, probe: "ProbeRecord") -> Estimate:
    """The estimate corrected by a probe's difference: for the probe's own settings, exactly what was measured.

    Activations and logits are scaled by measured / estimated, between a half and two. The rest of the difference is the
    same for all settings, like weights and libraries.
    """
    before = probe.estimate
    passing = sum(before.parts[part] for part in PASSING)
    missing = probe.peak_gib - before.comparable_gib
    scale = min(max((passing + missing) / passing, 0.5), 2.0) if passing else 1.0
    rest = missing - (scale - 1) * passing
    parts = {part: size * (scale if part in PASSING else 1.0) for part, size in found.parts.items()}
    parts["overhead"] += rest
    if (short := parts["overhead"] - found.context_gib) < 0:  # far less was measured than estimated
        others = sum(parts.values()) - parts["overhead"]
        parts = {part: size * max(1 + short / others, 0.0) for part, size in parts.items()}
        parts["overhead"] = found.context_gib
    return found.model_copy(update={"parts": parts, "is_corrected": True})


def verdict(found: Estimate, card: Card) -> Verdict:
    """Whether a run with this estimate fits on a card."""
    if found.total_gib > card.usable_gib:
        return "no"
    return "tight" if found.total_gib > TIGHT_SHARE * card.usable_gib else "fits"


def _largest_that_fits(config, shape, card, probe, longest) -> Estimate:
    """The estimate for the largest batch that fits, or for one row if none does. Bisects, as memory grows with it."""
    rows = config.training.gradient_accumulation_steps
    sizes = [size for size in range(1, rows + 1) if rows % size == 0]

    def of(size: int) -> Estimate:
        training = config.training.model_copy(update={"per_device_train_batch_size": size})
        return estimate(config.model_copy(update={"training": training}), shape, card, probe, longest)

    fitting = bisect_left(sizes, True, key=lambda size: verdict(of(size), card) != "fits")
    return of(sizes[max(fitting - 1, 0)])
