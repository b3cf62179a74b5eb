"""The workbench: one thing at a time, and a run that ends well whatever happens."""

import dataclasses
import re
from contextlib import closing

import pytest

from core.answering.sampling import Sampling
from core.problems import Busy, DataError, ModelError, PromptTooLong, RunError
from core.runs.events import from_line
from core.runs.run_folder import find_run, list_runs
from core.runs.snapshot import Snapshot, fold_all
from core.settings.sections import ModelConfig
from core.workbench.desk import ANSWERING, TRAINING
from core.workbench.workbench import Workbench
from tests.conftest import PROMPT, small_config
from tests.workbench.conftest import refused
from ui.sidebar import run_text
from ui.train.run_state_text import state_text

SHORT = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def config(stories, rows):
    return small_config(stories, rows, "training.max_steps=6", "training.eval_steps=3")


@pytest.fixture(scope="module")
def bench(unsloth, config, tmp_path_factory) -> Workbench:
    """A workbench after a run that failed and one that was completed."""
    bench = Workbench(tmp_path_factory.mktemp("bench") / "runs")
    assert bench.snapshot is None and not bench.is_training and not bench.compare_ready
    failed = bench.start(config.with_settings(["data.path=./gone.json"]), "failing")
    bench.wait(120)
    assert (bench.snapshot.run_id, bench.snapshot.status) == (failed.id, "failed")
    assert type(bench.failure) is DataError
    run = bench.start(config, "first")
    bench.wait(120)
    assert (bench.snapshot.run_id, bench.snapshot.status) == (run.id, "completed"), bench.snapshot.message
    assert bench.failure is None
    return bench


def run_named(bench: Workbench, name: str):
    return next(run for run in list_runs(bench.runs_dir) if run.name == name)


def answers(bench: Workbench, sampling: Sampling = SHORT) -> tuple[str, str, float]:
    *_, (base, tuned, difference) = bench.lab.compare(PROMPT, "", sampling)
    return base.text, tuned.text, difference


@pytest.fixture
def long_run(bench, config, wait_until):
    """A run that does not end until it is stopped."""
    run = bench.start(config.with_settings(["training.max_steps=100000", "model.load_in_4bit=no"]), "long")
    yield run
    bench.stop()
    bench.wait(120)
    assert not bench.is_training


def told(run) -> list[str]:
    """What the page says of a run after its last step and what it does then, one for each event of its history."""
    events = list(filter(None, map(from_line, (run.folder / "events.jsonl").read_text().splitlines())))
    last = max(place for place, event in enumerate(events) if event.type == "step")
    snapshots = [fold_all(Snapshot(), events[:end]) for end in range(last + 1, len(events))]
    return list(dict.fromkeys(html for one in snapshots for html in (state_text(one), run_text(one))))


def test_after_its_last_step_a_run_says_what_it_measures_and_saves(bench):
    shown = told(run_named(bench, "first"))
    assert not [html for html in shown if "left" in html]
    said = list(dict.fromkeys(re.findall(r'class="busy" role="status">(.*?)…<', "".join(shown))))
    assert said == [
        "Finishing",
        "Computing the loss on the validation rows, 0 of 2",
        "Computing the loss on the validation rows, 2 of 2",
        "Saving a checkpoint",
        "Checking the trained weights",
        "Saving the adapter",
        *(
            f"Measuring {side} on the validation rows, {n} of 2"
            for side in ("the base", "the tuned model")
            for n in (0, 2)
        ),
    ]


def test_a_failed_run_says_why_in_one_sentence_and_leaves_the_workbench_free(bench):
    run = run_named(bench, "failing")
    snapshot = run.snapshot()
    assert "./gone.json" in snapshot.message
    assert snapshot.status == "failed" and snapshot.ended is not None and not run.has_adapter
    assert "Traceback" in (run.folder / "log.txt").read_text()
    assert bench.busy_with == ""


def test_pages_see_what_is_in_the_folder(bench):
    run = run_named(bench, "first")
    snapshot = run.snapshot()
    assert snapshot == bench.snapshot
    assert [step.step for step in snapshot.steps] == [1, 2, 3, 4, 5, 6]
    assert snapshot.receipt.max_steps == 6 and snapshot.heldout.rows == 2 and snapshot.memory
    finished = snapshot.finished
    assert (finished.steps, finished.adapter_dir) == (6, str(run.adapter_dir))
    assert finished.train_loss == pytest.approx(sum(step.loss for step in snapshot.steps) / 6)
    assert finished.tokens_per_s == pytest.approx(snapshot.steps[-1].tokens / finished.runtime_s)
    assert 0 <= finished.peak_memory_for_training_gib < finished.peak_memory_gib < finished.total_memory_gib
    assert {file.name for file in run.folder.iterdir()} == {
        "config.yaml", "run.json", "events.jsonl", "adapter", "checkpoints", "summary.json"
    }  # fmt: skip


def test_a_second_workbench_shows_the_same_run_and_answers_alike(bench, config):
    run = run_named(bench, "first")
    second = Workbench(bench.runs_dir)
    assert second.snapshot == bench.snapshot
    second.lab.load_run(run.id)
    assert (second.model_state.adapter, second.compare_ready) == (run.id, True)
    bench.lab.load_run(run.id)
    for sampling in (SHORT, Sampling(max_new_tokens=6, temperature=1.0)):
        assert answers(second, sampling) == answers(bench, sampling)


def test_a_run_starts_afresh_however_the_model_was_used(bench, config):
    """Neither an adapter that is on the loaded model nor answers change what a run with the same seed makes."""
    first = run_named(bench, "first")
    bench.lab.load_run(first.id)
    answers(bench)
    again = bench.start(config, "again")
    bench.wait(120)
    assert [s.loss for s in again.snapshot().steps] == [s.loss for s in first.snapshot().steps]
    bench.load_model(config.model)
    list(bench.lab.compare(PROMPT, "", SHORT))
    pristine = bench.start(config, "on the loaded one")
    bench.wait(120)
    assert [s.loss for s in pristine.snapshot().steps] == [s.loss for s in first.snapshot().steps]


def test_comparing_base_and_tuned(bench):
    bench.lab.load_run(run_named(bench, "first").id)
    seen = list(bench.lab.compare(PROMPT, "", SHORT))
    base, tuned, difference = seen[-1]
    assert difference > 0 and (base.tokens, tuned is None) == (6, False)
    assert all(step[2] is None for step in seen[:-1])
    assert bench.compare_ready


def test_closing_the_answers_frees_the_model(bench):
    bench.lab.load_run(run_named(bench, "first").id)
    runs = len(list_runs(bench.runs_dir))
    with closing(bench.lab.compare(PROMPT, "", Sampling(max_new_tokens=4000))) as going:
        next(going)
        assert bench.busy_with == ANSWERING and not bench.compare_ready
        with refused(Busy, doing=ANSWERING):
            next(bench.lab.compare(PROMPT, "", SHORT))
        with refused(Busy, doing=ANSWERING):
            bench.start(run_named(bench, "first").config(), "too early")
    assert len(list_runs(bench.runs_dir)) == runs
    assert bench.busy_with == ""
    assert len(answers(bench)) == 3


def test_stopping_the_answers(bench):
    bench.lab.load_run(run_named(bench, "first").id)
    seen = []
    for answered in bench.lab.compare(PROMPT, "", Sampling(max_new_tokens=4000)):
        seen.append(answered)
        if len(seen) == 1:  # they are short, and could otherwise have ended
            bench.lab.stop()
    base, tuned, _ = seen[-1]
    assert base.ended == "stopped" and tuned.ended in ("stopped", "itself") and bench.busy_with == ""


def test_prompts_that_cannot_be_answered(bench):
    bench.lab.load_run(run_named(bench, "first").id)
    with refused(ModelError):
        next(bench.lab.compare("  ", "", SHORT))
    with pytest.raises(PromptTooLong) as told:
        next(bench.lab.compare("word " * 200, "", SHORT))
    assert told.value.values["length"] == 128 < told.value.values["tokens"]
    assert bench.busy_with == "" and len(answers(bench)) == 3


def test_while_it_trains_everything_else_waits_and_leaves_it_alone(bench, config, long_run, wait_until):
    runs = len(list_runs(bench.runs_dir))
    others = [
        lambda: bench.start(config, "second"), lambda: bench.load_model(config.model),
        lambda: bench.lab.load_run(run_named(bench, "first").id), lambda: bench.check_rows(config),
        lambda: next(bench.lab.compare(PROMPT, "", SHORT)),
    ]  # fmt: skip
    for steps in (0, 2):
        wait_until(lambda steps=steps: len(bench.snapshot.steps) >= steps, f"{steps} steps")
        for other in others:
            with refused(Busy, doing=TRAINING):
                other()
    assert bench.look(config).rows[0]["output"] == "the cat"  # rows may be looked at all the same
    assert len(list_runs(bench.runs_dir)) == runs and bench.snapshot.run_id == long_run.id
    assert bench.busy_with == TRAINING and bench.is_training and not bench.compare_ready
    assert bench.stop()
    snapshot = bench.wait(120)
    kept = len(snapshot.steps)
    assert (snapshot.status, snapshot.message) == (
        "stopped",
        f"Stopped after {kept} steps; what was trained is kept as an adapter.",
    )
    assert long_run.has_adapter and long_run.snapshot() == snapshot and kept >= 2
    assert snapshot.finished.steps == kept and snapshot.heldout is None
    assert not bench.stop()  # there is nothing to stop any more
    assert any("Stopping. Saving the adapter…" in html for html in told(long_run))
    assert bench.model_state.adapter == long_run.id and answers(bench)[2] > 0


def test_a_run_stopped_before_it_trains_keeps_nothing(bench, long_run):
    assert bench.stop()
    snapshot = bench.wait(120)
    assert snapshot.status == "stopped"
    assert snapshot.steps == (), "it was stopped while it loaded"
    assert snapshot.message == "Stopped before the first step; nothing was trained."
    assert not long_run.has_adapter
    with refused(RunError, run=long_run.id):
        bench.lab.load_run(long_run.id)
    assert long_run.snapshot() == snapshot


def test_a_model_that_cannot_be_loaded(unsloth, config, runs_dir):
    bench = Workbench(runs_dir)
    with pytest.raises(ModelError, match="nowhere"):
        bench.load_model(ModelConfig(model_name="./nowhere"))
    assert "./nowhere" in bench.model_state.error and bench.busy_with == ""
    with refused(ModelError):
        next(bench.lab.compare(PROMPT, "", SHORT))
    with refused(ModelError, model=config.model.model_name):
        bench.row(config, 1)
    assert len(bench.look(config).rows) == 5  # the rows as they stand can be seen all the same
    run = bench.start(config.with_settings(["model.model_name=./nowhere"]), "no model")
    assert bench.wait(120).status == "failed" and "./nowhere" in run.snapshot().message
    report = bench.load_model(config.model)
    assert report.linear_layers_4bit == 35 and bench.model_state.error == ""


def test_continuing_from_a_run_by_its_name(bench, config):
    first = run_named(bench, "first")
    run = bench.start(config.with_settings(["adapter.continue_from=first", "training.max_steps=2"]), "second stage")
    snapshot = bench.wait(120)
    assert snapshot.status == "completed", snapshot.message
    assert snapshot.steps[0].loss < first.snapshot().steps[0].loss / 2
    assert find_run(bench.runs_dir, run.id).config().adapter.continue_from == "first"
    missing = bench.start(config.with_settings(["adapter.continue_from=nobody"]), "lost")
    assert "nobody" in bench.wait(120).message and type(bench.failure) is RunError
    assert missing.snapshot().status == "failed" and bench.busy_with == ""


def test_the_token_is_written_nowhere(bench, config):
    bench.start(
        config.with_settings(["training.max_steps=1", "data.validation_share=0"]), "secret", token="hf_secret_of_mine"
    )
    assert bench.wait(120).status == "completed"
    for file in bench.runs_dir.rglob("*"):
        assert not file.is_file() or b"hf_secret_of_mine" not in file.read_bytes(), file
    assert "hf_secret_of_mine" not in repr(dataclasses.asdict(bench.model_state))
