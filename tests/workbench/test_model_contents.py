"""The states of the model in memory: which follow which, and what a run can start on. No model is needed for that."""

from dataclasses import FrozenInstanceError

import pytest

from core.model.loaded_model import LoadedModel
from core.runs.adapter_ref import BASE, Pane
from core.settings.run_config import RunConfig
from core.workbench.model_contents import (
    AdapterOnModel,
    Base,
    Empty,
    FreshAdapter,
    FreshSettings,
    RunAdapters,
    UnclaimedAdapter,
    stamp_of,
)
from core.workbench.model_slot import ModelSlot

CONFIG = RunConfig()
ONE, TWO = Pane("one"), Pane("two", 5)


def loaded(has_adapter: bool = False) -> LoadedModel:
    return LoadedModel(None, None, CONFIG.model, None, has_adapter)


def adapter(tmp_path, name: str, text: str = "weights") -> AdapterOnModel:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_text(text)
    return AdapterOnModel(name, folder, stamp_of(folder))


def test_what_a_run_can_start_on():
    base = Base(loaded())
    fresh = base.with_fresh_adapter(CONFIG)
    assert base.can_start(CONFIG) and fresh.can_start(CONFIG)
    assert not Empty().can_start(CONFIG) and not base.with_unclaimed_adapter().can_start(CONFIG)
    for setting, on_base in (
        ("adapter.r=4", True),
        ("training.seed=1", True),
        ("training.use_gradient_checkpointing=no", True),
        ("model.max_seq_length=64", False),
        ("adapter.continue_from=other", False),
    ):
        other = CONFIG.with_settings([setting])
        assert (base.can_start(other), fresh.can_start(other)) == (on_base, False), setting
    other = CONFIG.with_settings(["training.learning_rate=0.5", "data.seed=7"])  # these change no adapter
    assert fresh.can_start(other)


def test_training_takes_over_the_adapter_and_knows_it_once_it_is_written(tmp_path):
    on = adapter(tmp_path, "adapter")
    for before in (
        Base(loaded()),
        FreshAdapter(loaded(True), FreshSettings.of(CONFIG)),
        UnclaimedAdapter(loaded(True)),
    ):
        now = before.trained_by(ONE, on.folder, "alpaca")
        assert (now.main, now.prompt_template, now.loaded) == (ONE, "alpaca", before.loaded)
        assert now.adapters == {ONE: AdapterOnModel("default", on.folder, None)}
        assert not now.can_start(CONFIG) and not now.adapters[ONE].is_current  # what is in the folder is older
        assert now.written().adapters[ONE].is_current


def test_adapters_come_and_go_but_one_stays(tmp_path):
    one, two = adapter(tmp_path, "one"), adapter(tmp_path, "two")
    both = Base(loaded()).with_adapter(ONE, one).with_adapter(TWO, two)
    assert (both.main, list(both.adapters)) == (BASE, [ONE, TWO])
    assert both.with_main(TWO, "chat").main == TWO
    only = both.without(TWO)
    assert list(only.adapters) == [ONE]
    with pytest.raises(ValueError):
        only.without(ONE)
    with pytest.raises(ValueError):
        only.with_main(TWO, "chat")
    with pytest.raises(FrozenInstanceError):
        only.main = ONE


def test_an_adapter_is_current_until_another_takes_its_place(tmp_path):
    on = adapter(tmp_path, "one")
    assert on.is_current
    file = on.folder / "adapter_model.safetensors"
    aside = file.rename(tmp_path / "aside")
    assert on.is_current  # deleted, which does not change what is on the model
    file.write_text("weights")
    assert not on.is_current
    aside.replace(file)
    assert on.is_current


def test_states_allow_only_what_can_follow(tmp_path):
    with pytest.raises(ValueError):
        Base(loaded(has_adapter=True))
    on = adapter(tmp_path, "one")
    runs = RunAdapters(loaded(True), {ONE: on})
    for state, transition in (
        (Empty(), "trained_by"),
        (Empty(), "with_adapter"),
        (runs, "trained_by"),
        (runs, "with_fresh_adapter"),
        (UnclaimedAdapter(loaded(True)), "with_fresh_adapter"),
        (UnclaimedAdapter(loaded(True)), "with_adapter"),
        (FreshAdapter(loaded(True), FreshSettings.of(CONFIG)), "with_adapter"),
    ):
        assert not hasattr(state, transition), (state, transition)


def test_a_slot_begins_empty_and_refuses_training_on_nothing(tmp_path):
    slot = ModelSlot()
    assert (slot.contents, slot.loaded, slot.state.report) == (Empty(), None, None)
    assert slot.ready_for(CONFIG) is None and not slot.is_loaded(CONFIG.model)
    with pytest.raises(AttributeError):
        slot.begin_training("one", tmp_path, "chat")
