"""Rows as the model sees them before it is loaded: the same tokens, and none read again when the run starts."""

import pytest

from core.problems import Busy, ModelError
from core.settings.presets import find_preset
from core.workbench.desk import READING
from core.workbench.tokenizer_job import TokenizerJob
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT, small_config
from tests.workbench.conftest import refused


@pytest.fixture
def bench(unsloth, runs_dir) -> Workbench:
    return Workbench(runs_dir)


def test_the_tokens_are_those_of_the_loaded_model(bench, stories, rows, wait_until):
    demo = find_preset("demo-yoda").config
    configs = [demo, demo.with_settings(["data.prompt_template=alpaca"]), small_config(stories, rows)]
    for config in configs:
        bench.look(config)
        wait_until(lambda config=config: bench._reader(config) is not None, "the tokenizer")
        assert bench.model_state.report is None
        alone = [bench.row(config, number) for number in (1, 2, 7)]
        bench.check_rows(config)
        figures = bench.preparing.survey
        bench.load_model(config.model)
        assert [bench.row(config, number) for number in (1, 2, 7)] == alone
        assert bench.has_checked(config), "what was prepared with the tokenizer is right for the model"
        bench._preparation.forget()
        bench.check_rows(config)
        assert bench.preparing.survey == figures
        bench.forget()


def test_a_run_takes_the_rows_that_were_looked_at_before_it(bench, stories, rows, monkeypatch):
    config = small_config(stories, rows, "training.max_steps=1")
    (same,) = bench.badly_wrong(config)
    assert same.startswith("12 of 12 rows have the same answer, “the cat”")
    reads = []
    monkeypatch.setattr("core.workbench.rows_of_the_form.prepare", lambda *args, **kwargs: reads.append(args))
    bench.start(config, "looked at")
    assert bench.wait(120).status == "completed" and reads == []


def test_a_tokenizer_that_cannot_be_loaded(bench, rows):
    config = small_config(PROJECT / "nowhere", rows)
    for _ in range(2):  # and it is tried again
        with pytest.raises(ModelError, match="There is no folder"):
            bench.check_rows(config)
        assert bench.busy_with == ""
        with pytest.raises(ModelError, match="There is no folder"):
            bench.row(config, 1)
    assert len(bench.look(config).rows) == 5
    other = small_config(PROJECT / "elsewhere", rows)
    with refused(ModelError, model=other.model.model_name):
        bench.row(other, 1)  # nobody has asked for it yet


def test_it_waits_for_the_libraries_and_can_be_stopped(unsloth, stories, rows):
    config = small_config(stories, rows).model
    seen = []
    job = TokenizerJob(lambda: seen.append(job.state.is_loading))
    alone = job.wait_for(config)
    assert seen == [True] and job.at_hand(config) is job.wait_for(config) is alone and job.state.number == 1
    job.stop()  # too late: it is there
    assert job.wait_for(config) is alone
    job.forget()
    assert job.at_hand(config) is None


def test_nobody_is_asked_while_the_rows_are_read(bench, rows, stories):
    with bench.desk.taken(READING), pytest.raises(Busy):
        bench.badly_wrong(small_config(stories, rows))
