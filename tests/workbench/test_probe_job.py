"""Probes on the workbench: what is told and kept, how the model stands afterwards, and faults that cost nothing else."""

import json
import shutil

import pytest

from core.memory.hardware import Machine, detect_machine
from core.memory.parts import FORMULAS, PARTS, Estimate
from core.memory.probe_log import MOST, exact_probe, keep, latest_probe
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


def test_a_probe_is_told_kept_and_found_again(bench, config, without):
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
    with pytest.raises(TrainingError, match="^The computer's memory is full. What would help most: "):
        bench.probe(config)
    assert bench._slot.loaded is None and bench.busy_with == ""


def test_with_auto_the_probe_is_that_of_the_largest_batch(bench, config):
    auto = config.with_settings(["training.per_device_train_batch_size=auto"])
    record = bench.probe(auto)
    assert record.settings["training.per_device_train_batch_size"] == 2 == bench.probing.found.batch
    assert bench.probing.record == record


@pytest.mark.parametrize(
    ("raises", "sentence"),
    [("memory", "The computer's memory is full. What would help most: "), ("other", "The probe failed: no reason.")],
)
def test_a_fault_is_one_sentence_and_the_next_run_is_as_ever(bench, config, without, raises, sentence):
    import torch

    bench.load_model(config.model)

    def fail(module, inputs) -> None:
        if raises == "memory":
            torch.empty(2**48, dtype=torch.float32)
        raise ValueError("no reason")

    bench._slot.loaded.model.register_forward_pre_hook(fail)
    with pytest.raises(TrainingError) as told:
        bench.probe(config)
    assert str(told.value).startswith(sentence) and str(told.value).endswith(".")
    assert (bench.probing.error, bench.probing.doing, bench.probing.record) == (str(told.value), "", None)
    assert (told.value.__cause__, told.value.__context__) == (None, None)
    assert bench._slot.loaded is None and bench.busy_with == ""
    assert differing(adapter_weights(run_of(bench, config, "after a fault")), adapter_weights(without)) == []


def test_a_name_that_is_not_there_does_not_cost_the_model_that_is(bench, config):
    bench.load_model(config.model)
    loaded = bench._slot.loaded
    with pytest.raises(ModelError, match="There is no folder ./gone"):
        bench.probe(config.with_settings(["model.model_name=./gone"]))
    assert bench._slot.loaded is loaded and bench.probing.error.startswith("There is no folder ./gone")


def test_a_config_that_says_nothing_of_memory_does_not_cost_the_run(bench, config, stories, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(stories, model)
    other = config.with_settings([f"model.model_name={model}", "data.validation_share=0.2"])
    bench.load_model(other.model)
    (model / "config.json").write_text("[")
    run = run_of(bench, other, "blind")
    snapshot = run.snapshot()
    sentence = f"{model} is damaged: its config.json cannot be read; fetch the model again."
    assert snapshot.message == f"Finished. {sentence}"
    assert (snapshot.estimated, snapshot.probed) == (None, None)
    memory = json.loads((run.folder / "summary.json").read_text())["memory"]
    assert memory == {"estimate": None, "probe": None, "reality": snapshot.finished.peak_memory_gib}


# Records

MACHINE = Machine(name="A card", is_gpu=True, total_gib=12.0)
ESTIMATE = Estimate(parts=dict.fromkeys(PARTS, 0.5), context_gib=0.25)


def record_for(config: RunConfig, **values) -> ProbeRecord:
    known = {
        "machine": "A card", "total_gib": 12.0, "model": config.model.base, "settings": memory_settings(config), "length": 2048,
        "estimate": ESTIMATE, "formulas": FORMULAS, "peak_gib": 5.5, "seconds_per_step": 2.0, "at": "2026-01-02T03:04:05",
    }  # fmt: skip
    return ProbeRecord(**known | values)


def test_the_newest_of_the_same_settings_comes_first(tmp_path):
    config = RunConfig()
    smaller = config.with_settings(["adapter.r=8"])
    assert latest_probe(tmp_path, MACHINE, config) is None
    first, second, other = record_for(config, peak_gib=5.0), record_for(config), record_for(smaller, peak_gib=4.0)
    longer = record_for(config, length=4096, peak_gib=9.0)
    for record in (first, longer, second, other):
        keep(tmp_path, record)
    assert latest_probe(tmp_path, MACHINE, config) == second and latest_probe(tmp_path, MACHINE, smaller) == other
    unlike = config.with_settings(["adapter.r=64"])
    assert latest_probe(tmp_path, MACHINE, unlike) == other and exact_probe(tmp_path, MACHINE, unlike) is None
    (file,) = (tmp_path / "probes").iterdir()
    assert len(file.read_text().splitlines()) == 3  # the second took the first's place
    assert [exact_probe(tmp_path, MACHINE, config, longest).length for longest in (4096, 2048, 512, None)] == [
        4096,
        2048,
        2048,
        2048,
    ]
    # Rates, seeds and rows change no memory; another model or machine is another.
    assert (
        exact_probe(tmp_path, MACHINE, config.with_settings(["training.seed=1", "training.learning_rate=0.1"]))
        == second
    )
    assert latest_probe(tmp_path, MACHINE, config.with_settings(["model.load_in_4bit=no"])) is None
    assert latest_probe(tmp_path, Machine(name="A card", is_gpu=True, total_gib=24.0), config) is None
    assert latest_probe(tmp_path, Machine(name="Another", is_gpu=True, total_gib=12.0), config) is None


def test_what_was_held_against_older_formulas_corrects_nothing(tmp_path):
    config = RunConfig()
    keep(tmp_path, record_for(config, formulas=FORMULAS - 1))
    (file,) = (tmp_path / "probes").iterdir()
    file.write_text(file.read_text() + record_for(config, length=512).model_dump_json(exclude={"formulas"}) + "\n")
    assert latest_probe(tmp_path, MACHINE, config) is None and exact_probe(tmp_path, MACHINE, config) is None
    keep(tmp_path, record_for(config))
    assert latest_probe(tmp_path, MACHINE, config) == record_for(config)
    assert len(file.read_text().splitlines()) == 2, "it takes the place of the older one"


@pytest.mark.parametrize(
    "setting",
    ["adapter.r=8", "adapter.target_modules=[q_proj]", "adapter.modules_to_save=[]", "adapter.lora_dropout=0.1",
     "training.optim=sgd", "training.per_device_train_batch_size=4", "training.gradient_accumulation_steps=1",
     "training.use_gradient_checkpointing=yes", "training.packing=yes", "model.max_seq_length=1024", "model.dtype=float32"],
)  # fmt: skip
def test_what_memory_depends_on_is_told_apart(setting):
    assert memory_settings(RunConfig().with_settings([setting])) != memory_settings(RunConfig())


def test_the_order_of_layers_and_more_accumulation_change_nothing():
    config = RunConfig().with_settings(["adapter.target_modules=[q_proj, v_proj]"])
    turned = RunConfig().with_settings(
        ["adapter.target_modules=[v_proj, q_proj]", "training.gradient_accumulation_steps=8"]
    )
    assert memory_settings(config) == memory_settings(turned)


@pytest.mark.parametrize("damage", ["{", "", "[]", '{"machine": 1}', '"\ud800"', "NaN"])
def test_a_damaged_line_loses_nothing(tmp_path, damage):
    config = RunConfig()
    keep(tmp_path, record_for(config))
    (file,) = (tmp_path / "probes").iterdir()
    whole = file.read_text()
    beyond = (
        whole.replace("5.5", "NaN"),
        whole.replace('"weights"', '"other"'),
        whole.replace('"total_gib":12.0', '"total_gib":-1'),
    )
    file.write_text(f"{damage}\n".encode("utf-8", "replace").decode() + whole + "".join(beyond) + whole[:50])
    assert latest_probe(tmp_path, MACHINE, config) == record_for(config)
    another = config.with_settings(["adapter.r=8"])
    keep(tmp_path, record_for(another))
    assert exact_probe(tmp_path, MACHINE, config) == record_for(config)
    assert exact_probe(tmp_path, MACHINE, another) == record_for(another)
    assert whole[:50] in file.read_text().splitlines()


def test_what_is_no_file_is_no_probe(tmp_path):
    keep(tmp_path, record_for(RunConfig()))
    (file,) = (tmp_path / "probes").iterdir()
    file.unlink()
    file.mkdir()
    assert latest_probe(tmp_path, MACHINE, RunConfig()) is None


def test_only_so_many_are_kept(tmp_path):
    configs = [RunConfig().with_settings([f"adapter.r={r}"]) for r in range(1, MOST + 3)]
    for config in configs:
        keep(tmp_path, record_for(config))
    (file,) = (tmp_path / "probes").iterdir()
    assert len(file.read_text().splitlines()) == MOST
    assert exact_probe(tmp_path, MACHINE, configs[-1]) and exact_probe(tmp_path, MACHINE, configs[1]) is None


@pytest.mark.parametrize(
    ("settings", "rows", "steps"),
    [(["training.max_steps=60"], None, 60), (["training.max_steps=-1"], None, 0), (["training.max_steps=-1"], 17, 3),
     (["training.max_steps=-1", "training.num_train_epochs=2.5"], 17, 8),
     (["training.max_steps=-1", "training.per_device_train_batch_size=auto", "training.gradient_accumulation_steps=8"], 17, 3)],
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
    assert bench.probing.note == "What was measured could not be kept on disk: File exists; make room there."


def test_probes_are_no_runs(bench, config):
    bench.probe(config)
    assert (bench.runs_dir / "probes").is_dir() and "probes" not in {run.id for run in list_runs(bench.runs_dir)}
    assert ModelConfig.model_validate(config.model.model_dump()).base == config.model.base
