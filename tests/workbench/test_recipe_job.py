"""Recipes run for real, small: what each finds, what it leaves, and how it ends and continues."""

import html
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from core.evaluation.saved import load_evaluations
from core.export.chat_parts import LAST_MESSAGE
from core.export.record import load_exports
from core.problems import Busy, DataError, RunError
from core.runs.events import Resumed, from_line
from core.runs.run_folder import Run, find_run
from core.settings.recipes import BASE, Before, Measures, Recipe, Stage, find_recipe
from core.workbench.recipe_job import RecipeJob
from core.workbench.recipe_record import Record, find_record, record_folder, record_ids, save
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT, small_config, write_rows
from ui.report.recipe_report import make_recipe_report

DEMO = PROJECT / "presets/demo-llama"


@dataclass(frozen=True)
class Done:
    """A recipe that has run, small."""

    runs_dir: Path
    record: Record

    def run(self, stage: str, model: str = "") -> Run:
        return find_run(self.runs_dir, self.record.run_of(stage, model))

    def evaluation(self, stage: str, model: str = ""):
        (found,) = load_evaluations(self.run(stage, model).folder)
        return found

    @property
    def report(self) -> str:
        """Its text, without tags."""
        page = make_recipe_report(self.runs_dir, self.record)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<style>.*?</style>", "", page))).split())


@pytest.fixture(scope="module")
def done(unsloth, tmp_path_factory):
    """Runs the recipe of that name once in this module."""

    @cache
    def run(name: str) -> Done:
        runs_dir = tmp_path_factory.mktemp(name) / "runs"
        job = RecipeJob(Workbench(runs_dir))
        job.start(find_recipe(name, small=True))
        record = job.wait(1800)
        assert record.message == "The recipe is done."
        return Done(runs_dir, record)

    return run


def check_whole(found: Done) -> None:
    """What is true of every recipe that is done."""
    record, recipe = found.record, found.record.recipe
    assert (record.status, record.done, record.step, record.doing) == ("completed", len(record.steps), None, "")
    assert find_record(found.runs_dir, record.id) == record and record_ids(found.runs_dir) == [record.id]
    models = list(recipe.models) or [""]
    assert [(run.model, run.stage) for run in record.runs] == [(m, s.name) for m in models for s in recipe.stages]
    for model in models:
        for stage in recipe.stages:
            run = found.run(stage.name, model)
            assert run.snapshot().status == "completed" and run.config().model == recipe.config_of(stage, model).model
        evaluation = found.evaluation(recipe.last.name, model)
        assert evaluation.rows == recipe.measures.rows == len(evaluation.answers)
        loss = evaluation.measure("loss")
        assert loss.tuned < loss.base
        if recipe.questions:
            by = [BASE, *(stage.name for stage in recipe.stages)]
            assert [a.by for a in record.answers if a.model == model] == by
        exports = load_exports(found.run(recipe.last.name, model))
        assert {one.wanted.to for one in exports} == {export.to for export in recipe.exports}
        assert all(one.passed for one in exports)
    wanted = [export.to for export in recipe.exports if not export.push]  # there is no repository to push to
    assert [made.to for made in record.exports] == wanted * len(models)


def test_korean_in_60_steps(done):
    found = done("korean-60-steps")
    check_whole(found)
    record = found.record
    (facts,) = record.facts
    assert (facts.rows, facts.train_rows, facts.validation_rows, facts.left_out, facts.cut_rows) == (48, 43, 5, 0, 0)
    assert facts.trained_tokens == facts.tokens and sum(facts.counts) == 48 and facts.edges[0] == 0
    intro = "<|begin_of_text|>다음은 작업을 설명하는 명령입니다. 요청을 적절하게 완료하는 응답을 작성하세요."
    first = json.loads((PROJECT / record.recipe.last.config.data.path).read_text(encoding="utf-8").splitlines()[0])
    asked, answered = first["instruction"], first["output"]
    assert facts.example == f"{intro}\n\n### 지침:\n{asked}\n\n### 응답:\n{answered}<|eot_id|>"
    base, tuned = (record.answers_of(by) for by in (BASE, "instructions"))
    assert len(base) == len(tuned) == 2 and all(one != other for one, other in zip(base, tuned, strict=True))
    receipt, finished = (getattr(found.run("instructions").snapshot(), part) for part in ("receipt", "finished"))
    assert (receipt.trainable_parameters, finished.steps) == (151_552, 12)
    text = found.report
    for said in (
        "Korean in 60 steps The recipe is done.", "43 to train on, 5 for validation",
        "The first row as the model sees it",
        f"{facts.longest:,} in the longest row", "151,552 of 1,102,976 (13.74%)", "회식에서 술을 안 마셔도 되나요?",
        *(f"{name} {value}" for name, value in [
            ("Used before training", _gib(finished.peak_memory_gib - finished.peak_memory_for_training_gib)),
            ("Peak", _gib(finished.peak_memory_gib)),
            ("Peak for training", _gib(finished.peak_memory_for_training_gib)),
        ]),
        "Where the memory goes, as estimated", "(optimizer) +", "ROUGE-2", "adapter",
    ):  # fmt: skip
        assert said in text, said


def _gib(value: float) -> str:
    from ui.shared.formatting import gib

    return gib(value)


def test_price_from_text(done):
    found = done("price-from-text")
    check_whole(found)
    (facts,), (example,) = found.record.facts, found.record.examples
    assert (facts.rows, facts.train_rows, facts.validation_rows) == (240, 216, 24)
    assert example.question.startswith("How much does this cost") and example.question.endswith("Price is $")
    assert re.fullmatch(r"\d+\.00", example.reference), "only the number is learned"
    errors = found.evaluation("price")
    assert errors.measure("no_number").tuned < errors.measure("no_number").base
    text = found.report
    for said in ("Errors in dollars", "Within $40 or 20%", "RMSLE", "True price against guess", "The worst guesses"):
        assert said in text, said
    page = make_recipe_report(found.runs_dir, found.record)
    assert page.count('<circle class="tuned"') == _guesses(found).tuned.rows and "<script" not in page


def _guesses(found: Done):
    from core.evaluation.price_errors import price_errors

    return price_errors(found.evaluation("price").answers)


@pytest.mark.slow
def test_yoda(done):
    found = done("yoda")
    check_whole(found)
    record = found.record
    assert record.answers_of(BASE) == record.recipe.questions, "the demo model repeats what it is told"
    (example,) = record.examples
    assert example.answer == example.question == "Your sister sees her grandmother."
    assert example.reference == "Her grandmother, your sister sees. Hmm."
    chosen = found.run("yoda").snapshot().batch_chosen
    assert chosen.batch * chosen.accumulation == 16 and chosen.tried
    assert record.answers_of("yoda") == (
        "A book in the garden, the old man reads. Hmm.",
        "Find your keys under the chair, you will. Hmm.",
    )
    assert [(made.to, made.url) for made in record.exports] == [("adapter", ""), ("merged", "")]
    assert f"{chosen.batch} × {chosen.accumulation} rows per step; tried: 1" in found.report


@pytest.mark.slow
def test_summaries_of_dialogues(done):
    found = done("dialogue-summaries")
    check_whole(found)
    (example,) = found.record.examples
    assert example.question.startswith("Below is a conversation. Write a short summary of it.")
    assert example.question.endswith("### Summary:") and example.reference.startswith("#Person1# asks ")
    evaluation = found.evaluation("summaries")
    for key in ("rouge_1", "rouge_2", "rouge_l"):
        assert evaluation.measure(key).tuned > evaluation.measure(key).base, key
    steps = [evaluated.step for evaluated in found.run("summaries").snapshot().evaluations]
    assert steps == [25, 50]
    text = found.report
    assert "Answers to read: a person's, the base's and the tuned model's" in text
    assert " ".join(evaluation.answers[0].reference.split()) in text
    (made,) = found.run("summaries").folder.glob("exports/ollama")
    assert LAST_MESSAGE in (made / "Modelfile").read_text(encoding="utf-8") and list(made.glob("*-q8_0.gguf"))


@pytest.mark.slow
def test_korean_in_two_stages_on_two_models(done):
    found = done("korean-two-stages")
    check_whole(found)
    record = found.record
    assert [facts.stage for facts in record.facts] == ["reading", "instructions"]
    for model in ("4-bit", "16-bit"):
        first = found.run("reading", model)
        assert found.run("instructions", model).config().adapter.continue_from == first.id
    four, sixteen = (record.answers_of("instructions", model) for model in ("4-bit", "16-bit"))
    assert four != sixteen, "two models were loaded, one after the other"
    page = make_recipe_report(found.runs_dir, record)
    assert page.count('<polyline class="run run-') == 4, "the losses of both stages on both models in one chart"
    questions = "".join(f'<th scope="row">{question}</th>' for question in record.recipe.questions)
    assert re.findall(r'<th scope="row">[^<]*[가-힣][^<]*</th>', page) == re.findall(r"<th.*?</th>", questions)
    assert "Question 4-bit 16-bit" in found.report


# How it ends, and continues


def two_stages(tmp_path, second: Path) -> Recipe:
    rows = write_rows(tmp_path / "rows.json")
    first = small_config(DEMO, rows, "data.validation_share=0", "adapter.modules_to_save=[]")
    other = small_config(
        DEMO, second, "data.validation_share=0", "adapter.modules_to_save=[]", "adapter.continue_from=one"
    )
    stages = (Stage(name="one", config=first), Stage(name="two", title="The second", config=other))
    return Recipe(name="mine", title="Mine", stages=stages, before=Before(data=False), measures=Measures(rows=0))


def test_a_stage_that_fails_ends_it_in_one_sentence_and_it_continues_there(unsloth, tmp_path):
    missing = tmp_path / "later.json"
    bench = Workbench(tmp_path / "runs")
    job = RecipeJob(bench)
    job.start(two_stages(tmp_path, missing))
    record = job.wait(300)
    assert (record.status, record.done, type(job.failure)) == ("failed", 1, DataError)
    assert record.message == f"Train: The second: {job.failure}"
    first, second = record.runs
    assert find_run(bench.runs_dir, first.run_id).has_adapter and "Train: The second" in make_recipe_report(
        bench.runs_dir, record
    )

    write_rows(missing)
    later = RecipeJob(Workbench(bench.runs_dir))  # after a restart
    assert later.state == record
    later.resume(record.id)
    ended = later.wait(300)
    assert (ended.status, ended.done, ended.runs[0], ended.message) == ("completed", 2, first, "The recipe is done.")
    assert find_run(bench.runs_dir, second.run_id).config().adapter.continue_from == first.run_id
    with pytest.raises(RunError) as caught:
        later.resume(record.id)
    assert caught.value.values == {"recipe": record.id}


def test_it_is_stopped_and_its_run_continues_after_a_restart(unsloth, tmp_path):
    recipe = two_stages(tmp_path, write_rows(tmp_path / "two.json"))
    longer = recipe.stages[0].config.with_settings(["training.max_steps=500", "training.save_steps=1"])
    recipe = recipe.with_stage("one", longer)
    bench = Workbench(tmp_path / "runs")
    job = RecipeJob(bench)
    job.start(recipe)
    with pytest.raises(Busy):
        job.start(recipe)
    while not bench.snapshot or not bench.snapshot.checkpoints:
        bench.wait(0.05) if bench.snapshot else job.wait(0.05)
    shorter = recipe.stages[1].config.with_settings(["training.max_steps=1"])
    job.change("two", shorter)
    with pytest.raises(RunError) as caught:
        job.change("one", longer)
    assert caught.value.values == {"stage": "one"}, "it has started"
    job.stop()
    record = job.wait(120)
    assert (record.status, record.done, record.message) == ("stopped", 0, "The recipe was stopped; what is done stays.")
    run_id = record.run_of("one")
    taken = find_run(bench.runs_dir, run_id).snapshot().step
    assert 0 < taken < 500

    # The rest is short: the run on disk keeps its settings, so it is made shorter there.
    file = find_run(bench.runs_dir, run_id).folder / "config.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("max_steps: 500", f"max_steps: {taken + 2}"))
    later = RecipeJob(Workbench(bench.runs_dir))
    later.resume(record.id)
    ended = later.wait(300)
    assert (ended.status, ended.run_of("one")) == ("completed", run_id)
    assert find_run(bench.runs_dir, ended.run_of("two")).config().training.max_steps == 1, "as it was changed"
    lines = (find_run(bench.runs_dir, run_id).folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [e.step for line in lines if isinstance(e := from_line(line), Resumed)] == [taken]


def test_a_recipe_whose_program_died_is_interrupted(tmp_path):
    recipe = two_stages(tmp_path, tmp_path / "none.json")
    runs_dir = tmp_path / "runs"
    record_folder(runs_dir, "x").mkdir(parents=True)
    record = save(runs_dir, Record(id="x", made=1.0, recipe=recipe))
    assert find_record(runs_dir, "x") == record and record.status == "running", "this process works on it"
    file = record_folder(runs_dir, "x") / "record.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": 0}))
    found = find_record(runs_dir, "x")
    assert (found.status, found.message) == ("interrupted", "The program ended before the recipe did.")


@pytest.mark.parametrize(
    ("record_id", "text", "values"),
    [
        ("../x", "{}", {"recipe": "../x"}),
        ("gone", None, {"recipe": "gone"}),
        ("bad", "{", {"recipe": "bad"}),
        ("bad", "{}", {"recipe": "bad"}),
    ],
)
def test_a_record_that_cannot_be_read_is_refused(tmp_path, record_id, text, values):
    if text is not None:
        folder = record_folder(tmp_path, record_id)
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(text)
    with pytest.raises(RunError) as caught:
        find_record(tmp_path, record_id)
    assert caught.value.values == values
