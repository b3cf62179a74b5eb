"""A probe: what it measures, and that nothing is left of it. On the real trainer; adapters are compared bit for bit."""

import gc
import random

import pytest
from safetensors.torch import load_file

from core.memory.hardware import sample_memory
from core.settings.run_config import RunConfig
from core.stopping import Stopped
from core.training.step_probe import MadeUpRows, full_length, measure, undone
from tests.conftest import load_for, prepare_for, small_config, train_for

CHECKPOINTING = ["no", "yes", "unsloth"]


@pytest.fixture(scope="module")
def config(unsloth, stories, rows) -> RunConfig:
    """With dropout, so that the generators' state matters."""
    return small_config(
        stories, rows, "training.max_steps=4", "adapter.lora_dropout=0.2", "training.per_device_train_batch_size=2",
        "training.save_steps=0", "training.eval_steps=2",
    )  # fmt: skip


def weights(folder):
    return load_file(folder / "adapter/adapter_model.safetensors")


def different(ours: dict, theirs: dict) -> list[str]:
    assert ours.keys() == theirs.keys() and ours
    return [name for name in ours if ours[name].dtype != theirs[name].dtype or not ours[name].equal(theirs[name])]


def loaded_with(config: RunConfig):
    """The model with its adapter and its checkpointing, as a run has it."""
    from core.model.load import load
    from core.model.new_adapter import attach_adapter

    loaded = load(config.model, use_gradient_checkpointing=config.training.use_gradient_checkpointing)
    attach_adapter(loaded, config.adapter, config.training.use_gradient_checkpointing, config.training.seed)
    return loaded


@pytest.mark.parametrize("how", CHECKPOINTING)
def test_a_run_after_a_probe_is_bit_equal_to_one_without(config, tmp_path, how):
    config = config.with_settings([f"training.use_gradient_checkpointing={how}"])
    train_for(config, tmp_path / "without/adapter", loaded=loaded_with(config))
    probed = loaded_with(config)
    measure(probed, config)
    train_for(config, tmp_path / "once/adapter", loaded=probed)
    assert different(weights(tmp_path / "once"), weights(tmp_path / "without")) == []
    twice = loaded_with(config)
    # The second with other rows, another batch and another optimizer than the run.
    other = config.with_settings(["training.optim=adafactor", "training.per_device_train_batch_size=3"])
    measure(twice, config)
    measure(twice, other, prepare_for(config, twice))
    train_for(config, tmp_path / "twice/adapter", loaded=twice)
    assert different(weights(tmp_path / "twice"), weights(tmp_path / "without")) == []


def everything(loaded) -> dict:
    """Each weight with its precision, whether it trains and has a gradient; hooks and how the modules forward."""
    found = {
        name: (weight.detach().clone(), weight.dtype, weight.requires_grad, weight.grad is None)
        for name, weight in loaded.model.named_parameters()
    }
    for name, module in loaded.model.named_modules():
        found[name, "hooks"] = tuple(module._forward_hooks), tuple(module._forward_pre_hooks)
        found[name, "forward"] = module.forward.__func__
    return found


def test_the_model_stands_as_before_and_the_generators_too(config):
    import numpy
    import torch

    loaded = loaded_with(config.with_settings(["training.use_gradient_checkpointing=yes"]))
    before = everything(loaded)
    random.seed(1), numpy.random.seed(2), torch.manual_seed(3)
    wanted = random.random(), float(numpy.random.rand()), float(torch.rand(1))
    random.seed(1), numpy.random.seed(2), torch.manual_seed(3)
    measure(loaded, config.with_settings(["training.use_gradient_checkpointing=yes"]))
    assert (random.random(), float(numpy.random.rand()), float(torch.rand(1))) == wanted
    after = everything(loaded)
    assert before.keys() == after.keys()
    for name, (weight, *more) in ((name, value) for name, value in before.items() if isinstance(name, str)):
        assert after[name][0].equal(weight) and list(after[name][1:]) == more, name
    assert [name for name in before if isinstance(name, tuple) and before[name] != after[name]] == []
    gc.collect()
    from transformers import Trainer

    assert [type(thing) for thing in gc.get_objects() if issubclass(type(thing), torch.optim.Optimizer | Trainer)] == []


@pytest.mark.parametrize("fault", ["stop", "memory", "other"])
def test_what_goes_wrong_within_a_probe_is_undone_too(config, tmp_path, fault):
    import torch

    train_for(config, tmp_path / "without/adapter", loaded=loaded_with(config))
    loaded = loaded_with(config)
    asked = []

    def should_stop() -> bool:
        """Within the second step, so that the optimizer has moved the weights by then."""
        asked.append(True)
        if len(asked) < 4:
            return False
        if fault == "memory":
            torch.empty(2**48, dtype=torch.float32)
        if fault == "other":
            raise ValueError("no reason")
        return True

    moved = []
    weight = next(w for n, w in loaded.model.named_parameters() if "lora_B" in n)
    weight.register_hook(lambda gradient: moved.append(bool(weight.any())))
    with pytest.raises({"stop": Stopped, "memory": RuntimeError, "other": ValueError}[fault]):
        measure(loaded, config, should_stop=should_stop)
    assert moved[0] is False and moved[-1] is True
    assert not weight.any()
    train_for(config, tmp_path / "after/adapter", loaded=loaded)
    assert different(weights(tmp_path / "after"), weights(tmp_path / "without")) == []


def test_the_rows_are_as_long_as_any_that_the_run_can_meet(config):
    loaded = load_for(config)
    data = prepare_for(config, loaded)
    longest = max(len(example.input_ids) for example in data.train)
    assert 10 < longest < 128
    assert (full_length(loaded, config, data), full_length(loaded, config, None)) == (longest, 128)
    made_up = MadeUpRows(3, 128, 512).as_dataset()
    assert [len(row) for row in made_up["input_ids"]] == [128] * 3 and made_up["labels"] == made_up["input_ids"]
    ids = {id for row in made_up["input_ids"] for id in row}
    assert ids <= set(range(512)) and len(ids) > 200
    assert made_up["input_ids"] == MadeUpRows(3, 128, 512).as_dataset()["input_ids"]


@pytest.mark.parametrize(("accumulation", "batches"), [(1, 2), (2, 4), (7, 4)])
def test_two_steps_of_at_most_two_micro_batches_on_full_rows(config, accumulation, batches):
    loaded = loaded_with(config)
    shapes = []
    loaded.model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    found = measure(loaded, config.with_settings([f"training.gradient_accumulation_steps={accumulation}"]))
    assert shapes == [(2, 128)] * batches and found.length == 128
    assert 0 < found.seconds_per_step < 60
    # Resident memory, of which the libraries take the most here.
    assert 0.1 < found.peak_gib < sample_memory().total_gib


def test_a_step_of_more_micro_batches_takes_as_much_longer(config, monkeypatch):
    """By a clock that each look at moves on by a second: three looks in a step of two micro-batches."""
    import core.training.step_probe

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 1
            return self.now

    loaded = loaded_with(config)
    seconds = []
    for accumulation in (1, 2, 7):
        with monkeypatch.context() as patch:
            patch.setattr(core.training.step_probe, "time", Clock())
            one = config.with_settings([f"training.gradient_accumulation_steps={accumulation}"])
            seconds.append(measure(loaded, one).seconds_per_step)
    assert seconds == [1.0, 2.0, 7.0]


def test_the_peak_is_that_of_the_probe(config):
    """A block that lives only within the probe is in it; the copies by which it is undone are not."""
    import torch

    loaded = loaded_with(config)
    measure(loaded, config)
    before = sample_memory().process_gib
    plain = measure(loaded, config).peak_gib
    assert before <= plain < before + 0.2

    def hold(module, inputs, output) -> None:
        torch.ones(2**28).sum()  # 1 GiB in 32-bit

    handle = next(m for n, m in loaded.model.named_modules() if n.endswith("model.norm")).register_forward_hook(hold)
    try:
        assert 0.95 < measure(loaded, config).peak_gib - plain < 1.1
    finally:
        handle.remove()
    assert sample_memory().process_gib < before + 0.2


def test_the_copies_are_counted_and_in_the_weights_own_precision(config):
    import torch

    loaded = loaded_with(config)
    weight = next(w for n, w in loaded.model.named_parameters() if "lora_A" in n)
    began = weight.detach().clone()
    taken = sum(w.numel() * w.element_size() for w in loaded.model.parameters() if w.requires_grad)
    with undone(loaded) as kept_gib:
        assert kept_gib == taken / 1024**3
        weight.data = torch.zeros_like(weight, dtype=torch.bfloat16)
    assert weight.dtype == began.dtype and weight.equal(began)
