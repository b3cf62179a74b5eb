"""The report over all stages of a recipe: its tables, figures and charts, exactly."""

import html
import re

import pytest

from core.evaluation.record import Evaluation, ReadRow
from core.evaluation.saved import save as save_evaluation
from core.runs.events import Estimated, Finished
from core.settings.recipes import find_recipe
from core.workbench.recipe_record import Answers, DataFacts, Example, Made, Record, Trained, record_folder, save
from tests.ui.test_report import HOSTILE, Parsed, a_run
from ui.report.price_view import prices_text, scatter
from ui.report.recipe_report import make_recipe_report, write_recipe_report
from ui.report.stage_memory import memory_rows, memory_sum


def priced(reference: str, base: str, tuned: str, question: str = "What is it?") -> ReadRow:
    return ReadRow(question=question, reference=reference, base=base, tuned=tuned, base_loss=None, tuned_loss=None)


def an_evaluation(*rows: ReadRow) -> Evaluation:
    return Evaluation(rows=len(rows), max_new_tokens=8, measures=(), answers=rows)


def cells(text: str) -> list[str]:
    return [
        " ".join(html.unescape(re.sub("<[^>]*>", " ", cell)).split())
        for cell in re.findall(r"(?s)<t[hd].*?</t[hd]>", text)
    ]


def a_record(runs_dir, text: str = "words", **values) -> Record:
    """A record of the recipe with several models, all of whose stages have a run."""
    recipe = find_recipe("korean-two-stages", small=True).model_copy(update={"questions": (f"Why {text}?", "What?")})
    runs = [
        Trained(model=model, stage=stage, run_id=a_run(runs_dir, name=f"{model} {stage}", text=text).id)
        for model in recipe.models
        for stage in ("reading", "instructions")
    ]
    answers = [
        Answers(model=model, by=by, answers=(f"{model} {by} {text}", ""))
        for model in recipe.models
        for by in ("base", "reading", "instructions")
    ]
    facts = DataFacts(
        stage="reading", rows=24, train_rows=22, validation_rows=2, left_out=1, tokens=4800, trained_tokens=1200,
        cut_rows=3, longest=900, edges=(0, 500, 1000), counts=(20, 4), warnings=(f"Mind {text}.",), example=text,
    )  # fmt: skip
    example = Example(model="4-bit", question=text, reference="right", answer="wrong")
    made = Made(model="4-bit", to="adapter", url="https://huggingface.co/ada/korean")
    known = {
        "id": "x", "made": 1.76e9, "recipe": recipe, "status": "completed", "message": "The recipe is done.",
        "done": 18, "device": "RTX", "facts": (facts,), "examples": (example,), "answers": tuple(answers),
        "runs": tuple(runs), "exports": (made,),
    }  # fmt: skip
    record_folder(runs_dir, "x").mkdir(parents=True)
    return save(runs_dir, Record(**(known | values)))


def test_the_memory_of_a_stage_as_the_notebooks_print_it():
    finished = Finished(steps=1, runtime_s=1, tokens_per_s=1, peak_memory_gib=6.4, peak_memory_for_training_gib=2.1,
                        total_memory_gib=16)  # fmt: skip
    assert memory_rows("RTX", finished) == [
        ("Device", "RTX, 16.0 GiB in all"),
        ("Used before training", "4.30 GiB"),
        ("Peak", "6.40 GiB"),
        ("Peak for training", "2.10 GiB"),
        ("Peak, of all memory", "40%"),
        ("Peak for training, of all memory", "13%"),
    ]


def test_where_the_memory_goes_is_a_sum():
    parts = {"weights": 1.0, "adapter": 0.25, "embeddings": 0.0, "overhead": 0.25}
    estimated = Estimated(total_gib=1.5, comparable_gib=1.5, parts=parts)
    words = "1.000 (weights) + 0.250 (adapter) + 0.250 ({}) = 1.500 GiB"
    assert memory_sum(estimated, is_gpu=True) == words.format("CUDA overhead")
    assert memory_sum(estimated, is_gpu=False) == words.format("program and libraries")


def test_the_errors_of_prices_and_their_scatter():
    found = an_evaluation(priced("100", "a lot", "50"), priced("200", "$400", "200", question="A <b>?"))
    text = prices_text(found)
    assert cells(text) == [
        "", "base", "tuned", "Guesses", "1", "2", "Mean error", "$200.00", "$25.00",
        "Median error", "$200.00", "$25.00",
        "Within $40 or 20%", "0%", "50%", "RMSLE", "0.691", "0.483",
    ]  # fmt: skip
    # The axes end at 220: a tenth above the highest true price, so a guess of 400 is drawn at the edge.
    assert re.findall(r'<circle class="tuned" cx="([\d.]+)" cy="([\d.]+)"', text) == [
        ("136.4", "181.1"),
        ("232.7", "28.4"),
    ]
    assert re.findall(r'<path class="base" d="M([\d.,]+)m', text) == ["232.7,8.0"]
    assert "<title>$200.00 → $400.00</title>" in text and "1 row has a guess above the chart." in text
    assert text.index("What is it?") < text.index("A &lt;b&gt;?"), "the worst first"
    Parsed(str(text))


def test_answers_that_are_no_prices_have_no_such_part():
    assert prices_text(an_evaluation(priced("a sentence", "1", "2"))) == ""


def test_one_table_of_questions_and_models(runs_dir):
    page = make_recipe_report(runs_dir, a_record(runs_dir))
    table = next(
        table for table in re.findall(r"(?s)<table class=\"answers\">.*?</table>", page) if "Why words?" in table
    )
    assert cells(table) == [
        "Question", "4-bit", "16-bit",
        "Why words?",
        "base 4-bit base words Reading Korean 4-bit reading words Instructions in Korean 4-bit instructions words",
        "base 16-bit base words Reading Korean 16-bit reading words Instructions in Korean 16-bit instructions words",
        "What?",
        *["base empty answer Reading Korean empty answer Instructions in Korean empty answer"] * 2,
    ]  # fmt: skip


def test_the_whole_report(runs_dir):
    record = a_record(runs_dir)
    run = record.run_of("instructions", "16-bit")
    save_evaluation(
        an_evaluation(priced("right", "wrong", "right")).model_copy(update={"made": 1.77e9}), runs_dir / run
    )
    place = write_recipe_report(runs_dir, record)
    assert place == runs_dir / "recipes/x/report.html"
    page = place.read_text(encoding="utf-8")
    assert page.count('<polyline class="run run-') == 4, "the losses of all runs in one chart"
    text = " ".join(Parsed(page).text.split())
    for said in (
        "Korean in two stages", "The recipe is done.", "4-bit, 16-bit", "Reading Korean, Instructions in Korean",
        "RTX", "Rows of Reading Korean", "korean-articles.jsonl", "22 to train on, 2 for validation", "Left out1",
        "4,800, 25% of them trained on", "200 tokens on average, 900 in the longest row", "Cut off3 rows",
        "Mind words.",
        "What the base answers to a validation row", "16-bit · Instructions in KoreanSteps60",
        "Trained weights1,000 of 260,000 (0.38%)", "Used before training0.50 GiB", "Peak1.00 GiB",
        "Answers to read: a person's, the base's and the tuned model's", "4-bit · adapterhttps://huggingface.co/ada/korean",
        "Settings of Reading Korean", "Settings of Instructions in Korean",
    ):  # fmt: skip
        assert said in text, said
    assert str(runs_dir) not in page and len(page) < 2_000_000 and "<script" not in page


@pytest.mark.parametrize(
    ("status", "message", "said"),
    [
        ("failed", "Train: Reading Korean: No /home/ada/rows.csv.", "No rows.csv. 5 of 18 steps are done."),
        ("running", "", "5 of 18 steps are done."),
    ],
)
def test_a_recipe_that_is_not_done_says_how_far_it_is(runs_dir, status, message, said):
    record = a_record(runs_dir, status=status, message=message, done=5)
    assert said in Parsed(make_recipe_report(runs_dir, record)).text


def test_hostile_texts_stay_texts_and_a_run_that_is_gone_is_left_out(runs_dir):
    record = a_record(runs_dir, text=HOSTILE, runs=(Trained(model="4-bit", stage="reading", run_id="gone"),))
    found = Parsed(make_recipe_report(runs_dir, record))
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "img", "iframe"})
    assert "Training took" not in found.text


def test_the_scatter_has_room_for_a_price_of_nothing():
    found = an_evaluation(priced("0", "1", "2"))
    from core.evaluation.price_errors import price_errors

    text = scatter(price_errors(found.answers).guesses)
    assert re.findall(r'<circle class="tuned" cx="([\d.]+)" cy="([\d.]+)"', text) == [("40.0", "8.0")]
