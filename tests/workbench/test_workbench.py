"""The workbench: one thing at a time, and a run that ends well whatever happens."""

import dataclasses
import json
import shutil
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from core.answering.sampling import Sampling
from core.problems import Busy, DataError, ModelError, Problem, PromptTooLong, RunError
from core.runs.run_folder import find_run, list_runs
from core.settings.sections import ModelConfig
from core.stopping import Stopped
from core.workbench.desk import ANSWERING, READING, TRAINING
from core.workbench.workbench import Workbench
from tests.conftest import PROMPT, data_file, small_config

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


@contextmanager
def refused(kind: type[Problem], **values):
    """What is inside raises exactly this kind of problem, with these values."""
    with pytest.raises(kind) as told:
        yield
    assert type(told.value) is kind and told.value.values == values


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
        if len(seen) == 3:
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
    assert bench.look(config).data is None  # the rows as they stand can be seen all the same
    run = bench.start(config.with_settings(["model.model_name=./nowhere"]), "no model")
    assert bench.wait(120).status == "failed" and "./nowhere" in run.snapshot().message
    report = bench.load_model(config.model)
    assert report.linear_layers_4bit == 35 and bench.model_state.error == ""


def test_rows_are_seen_as_the_run_will_see_them(bench, config):
    bench.load_model(config.model)
    look = bench.look(config)
    assert (look.shape.name, look.trouble, look.columns) == ("alpaca", "", ("system", "instruction", "output"))
    assert look.rows[0] == {"system": "Hi", "instruction": "Say red.", "output": "the cat"} and len(look.rows) == 5
    for number, word in ((1, "red"), (2, "blue")):
        row = bench.row(config, number)
        read = "".join(token.text for token in row.tokens if not token.is_trained)
        assert read.replace("<s> ", "<s>") == f"<s>Hi\n\n### Instruction:\nSay {word}.\n\n### Response:\n"
        assert "".join(token.text for token in row.tokens if token.is_trained) == "the cat</s>"
    with refused(DataError, number=13, rows=12):
        bench.row(config, 13)
    assert bench.busy_with == ""


def test_rows_that_were_checked_are_not_read_again(bench, config, monkeypatch, tmp_path):
    config = config.with_settings([f"data.path={shutil.copy(config.data.path, tmp_path)}"])
    bench.load_model(config.model)
    assert not bench.has_checked(config)
    bench.check_rows(config)
    found = bench.preparing.survey
    assert bench.has_checked(config) and (found.rows, found.train_rows, found.validation_rows) == (12, 10, 2)
    reads = []
    monkeypatch.setattr("core.workbench.rows_of_the_form.prepare", lambda *args, **kwargs: reads.append(args))
    bench.start(config.with_settings(["training.max_steps=1", "training.per_device_train_batch_size=3"]), "checked")
    snapshot = bench.wait(120)
    assert snapshot.status == "completed" and reads == []
    assert snapshot.receipt.train_rows == found.train_rows
    assert not bench.has_checked(config.with_settings(["data.seed=1"]))
    assert not bench.has_checked(config.with_settings(["training.completion_only_loss=no"]))
    rows = Path(config.data.path)
    rows.write_text(rows.read_text() + " ")
    assert not bench.has_checked(config)  # the file is another one now


def test_one_epoch_is_as_many_steps_as_the_survey_says(bench, config):
    config = config.with_settings(["training.max_steps=-1", "training.num_train_epochs=1", "data.validation_share=0.1"])
    bench.load_model(config.model)
    bench.check_rows(config)
    bench.start(config, "one epoch")
    assert len(bench.wait(120).steps) == bench.preparing.survey.epoch_steps == 3  # 11 rows by 2 times 2


def test_rows_at_fault_leave_the_model_as_it_is(bench, config, tmp_path):
    bench.load_model(config.model)
    report = bench.model_state

    def with_rows(name: str, *rows: dict):
        settings = [f"data.path={data_file(tmp_path / name, *rows).path}", "data.validation_share=0"]
        return config.with_settings(settings)

    bench.start(
        with_rows("few.jsonl", {"instruction": "a", "output": "b"}, {"instruction": "a", "output": ""}), "half empty"
    )
    snapshot = bench.wait(120)
    assert snapshot.status == "failed" and type(bench.failure) is DataError and "1 of 2" in snapshot.message
    assert bench.model_state == report and bench.look(config).data is not None
    bench.start(with_rows("guess.jsonl", {"one": "short", "two": "rather longer"}), "a guess")
    assert bench.wait(120).status == "failed" and type(bench.failure) is DataError
    bench.start(
        config.with_settings([f"data.path={tmp_path}/none.csv", "model.model_name=owner/never-loaded"]), "no file"
    )
    assert f"{tmp_path}/none.csv" in bench.wait(120).message  # the file is looked for before the model
    assert type(bench.failure) is DataError


def test_what_was_assumed_is_said_with_the_figures(bench, config, tmp_path):
    """An encoding that only shows behind the first megabyte, and how a validation file of its own is read."""
    line = json.dumps({"id": "x" * 10_000, "instruction": "Say it.", "output": "the cat"}) + "\n"
    (tmp_path / "late.jsonl").write_bytes((line * 120).encode() + line.replace("cat", "café").encode("latin-1"))
    (tmp_path / "checks.csv").write_text("question;answer\nSay it.;the cat\n")
    config = config.with_settings(
        [f"data.path={tmp_path / 'late.jsonl'}", f"data.validation_path={tmp_path / 'checks.csv'}"]
    )
    bench.load_model(config.model)
    assert bench.look(config).notes == ()
    bench.check_rows(config)
    notes = bench.preparing.notes
    assert notes[:2] == ("read as Latin-1", 'validation rows: "question" asks, "answer" answers')
    assert "validation rows: fields separated by ;" in notes


def test_reading_can_be_stopped(bench, config, tmp_path, wait_until):
    many = data_file(tmp_path / "many.jsonl", *({"text": f"row {n} " * 20} for n in range(60_000)))
    config = config.model_copy(update={"data": many})
    bench.load_model(config.model)
    kept = set((bench.runs_dir / "prepared").iterdir())
    failures = []

    def check():
        try:
            bench.check_rows(config)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=check)
    thread.start()
    wait_until(lambda: bench.preparing.doing and bench.preparing.rows >= 2000, "the first rows")
    assert bench.preparing.doing and 0 < bench.preparing.share < 1 and bench.busy_with == READING
    bench.stop_reading()
    thread.join(30)
    assert [type(error) for error in failures] == [Stopped]
    assert not bench.preparing.doing and bench.preparing.survey is None and not bench.has_checked(config)
    assert bench.busy_with == "" and set((bench.runs_dir / "prepared").iterdir()) <= kept


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
