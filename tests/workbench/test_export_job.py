"""An export in the background: made and noted, stopped, refused, and the model kept while it is tested."""

import pytest

from core.export.record import load_exports
from core.export.wanted import Wanted, default_folder
from core.problems import Busy, ExportError
from core.runs.run_folder import list_runs
from core.workbench.desk import EXPORTING
from core.workbench.workbench import Workbench


@pytest.fixture(scope="module")
def bench(copied_runs) -> Workbench:
    return Workbench(copied_runs)


@pytest.fixture(scope="module")
def run(bench):
    return next(run for run in list_runs(bench.runs_dir) if run.name == "one")


def wanted(run, to: str, step: int | None = None, **more) -> Wanted:
    return Wanted(to, default_folder(run, to, step).resolve(), **more)


def test_a_tested_export_keeps_the_model_and_is_noted(bench, run, wait_until):
    job, before = bench.exporting, bench.exporting.state.ended
    job.export(run, wanted(run, "merged", dtype="float32"))
    wait_until(lambda: bench.busy_with == EXPORTING, "the export to begin its test")
    with pytest.raises(Busy):
        bench.start(run.config(), "meanwhile")
    with pytest.raises(ExportError):
        job.export(run, wanted(run, "adapter"))
    state = job.wait(300)
    assert (state.said, state.ended, state.is_doing) == ("", before + 1, False)
    (made,) = load_exports(run)
    assert made == state.found and made.passed and made.out == run.folder.resolve() / "exports" / "merged"
    assert {file.path.name for file in made.files} >= {"model.safetensors", "config.json", "README.md"}
    card = (made.out / "README.md").read_text()
    assert card.count("| model.safetensors | ") == 1 and card.rstrip().endswith("| passed |")
    assert not bench.busy_with


def test_a_checkpoint_s_adapter_without_a_test(bench, run):
    step = run.checkpoints()[0].step
    bench.exporting.export(run, wanted(run, "adapter", step), step=step, is_tested=False)
    state = bench.exporting.wait(120)
    made = load_exports(run)[0]
    assert (state.said, made.step, made.checks) == ("", step, ()) and made.out.name == f"adapter-step-{step}"


def test_an_export_onto_the_original_weights_tells_both_losses(bench, run):
    bench.exporting.export(run, wanted(run, "merged", onto="original", dtype="float32"))
    state = bench.exporting.wait(300)
    (check,) = state.found.checks
    assert check.passed and check.loss_of_model == pytest.approx(check.loss, abs=1e-4)
    assert abs(check.loss_as_tried - check.loss) > 1e-3, "4-bit weights are others"


def test_a_stopped_export_leaves_nothing(bench, run, wait_until):
    before = load_exports(run)
    bench.exporting.export(run, wanted(run, "merged", run.checkpoints()[-1].step), step=run.checkpoints()[-1].step)
    wait_until(lambda: bench.busy_with == EXPORTING, "the export to begin its test")
    bench.exporting.stop()
    assert bench.exporting.state.is_stopping
    state = bench.exporting.wait(120)
    assert state.was_stopped and state.said == "Stopped; nothing was exported." and state.found is None
    assert load_exports(run) == before
    assert [path.name for path in (run.folder / "exports").iterdir() if "merged-step" in path.name] == []


def test_what_cannot_be_exported_is_said(bench, run):
    bench.exporting.export(run, wanted(run, "lora-gguf"), is_tested=False)  # it has trained embeddings
    state = bench.exporting.wait(120)
    assert state.found is None and not state.was_stopped and state.said.endswith(".")
    assert "embed_tokens" in state.said


def test_the_script_of_a_run(bench, run):
    folder = default_folder(run, "script").resolve()
    bench.exporting.script(run, folder)
    state = bench.exporting.wait(120)
    assert (state.said, state.found) == ("", folder / "train.py") and (folder / "rows.parquet").is_file()
