"""What the Measure tab writes of an evaluation."""

import re
from xml.etree import ElementTree

import pytest

from core.evaluation.metrics import BY_KEY, METRICS
from core.evaluation.record import Evaluation, Forgetting, Measure, ReadRow, Source
from core.workbench.measure_job import Measuring
from ui.compare.measure_tab import progress_text
from ui.compare.measure_view import choice_label, evaluation_text, signed, value
from ui.terminal.measure_lines import evaluation_lines


def a_measure(key: str, base: float, tuned: float, low: float | None, high: float | None, rows: int = 20) -> Measure:
    difference = tuned - base
    return Measure(
        key=key, rows=rows, better=BY_KEY[key].better, base=base, tuned=tuned, difference=difference, low=low, high=high
    )


FOUND = Evaluation(
    run_id="20261122-094948-demo-yoda",
    made=1795341720.0,
    seconds=65,
    source=Source(kind="file", path="/home/me/<rows>.csv"),
    rows=20,
    left_out=2,
    max_new_tokens=56,
    measures=(
        a_measure("loss", 2.5, 1.25, -1.5, -1.0),
        a_measure("exact", 0.1, 0.5, 0.2, 0.6, 12),
        a_measure("length", 3, 3, 0, 0),
    ),
    gained=(ReadRow(question="<b>?", reference="4 & 5", base="", tuned="<i>", base_loss=2.0, tuned_loss=1.0),),
    forgetting=Forgetting(prompts=36, base_loss=2.0, tuned_loss=2.5, low=0.3, high=0.7, random_loss=11.8),
)


def cells(text: str) -> list[list[str]]:
    """The table's rows, each with its title and its cells."""
    table = ElementTree.fromstring(re.search(r"<table.*</table>", text)[0])
    return [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]


def test_an_evaluation_says_all_it_found_and_lets_no_text_be_markup():
    text = evaluation_text(FOUND)
    assert "demo-yoda, 22 Nov 09:49 on 20 rows of &lt;rows&gt;.csv" in text
    assert cells(text)[1:] == [
        ["Loss", "2.500", "1.250", "−1.250", "−1.500 to −1.000", "better"],
        ["Exact match of 12 rows", "10%", "50%", "+40.0 pp", "+20.0 pp to +60.0 pp", "better"],
        ["Length", "3.0", "3.0", "0", "0 to 0", "no difference"],
    ]
    assert re.findall(r'class="verdict (\w*)"', text) == ["good", "good", ""]
    small_print = re.search(r'<p class="small">(.*?)</p>', text)[1]
    assert small_print == (
        "Greedy answers of at most 56 tokens; measured in 1:05. "
        "2 rows are left out, as they are too long for the model."
    )
    assert '<p class="notice warning" role="status">Loss on 36 general prompts: 2.00 → 2.50' in text
    answers = re.findall(r"<dt class=\"(\w+)\">\w+</dt><dd>(.*?)</dd>", text)
    assert answers == [("asked", "&lt;b&gt;?"), ("wanted", "4 &amp; 5"), ("base", "–"), ("tuned", "&lt;i&gt;")]
    assert "Loss: base 2.000, tuned 1.000" in text
    assert re.findall(r"<summary>(\w+ \w+ \w+) \w+ \((\d+)\)</summary>", text) == [("Rows that gained", "1")]
    assert choice_label(FOUND).endswith(", rows of <rows>.csv (20)")


def test_on_the_command_line_it_is_a_table_of_text():
    assert evaluation_lines(FOUND) == [
        "20261122-094948-demo-yoda, rows of <rows>.csv: 20 rows",
        "",
        "                      base     tuned    difference  95% interval",
        "Loss                 2.500     1.250        −1.250  −1.500 to −1.000, better",
        "Exact match            10%       50%      +40.0 pp  +20.0 pp to +60.0 pp, better",
        "Length                 3.0       3.0             0  0 to 0, no difference",
        "",
        FOUND.forgetting.words,
    ]


def test_what_the_rows_may_not_be_is_said_where_they_are_shown():
    own = FOUND.model_copy(update={"source": Source()})
    assert "on 20 rows that it was not trained on</h3>" in evaluation_text(own)
    doubtful = own.model_copy(update={"note": "Some may be <ones> it learned from."})
    text = evaluation_text(doubtful)
    assert "on 20 rows kept for validation</h3>" in text and "not trained on</h3>" not in text
    assert '<p class="notice info" role="status">Some may be &lt;ones&gt; it learned from.</p>' in text
    assert evaluation_lines(doubtful)[-2:] == ["", "Some may be <ones> it learned from."]
    assert evaluation_lines(doubtful)[:-2] == evaluation_lines(own)


def test_the_interval_says_what_it_is_and_what_it_is_not():
    text = evaluation_text(FOUND)
    assert all(word in text for word in ("percentile", "fewer than about 20 rows", "not corrected"))
    assert len(METRICS) == 14 and "of fourteen" in text


def test_each_measure_is_explained():
    text = evaluation_text(FOUND)
    assert all(f'title="{BY_KEY[one.key].help}"' in text for one in FOUND.measures)
    assert all(metric.help.endswith(".") and len(metric.help) < 100 for metric in METRICS)


@pytest.mark.parametrize(
    ("key", "number", "written", "difference"),
    [
        ("loss", 0.00671, "0.007", "+0.007"), ("bleu", 18.264, "18.3", "+18.3"), ("exact", 0.005, "0.5%", "+0.5 pp"),
        ("perplexity", 44321.2, "44,321.2", "+44,321.2"), ("perplexity", 1.5e200, "1.50e+200", "+1.50e+200"),
        ("ends", 1.0, "100%", "+100.0 pp"), ("loss", float("inf"), "inf", "+inf"), ("loss", float("nan"), "nan", "–"),
        ("length", 0.0, "0.0", "0"),
    ],
)  # fmt: skip
def test_figures_are_written_with_their_unit(key, number, written, difference):
    assert (value(number, BY_KEY[key]), signed(number, BY_KEY[key])) == (written, difference)


def test_progress_says_how_far_it_is_and_why_one_must_wait():
    assert progress_text(Measuring(), "") == ""
    waiting = progress_text(Measuring(), "a run is in progress")
    assert 'class="notice info"' in waiting and "a run is in progress" in waiting
    doing = progress_text(
        Measuring("20261122-094948-demo-yoda", True, share=0.25, words="5 of 20 rows"), "answers are being measured"
    )
    assert "demo-yoda, 22 Nov 09:49: 5 of 20 rows, about " in doing and 'aria-valuenow="25"' in doing
    assert "Stopping" in progress_text(Measuring("x", True, is_stopping=True, share=0.2, words="Stopping"), "")
    assert "about" not in progress_text(Measuring("x", True, words="Reading the rows"), "")
    assert 'class="notice warning"' in progress_text(
        Measuring(said="Stopped; nothing was saved.", was_stopped=True), ""
    )
    assert 'class="notice error"' in progress_text(Measuring(said="There is no file."), "")
