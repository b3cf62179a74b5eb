"""A run that an earlier version wrote: it opens, compares and resumes as it did there.

`written_before/` has a run of the demo that was stopped after 8 of its 12 steps, with its checkpoints, votes, measures,
proof and probe, and the presets and the demo model of that version. `expected.json` has what that version read from
them, what its model answered, and what came of the run when that version resumed it.
"""

import dataclasses
import json
import platform
import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from core.answering.sampling import Sampling
from core.comparing.proof import load_proof
from core.comparing.votes import read_votes
from core.evaluation.saved import load_evaluations
from core.memory.hardware import Machine
from core.memory.probe_log import exact_probe
from core.runs.run_folder import Run, find_run
from core.runs.run_list import RunList
from core.settings.presets import read_preset
from core.workbench.workbench import Workbench

FOLDER = Path(__file__).parent / "written_before"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
RUN_ID = EXPECTED["row"]["id"]


@pytest.fixture
def runs_dir(tmp_path) -> Path:
    return shutil.copytree(FOLDER / "runs", tmp_path / "runs")


@pytest.fixture
def with_their_model(runs_dir) -> Path:
    """The runs, on the demo model that they were trained on: today's is another."""
    files = [runs_dir / RUN_ID / "config.yaml", *(runs_dir / RUN_ID).rglob("adapter_config.json")]
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.count("presets/demo-llama") == 1
        file.write_text(text.replace("presets/demo-llama", str(FOLDER / "demo-llama")), encoding="utf-8")
    return runs_dir


@pytest.fixture
def run(runs_dir) -> Run:
    return find_run(runs_dir, RUN_ID)


def as_json(value):
    return json.loads(json.dumps(value))


def losses_of(run: Run) -> list[list[float]]:
    return [[step.step, step.loss] for step in run.snapshot().steps]


def test_it_is_listed_as_before(runs_dir):
    (row,) = RunList(runs_dir).rows()
    found = dataclasses.asdict(row) | {"folder": None}
    assert as_json({name: found[name] for name in EXPECTED["row"]}) == EXPECTED["row"]


def test_its_history_has_every_step_and_figure(run):
    snapshot, summary = run.snapshot(), json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    assert [snapshot.status, snapshot.message] == EXPECTED["status"]
    assert (snapshot.step, snapshot.max_steps, snapshot.checkpoints) == (8, 12, (4, 8))
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [4, 8]
    assert losses_of(run) == EXPECTED["losses"]
    assert [[check.step, check.eval_loss] for check in snapshot.evaluations] == EXPECTED["evaluations"]
    finished = snapshot.finished.model_dump(mode="json", exclude_none=True)
    assert finished["steps"] == 8 and finished == {name: summary[name] for name in finished}
    assert [by.by for by in snapshot.samples] == ["base", "tuned"]


def test_its_settings_are_read_as_before(run):
    found = run.config().model_dump(mode="json")
    for section, values in EXPECTED["config"].items():
        assert {name: found[section][name] for name in values} == values


def test_its_votes_measures_and_proof_are_read(run):
    votes, damaged = read_votes(run.folder)
    answer = EXPECTED["answers"][0]
    assert damaged == 0 and [vote.winner for vote in votes] == [RUN_ID]
    assert votes[0].what_was_seen == (answer["prompt"], answer["tuned"], answer["base"])
    (evaluation,) = load_evaluations(run.folder)
    (file,) = (run.folder / "evaluations").glob("*.json")
    written = json.loads(file.read_text(encoding="utf-8"))
    assert evaluation.model_dump(mode="json") == {"answers": [], **written}  # since then, worst guesses are kept too
    assert load_proof(run.folder).base_is_equal is True


def test_its_probe_is_found_for_its_settings(runs_dir, run):
    recorded = EXPECTED["probe"]
    machine = Machine(name=recorded["machine"], is_gpu=False, total_gib=recorded["total_gib"])
    found = exact_probe(runs_dir, machine, run.config())
    assert found is not None and found.model_dump(mode="json") == recorded


@pytest.mark.parametrize("name", sorted(EXPECTED["presets"]))
def test_presets_are_read_as_before(name):
    expected = EXPECTED["presets"][name]
    found = read_preset(FOLDER / "presets" / f"{name}.yaml").model_dump(mode="json")
    assert [found[key] for key in ("title", "description", "card")] == [
        expected[key] for key in ("title", "description", "card")
    ]
    for section, values in expected["config"].items():
        assert {key: found["config"][section][key] for key in values} == values


def test_its_adapter_answers_as_before(unsloth, with_their_model):
    bench = Workbench(with_their_model)
    bench.lab.load_run(RUN_ID)
    for expected in EXPECTED["answers"]:
        *_, (base, tuned, difference) = bench.lab.compare(expected["prompt"], "", Sampling())
        assert (base.text, tuned.text) == (expected["base"], expected["tuned"])
        assert difference == pytest.approx(expected["largest_logit_difference"], rel=1e-4)


def test_it_is_resumed_from_its_checkpoint_to_the_same_end(unsloth, with_their_model):
    bench = Workbench(with_their_model)
    run = bench.resume(RUN_ID)
    snapshot = bench.wait(120)
    assert (snapshot.status, snapshot.step) == ("completed", 12), snapshot.message
    expected = EXPECTED["resumed"]
    found = losses_of(run)
    assert found[:8] == EXPECTED["losses"]
    assert [step for step, _ in found] == [step for step, _ in expected["losses"]]
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in expected["losses"]], rel=1e-4)
    if [processor(), torch_version()] == [EXPECTED["processor"], EXPECTED["torch"]]:
        # Bit for bit: other processors and other versions of torch add up in another order.
        adapter = (run.adapter_dir / "adapter_model.safetensors").read_bytes()
        assert sha256(adapter).hexdigest() == expected["sha256"]


def processor() -> str:
    """Its name, which several kinds may share, and the instructions that torch uses."""
    import torch

    try:
        name = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        name = platform.processor()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def torch_version() -> str:
    import torch

    return torch.__version__
