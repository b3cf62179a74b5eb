"""Probes on the workbench: what is shown and kept, what the model is afterwards, and faults that cost nothing else."""

import json
import shutil

import pytest

from core.memory.hardware import detect_machine
from core.memory.parts import FORMULAS
from core.memory.probe_log import exact_probe, latest_probe
from core.memory.probe_record import ProbeRecord, memory_settings
from core.problems import DataError, ModelError, TrainingError
from core.runs.adapter_ref import Pane
from core.runs.run_folder import find_run, list_runs
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.settings.steps import steps_of
from core.workbench.prove_run import prove
from core.workbench.workbench import Workbench
from tests.conftest import adapter_weights, differing, small_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(unsloth, stories, rows) -> RunConfig:
    return small_config(
        stories,
        rows,
        "training.max_steps=3",
        "training.save_steps=0",
        "data.validation_share=0",
        "adapter.lora_dropout=0.2",
    )


@pytest.fixture(scope="module")
def bench(unsloth, tmp_path_factory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("probing") / "runs")


def run_of(bench: Workbench, config: RunConfig, name: str):
    run = bench.start(config, name)
    assert bench.wait(200).status == "completed", bench.snapshot.message
    return run


@pytest.fixture(scope="module")
def without(bench, config):
    """A run before which nothing was probed."""
    return run_of(bench, config, "without")


def test_a_probe_is_shown_kept_and_found_again(bench, config, without):
    record = bench.probe(config)
    state = bench.probing
    assert (state.doing, state.error, state.note, state.tried, state.found) == ("", "", "", (), None)
    assert state.record == record and bench.busy_with == ""
    machine = detect_machine()
    assert (record.machine, record.total_gib) == (machine.name, machine.total_gib)
    assert record.model == config.model.base and record.settings == memory_settings(config)
    assert 0.1 < record.peak_gib < machine.total_gib and 0 < record.seconds_per_step < 60
    # The rows of the run before are at hand: twelve of them, none as long as the length.
    assert 10 < record.length < 128 and record.steps == 3
    assert record.formulas == FORMULAS and not record.estimate.is_corrected and record.estimate.comparable_gib > 0
    assert latest_probe(bench.runs_dir, machine, config) == exact_probe(bench.runs_dir, machine, config) == record
    assert ProbeRecord.model_validate_json(record.model_dump_json()) == record


def test_a_run_begins_on_the_model_that_a_probe_left_and_ends_bit_equal(bench, config, without):
    bench.probe(config)
    probed = bench._slot.loaded
    assert probed.has_adapter
    bench.probe(config.with_settings(["training.per_device_train_batch_size=1", "training.optim=sgd"]))
    assert bench._slot.loaded is probed
    run = run_of(bench, config, "after probes")
    assert bench._slot.loaded is probed and bench.model_state.adapter == run.id
    assert differing(adapter_weights(run), adapter_weights(without)) == []
    snapshot = run.snapshot()
    assert snapshot.probed.peak_gib == exact_probe(bench.runs_dir, detect_machine(), config).peak_gib
    # Once something was trained into it, it is no new adapter any more.
    again = run_of(bench, config, "again")
    assert bench._slot.loaded is not probed and differing(adapter_weights(again), adapter_weights(without)) == []


@pytest.mark.parametrize("setting", ["adapter.r=4", "training.seed=7", "training.use_gradient_checkpointing=yes"])
def test_a_run_of_other_settings_than_the_probe_loads_the_model_anew(bench, config, setting):
    other = config.with_settings([setting])
    bench.probe(config)
    probed = bench._slot.loaded
    run = run_of(bench, other, "other")
    assert bench._slot.loaded is not probed
    bench.load_model(config.model)
    assert differing(adapter_weights(run), adapter_weights(run_of(bench, other, "other on a fresh one"))) == []


def test_panes_and_proofs_are_not_confused_by_the_probes_adapter(bench, config, without):
    bench.probe(config)
    probed = bench._slot.loaded
    assert bench.lab.loaded_pane.is_base and Pane(without.id) in bench.lab.choices()
    proof = prove(bench.lab, find_run(bench.runs_dir, without.id))
    assert proof.base_is_equal is True and proof.tuned_differs
    assert bench._slot.loaded is not probed and list(bench._slot.loaded.model.peft_config) == ["default"]
    bench.probe(config)
    bench.lab.load_run(without.id)
    assert bench.lab.loaded_pane == Pane(without.id) and list(bench._slot.loaded.model.peft_config) == ["default"]
    run = run_of(bench, config, "after a proof")
    assert differing(adapter_weights(run), adapter_weights(without)) == []


def test_a_probe_of_a_run_that_goes_on_from_another_leaves_no_model(bench, config, without):
    further = config.with_settings([f"adapter.continue_from={without.id}"])
    assert bench.probe(further).settings == memory_settings(config)
    assert bench._slot.loaded is None and bench.model_state.report is None
    run = run_of(bench, further, "further")
    bench.load_model(config.model)
    assert differing(adapter_weights(run), adapter_weights(run_of(bench, further, "further without"))) == []


def test_rows_that_decide_what_trains_are_read_by_the_probe_itself(bench, config, without):
    seen = config.with_settings(["adapter.trainable_tokens=seen", "data.seed=11"])
    bench.load_model(config.model)
    assert not bench.has_checked(seen)
    record = bench.probe(seen)
    # Twelve rows, none as long as the length: that of the longest is known by now.
    assert record.settings["adapter.trainable_tokens"] == "seen" and 10 < record.length < 128
    assert bench.preparing.rows == 12
    assert bench._slot.loaded is None and bench.model_state.report is None
    run_of(bench, seen, "single rows")


def test_rows_that_cannot_be_read_do_not_cost_the_model_that_is_there(bench, config, tmp_path):
    bench.load_model(config.model)
    loaded = bench._slot.loaded
    with pytest.raises(DataError):
        bench.probe(config.with_settings(["adapter.trainable_tokens=seen", f"data.path={tmp_path}"]))
    assert bench._slot.loaded is loaded and bench.probing.error and bench.busy_with == ""


def test_memory_that_runs_out_for_the_adapter_is_said_with_what_would_help(bench, config, monkeypatch):
    import torch

    import core.training.run_job

    monkeypatch.setattr(core.training.run_job, "attach_adapter", lambda *_: torch.empty(2**48, dtype=torch.float32))
    bench.load_model(config.model)
    with pytest.raises(TrainingError, match="memory is full"):
        bench.probe(config)
    assert bench._slot.loaded is None and bench.busy_with == ""


def test_with_auto_the_probe_is_that_of_the_largest_batch(bench, config):
    auto = config.with_settings(["training.per_device_train_batch_size=auto"])
    record = bench.probe(auto)
    assert record.settings["training.per_device_train_batch_size"] == 2 == bench.probing.found.batch
    assert bench.probing.record == record


@pytest.mark.parametrize(
    ("raises", "values"), [("memory", None), ("other", {"reason": "no reason"})], ids=["memory", "other"]
)
def test_a_failure_is_one_sentence_and_does_not_change_the_next_run(bench, config, without, raises, values):
    import torch

    bench.load_model(config.model)

    def fail(module, inputs) -> None:
        if raises == "memory":
            torch.empty(2**48, dtype=torch.float32)
        raise ValueError("no reason")

    bench._slot.loaded.model.register_forward_pre_hook(fail)
    with pytest.raises(TrainingError) as told:
        bench.probe(config)
    assert told.value.values == values if values else "memory is full" in str(told.value)
    assert (bench.probing.error, bench.probing.doing, bench.probing.record) == (str(told.value), "", None)
    assert (told.value.__cause__, told.value.__context__) == (None, None)
    assert bench._slot.loaded is None and bench.busy_with == ""
    assert differing(adapter_weights(run_of(bench, config, "after a fault")), adapter_weights(without)) == []


def test_a_name_that_is_not_there_does_not_cost_the_model_that_is(bench, config):
    bench.load_model(config.model)
    loaded = bench._slot.loaded
    with pytest.raises(ModelError, match="./gone"):
        bench.probe(config.with_settings(["model.model_name=./gone"]))
    assert bench._slot.loaded is loaded and "./gone" in bench.probing.error


def test_a_config_that_says_nothing_of_memory_does_not_cost_the_run(bench, config, stories, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(stories, model)
    other = config.with_settings([f"model.model_name={model}", "data.validation_share=0.2"])
    bench.load_model(other.model)
    (model / "config.json").write_text("[")
    run = run_of(bench, other, "blind")
    snapshot = run.snapshot()
    assert str(model) in snapshot.message and "config.json" in snapshot.message
    assert (snapshot.estimated, snapshot.probed) == (None, None)
    memory = json.loads((run.folder / "summary.json").read_text())["memory"]
    assert memory == {"estimate": None, "probe": None, "reality": snapshot.finished.peak_memory_gib}


@pytest.mark.parametrize(
    ("settings", "rows", "steps"),
    [(["training.max_steps=60"], None, 60), (["training.max_steps=-1"], None, 0), (["training.max_steps=-1"], 17, 3),
     (["training.max_steps=-1", "training.num_train_epochs=2.5"], 17, 8),
     (["training.max_steps=-1", "training.per_device_train_batch_size=auto",
       "training.gradient_accumulation_steps=8"], 17, 3)],
)  # fmt: skip
def test_the_steps_of_the_whole_run(settings, rows, steps):
    assert steps_of(RunConfig().with_settings(settings), rows) == steps


def test_a_disk_without_room_costs_only_the_keeping(bench, config, monkeypatch):
    place = bench.runs_dir / "probes"
    shutil.rmtree(place, ignore_errors=True)
    place.write_text("in the way")
    try:
        record = bench.probe(config)
    finally:
        place.unlink()
    assert bench.probing.record == record and bench.probing.error == ""
    assert "file exists" in bench.probing.note


def test_probes_are_no_runs(bench, config):
    bench.probe(config)
    assert (bench.runs_dir / "probes").is_dir() and "probes" not in {run.id for run in list_runs(bench.runs_dir)}
    assert ModelConfig.model_validate(config.model.model_dump()).base == config.model.base
