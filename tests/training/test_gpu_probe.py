"""A probe on a GPU: it measures what the run then uses, changes nothing, and running out of memory does no harm."""

import pytest

from core.memory.hardware import sample_memory
from core.model.device_memory import free_memory
from core.training.largest_batch import find_batch, measure_if_it_fits
from core.training.step_probe import measure
from tests.journeys import test_gpu as on_a_card

pytestmark = pytest.mark.gpu
card, place = on_a_card.card, on_a_card.place


def weights_of(loaded) -> dict:
    return {name: w.detach().clone() for name, w in loaded.model.named_parameters() if w.requires_grad}


def changed(loaded, before: dict) -> list[str]:
    now = weights_of(loaded)
    assert now.keys() == before.keys() and before
    return [name for name in before if now[name].dtype != before[name].dtype or not now[name].equal(before[name])]


def losses(ran) -> list[float]:
    return [step.loss for step in ran.of(on_a_card.StepDone)]


def test_a_run_after_a_probe_learns_like_one_without(place):
    config = on_a_card.settings()
    without = on_a_card.train_on(on_a_card.with_adapter(config), config, place / "without" / "adapter")
    loaded = on_a_card.with_adapter(config)
    before = weights_of(loaded)
    found = measure(loaded, config)
    assert changed(loaded, before) == [] and found.length == on_a_card.LENGTH
    probed = on_a_card.train_on(loaded, config, place / "probed" / "adapter")
    assert losses(probed) == pytest.approx(losses(without), rel=1e-3)


def test_a_probe_measures_what_the_run_uses(place):
    import torch

    config = on_a_card.settings("training.eval_steps=0", "data.validation_share=0")
    loaded = on_a_card.with_adapter(config)
    found = measure(loaded, config)
    free_memory()
    torch.cuda.reset_peak_memory_stats()
    on_a_card.train_on(loaded, config, place / "taken" / "adapter")
    assert found.peak_gib == pytest.approx(torch.cuda.max_memory_reserved() / on_a_card.GIB, rel=0.05)


def test_memory_that_ran_out_in_a_probe_is_freed_and_the_search_continues(place):
    import torch

    config = on_a_card.settings("training.per_device_train_batch_size=auto", "training.gradient_accumulation_steps=4")
    loaded = on_a_card.with_adapter(config)
    free_memory()
    before = sample_memory().reserved_gib

    def refuse(module, args, kwargs) -> None:
        if len(kwargs["input_ids"]) > 2:
            torch.empty(2**48, dtype=torch.float32, device="cuda")

    hook = loaded.model.register_forward_pre_hook(refuse, with_kwargs=True)
    assert measure_if_it_fits(loaded, config.with_batch(4, 1), None, lambda: False) is None
    free_memory()
    assert sample_memory().reserved_gib == pytest.approx(before, abs=0.05)
    found = find_batch(loaded, config)
    assert (found.batch, found.accumulation, [peak is not None for _, peak in found.tried]) == (
        2,
        2,
        [True, True, False],
    )
    hook.remove()
    ran = on_a_card.train_on(loaded, config.with_batch(2, 2), place / "after" / "adapter")
    assert ran.result.steps == 4
