"""A probe: what it measures, and that it undoes everything. On the real trainer; adapters are compared bit for bit."""

import gc
import random

import pytest
from safetensors.torch import load_file

from core.memory.hardware import sample_memory
from core.settings.run_config import RunConfig
from core.threads import Stopped
from core.training.step_probe import MadeUpRows, full_length, measure, undone
from tests.conftest import differing, load_for, prepare_for, small_config, train_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(unsloth, stories, rows) -> RunConfig:
    """With dropout, so that the state of the random generators matters."""
    return small_config(
        stories, rows, "training.max_steps=3", "adapter.lora_dropout=0.2", "training.per_device_train_batch_size=2",
        "training.save_steps=0", "training.eval_steps=0",
    )  # fmt: skip


@pytest.fixture(scope="module")
def without(config, tmp_path_factory):
    """Weights of a run without any probe."""
    folder = tmp_path_factory.mktemp("without")
    train_for(config, folder / "adapter", loaded=loaded_with(config))
    return weights(folder)


def weights(folder):
    return load_file(folder / "adapter/adapter_model.safetensors")


def loaded_with(config: RunConfig):
    """The model with its adapter and its checkpointing, as a run has it."""
    from core.model.load import load
    from core.model.new_adapter import attach_adapter

    loaded = load(config.model, use_gradient_checkpointing=config.training.use_gradient_checkpointing)
    attach_adapter(loaded, config.adapter, config.training.use_gradient_checkpointing, config.training.seed)
    return loaded


def test_a_run_after_probes_is_bit_equal_to_one_without(config, without, tmp_path):
    """One probe with the run's settings, then one with other rows, another batch size and another optimizer."""
    loaded = loaded_with(config)
    measure(loaded, config)
    other = config.with_settings(["training.optim=adafactor", "training.per_device_train_batch_size=3"])
    measure(loaded, other, prepare_for(config, loaded))
    train_for(config, tmp_path / "adapter", loaded=loaded)
    assert differing(weights(tmp_path), without) == []


@pytest.mark.parametrize("how", ["yes", "unsloth"])
def test_with_checkpointing_a_run_after_a_probe_is_bit_equal_too(config, tmp_path, how):
    config = config.with_settings([f"training.use_gradient_checkpointing={how}"])
    train_for(config, tmp_path / "without/adapter", loaded=loaded_with(config))
    probed = loaded_with(config)
    measure(probed, config)
    train_for(config, tmp_path / "probed/adapter", loaded=probed)
    assert differing(weights(tmp_path / "probed"), weights(tmp_path / "without")) == []


def everything(loaded) -> dict:
    """Every weight with its precision, whether it is trained and has a gradient; the modules' hooks and `forward`."""
    found = {
        name: (weight.detach().clone(), weight.dtype, weight.requires_grad, weight.grad is None)
        for name, weight in loaded.model.named_parameters()
    }
    for name, module in loaded.model.named_modules():
        found[name, "hooks"] = tuple(module._forward_hooks), tuple(module._forward_pre_hooks)
        found[name, "forward"] = module.forward.__func__
    return found


def draw() -> tuple[float, float, float]:
    """The next random numbers of Python, numpy and torch."""
    import numpy
    import torch

    return random.random(), float(numpy.random.rand()), float(torch.rand(1))


def seed() -> None:
    import numpy
    import torch

    random.seed(1)
    numpy.random.seed(2)
    torch.manual_seed(3)


def test_the_model_and_the_random_generators_are_as_before(config):
    import torch
    from transformers import Trainer

    config = config.with_settings(["training.use_gradient_checkpointing=yes"])
    loaded = loaded_with(config)
    before = everything(loaded)
    seed()
    expected = draw()
    seed()
    measure(loaded, config)
    assert draw() == expected
    after = everything(loaded)
    assert before.keys() == after.keys()
    for name, (weight, *more) in ((name, value) for name, value in before.items() if isinstance(name, str)):
        assert after[name][0].equal(weight) and list(after[name][1:]) == more, name
    assert [name for name in before if isinstance(name, tuple) and before[name] != after[name]] == []
    gc.collect()
    assert [type(thing) for thing in gc.get_objects() if issubclass(type(thing), torch.optim.Optimizer | Trainer)] == []


@pytest.mark.parametrize("fault", ["stop", "memory", "other"])
def test_a_probe_that_fails_is_undone_too(config, without, tmp_path, fault):
    import torch

    loaded = loaded_with(config)
    calls, moved = [], []

    def should_stop() -> bool:
        """Fails within the second step, by when the optimizer has changed the weights. Stops after its last row."""
        calls.append(True)
        if len(calls) < (6 if fault == "stop" else 5):
            return False
        if fault == "memory":
            torch.empty(2**48, dtype=torch.float32)
        if fault == "other":
            raise ValueError("no reason")
        return True

    weight = next(w for n, w in loaded.model.named_parameters() if "lora_B" in n)
    weight.register_hook(lambda gradient: moved.append(bool(weight.any())))
    with pytest.raises({"stop": Stopped, "memory": RuntimeError, "other": ValueError}[fault]):
        measure(loaded, config, should_stop=should_stop)
    assert moved[0] is False and moved[-1] is True
    assert not weight.any()
    train_for(config, tmp_path / "adapter", loaded=loaded)
    assert differing(weights(tmp_path), without) == []


def test_the_rows_are_as_long_as_the_longest_of_the_run(config):
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
    # Resident memory; here most of it belongs to the libraries.
    assert 0.1 < found.peak_gib < sample_memory().total_gib


def test_a_step_with_more_micro_batches_takes_proportionally_longer(config, monkeypatch):
    """The clock advances by a second whenever it is read: three times in a step of two micro-batches."""
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
    """It includes a block that only exists during the probe, but not the copies that are made to undo the probe."""
    import torch

    loaded = loaded_with(config)
    config = config.with_settings(["training.gradient_accumulation_steps=1"])
    measure(loaded, config)
    before = sample_memory().process_gib
    plain = measure(loaded, config).peak_gib
    assert before <= plain < before + 0.2

    def allocate(module, inputs, output) -> None:
        block = torch.ones(2**27)  # 0.5 GiB in 32-bit
        for _ in range(20):  # so long that it is there when the memory is looked at, which is done fifty times a second
            block.sum()

    last_norm = next(module for name, module in loaded.model.named_modules() if name.endswith("model.norm"))
    hook = last_norm.register_forward_hook(allocate)
    try:
        assert 0.45 < measure(loaded, config).peak_gib - plain < 0.6
    finally:
        hook.remove()
    assert sample_memory().process_gib < before + 0.2


def test_the_copies_are_counted_and_keep_the_precision_of_the_weights(config):
    import torch

    loaded = loaded_with(config)
    weight = next(w for n, w in loaded.model.named_parameters() if "lora_A" in n)
    began = weight.detach().clone()
    taken = sum(w.numel() * w.element_size() for w in loaded.model.parameters() if w.requires_grad)
    with undone(loaded) as kept_gib:
        assert kept_gib == taken / 1024**3
        weight.data = torch.zeros_like(weight, dtype=torch.bfloat16)
    assert weight.dtype == began.dtype and weight.equal(began)
