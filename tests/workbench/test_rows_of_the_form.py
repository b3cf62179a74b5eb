"""The rows that a form names: looked at, checked in full, stopped, and at fault without costing the model."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from core.problems import DataError
from core.threads import Stopped
from core.workbench.desk import READING
from core.workbench.workbench import Workbench
from tests.conftest import data_file, small_config
from tests.workbench.conftest import refused


@pytest.fixture(scope="module")
def config(stories, rows):
    return small_config(stories, rows, "training.max_steps=6", "training.eval_steps=3")


@pytest.fixture(scope="module")
def bench(unsloth, tmp_path_factory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp("rows") / "runs")


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
    assert notes[:2] == ("read as Latin-1", 'validation rows: "question" is the question, "answer" is the answer')
    assert any("validation rows" in note and ";" in note for note in notes)


def test_reading_can_be_stopped(bench, config, tmp_path, wait_until):
    many = data_file(tmp_path / "many.jsonl", *({"text": f"row {n} " * 20} for n in range(60_000)))
    config = config.model_copy(update={"data": many})
    bench.load_model(config.model)
    kept = set((bench.runs_dir / "prepared").glob("*"))
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
    assert bench.busy_with == "" and set((bench.runs_dir / "prepared").glob("*")) <= kept


def test_figures_are_of_the_settings_that_were_checked(bench, config, tmp_path):
    config = config.with_settings([f"data.path={shutil.copy(config.data.path, tmp_path)}"])
    bench.load_model(config.model)
    bench.check_rows(config)
    assert bench.shows_rows_of(config) and bench.shows_rows_of(config.with_settings(["adapter.r=2"]))
    for other in (
        f"data.path={config.data.path}.other", "data.seed=1", "model.max_seq_length=64", "model.model_name=other",
        "training.gradient_accumulation_steps=7", "training.packing=yes",
    ):  # fmt: skip
        assert not bench.shows_rows_of(config.with_settings([other])), other
    empty = data_file(tmp_path / "none.jsonl", text="")
    gone = config.model_copy(update={"data": empty})
    with pytest.raises(DataError):
        bench.check_rows(gone)
    assert bench.preparing.error and bench.shows_rows_of(gone) and not bench.shows_rows_of(config)
    bench.check_rows(config)
    rows = Path(config.data.path)
    rows.write_text(rows.read_text() + " ")
    assert not bench.shows_rows_of(config), "the file is another one now"
