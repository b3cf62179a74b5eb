"""No view builds HTML from strings, and whatever text a view is given comes out escaped."""

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup, escape

from core.answering.sampling import Answer, Sampling
from core.comparing.conversation import Conversation
from core.comparing.votes import Vote, tally
from core.evaluation.record import Evaluation, ReadRow, Source
from core.memory.hardware import MemoryStats, detect_machine
from core.model.weight_changes import GroupMoved, Moved, RowsMoved, TokenMoved
from core.runs.adapter_ref import BASE, Pane
from core.runs.events import StepDone
from core.runs.snapshot import Snapshot
from core.settings.run_config import RunConfig
from core.workbench.blind_test import Result
from core.workbench.measure_job import Measuring
from core.workbench.model_slot import ModelState
from core.workbench.one_blind_test import Shown
from tests.conftest import PROJECT
from ui.compare import blind_view, chat_view, measure_tab, measure_view, proof_view
from ui.report import report_parts
from ui.shared import formatting, line_chart, run_charts
from ui.shared.html import environment, render_part
from ui.sidebar import machine_text, model_text, run_text

UI = PROJECT / "ui"
MAY_DECLARE_HTML = "shared/html.py"  # the one file that may say of a text that it is HTML
TAG = re.compile(r"</?[a-zA-Z]|<!--")
HOSTILE = "<img src=x onerror=alert(1)>\"'&"


# In the source


def sources() -> list[Path]:
    return sorted(UI.rglob("*.py"))


def built_html(tree: ast.AST) -> list[int]:
    """Lines where a string with a tag in it is put together with other values, or a value is declared to be HTML."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = node.values
        elif isinstance(node, ast.BinOp):  # added to, repeated or filled in
            parts = [node.left, node.right]
        elif isinstance(node, ast.AugAssign):
            parts = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # "…".format(), "…".join()
            parts = [node.func.value, *(node.args if node.func.attr == "replace" else [])]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Markup":
            lines += [node.lineno for argument in node.args if not isinstance(argument, ast.Constant)]
            continue
        else:
            continue
        texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if any(TAG.search(text) for text in texts):
            lines.append(node.lineno)
    return sorted(set(lines))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(UI)))
def test_no_html_is_built_from_strings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert "html" not in imported, "html.escape leaves it to the author to remember; templates escape by themselves"
    if path.relative_to(UI).as_posix() != MAY_DECLARE_HTML:
        assert built_html(tree) == []


@pytest.mark.parametrize(
    "source",
    [
        'f"<p>{words}</p>"', '"<b>" + words', 'words + "</b>"', '"<b>%s</b>" % words', '"<b>{}</b>".format(words)',
        '"<br>".join(words)', "shown += '<b>'", "Markup(words)", 'Markup(f"{words}")', '"<i></i>" * 3',
    ],
)  # fmt: skip
def test_the_check_finds_html_that_is_built(source):
    assert built_html(ast.parse(source)) == [1]


@pytest.mark.parametrize("source", ['"<p>constant</p>"', 'f"{a} < {b}"', 'Markup("<p></p>")', 'f"{a}" + "b"', "a < b"])
def test_the_check_finds_nothing_else(source):
    assert built_html(ast.parse(source)) == []


def templates() -> list[str]:
    return [name for name in environment().list_templates() if name.endswith(".html")]


@pytest.mark.parametrize("name", templates())
def test_no_template_switches_escaping_off(name):
    source = (UI / name).read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", source)
    environment().get_template(name)


# On the page


class Elements(HTMLParser):
    """The tags, the values of attributes, and the text of a piece of HTML, whose tags must all be closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(str(html))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag != "br":
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def conversation() -> Conversation:
    asked = Conversation((BASE, Pane(HOSTILE))).asked(HOSTILE, "", Sampling())
    answers = [Answer(f"one {HOSTILE} two", 5, ended="itself"), Answer(f"{HOSTILE} three", 5, ended="limit")]
    first = asked.answered(answers)
    return first.asked(HOSTILE, "", Sampling()).answered([Answer(HOSTILE), Answer(f"{HOSTILE} two", 2, ended="itself")])


def vote() -> Vote:
    return Vote(time=0, prompt=HOSTILE, left="base", right=HOSTILE, left_answer=HOSTILE, right_answer=HOSTILE,
                choice="right", contender=HOSTILE)  # fmt: skip


def evaluation() -> Evaluation:
    row = ReadRow(question=HOSTILE, reference=HOSTILE, base=HOSTILE, tuned=HOSTILE, base_loss=1, tuned_loss=1)
    source = Source(kind="file", path=f"x/{HOSTILE}")
    return Evaluation(run_id=HOSTILE, source=source, rows=1, note=HOSTILE, max_new_tokens=1, measures=(),
                      gained=(row,), lost=(row,), differing=(row,))  # fmt: skip


def moved() -> Moved:
    group, token = GroupMoved(name=HOSTILE, change=1, tensors=1), TokenMoved(id=1, text=HOSTILE, change=1)
    rows = RowsMoved(name=HOSTILE, change=1, rows=2, rows_moved=1, most=(token,))
    return Moved(kinds=(group,), layers=(group,), embeddings=(rows,))


def votes_folder(folder: Path) -> Path:
    (folder / "votes.jsonl").write_text(vote().model_dump_json() + "\n", encoding="utf-8")
    return folder


def a_step() -> StepDone:
    return StepDone(step=1, max_steps=2, epoch=1, loss=1, learning_rate=1, grad_norm=1, tokens=1, elapsed=1)


def last_vote() -> Shown:
    return Shown(last=vote())


def result() -> Result:
    return Result(Pane(HOSTILE), BASE, tally([vote()], HOSTILE, "base"))


SHOWN = Shown(stage="voting", number=1, total=2, prompt=HOSTILE, left=HOSTILE, right=HOSTILE, said=HOSTILE)
MEMORY = MemoryStats(total_gib=2, in_use_gib=1, available_gib=1, process_gib=1, peak_process_gib=1)
SERIES = line_chart.Series(HOSTILE, HOSTILE, [(1, 1.0), (2, 2.0)], best=(1, 1.0))
# What each public view makes of hostile text, and how many times the text is shown, at the least.
VIEWS = {
    "notice": (lambda _: formatting.notice(HOSTILE), 1),
    "chart": (lambda _: line_chart.chart(HOSTILE, [SERIES], "step", remark=HOSTILE), 3),
    "empty chart": (lambda _: line_chart.chart(HOSTILE, [], "step"), 1),
    "runs in one chart": (lambda _: run_charts.run_chart([(HOSTILE, Snapshot(steps=(a_step(),)))], "time"), 1),
    "newest turn": (lambda _: chat_view.newest_text(conversation(), True), 4),
    "earlier turns": (lambda _: chat_view.earlier_text(conversation(), True), 4),
    "empty panes": (lambda _: chat_view.newest_text(Conversation((BASE, Pane(HOSTILE)))), 1),
    "logit differences": (lambda _: chat_view.proof_text([BASE, Pane(HOSTILE), Pane(HOSTILE)], [0.0, 1.0]), 2),
    "blind pair": (lambda _: blind_view.pair_text(SHOWN), 3),
    "blind state": (lambda _: blind_view.state_text(SHOWN), 1),
    "blind vote before": (lambda _: blind_view.last_text(last_vote()), 2),
    "blind result": (lambda _: blind_view.result_text(result()), 2),
    "evaluation": (lambda _: measure_view.evaluation_text(evaluation()), 14),
    "measuring": (lambda _: measure_tab.progress_text(Measuring(HOSTILE, True, words=HOSTILE), ""), 2),
    "measured": (lambda _: measure_tab.progress_text(Measuring(said=HOSTILE), ""), 1),
    "measuring must wait": (lambda _: measure_tab.progress_text(Measuring(), HOSTILE), 1),
    "moved weights": (lambda _: proof_view.moved_text(moved()), 4),
    "votes in the report": (lambda folder: report_parts.votes_text(votes_folder(folder)), 5),
    "settings in the report": (
        lambda _: report_parts.settings_text(RunConfig().with_settings([f"training.sample_prompts={HOSTILE}"])), 2
    ),
    "machine": (lambda _: machine_text(detect_machine().model_copy(update={"name": HOSTILE}), MEMORY), 1),
    "loading": (lambda _: model_text(ModelState(doing=HOSTILE), None), 1),
    "run": (lambda _: run_text(Snapshot(name=HOSTILE, message=HOSTILE)), 2),
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_hostile_text_stays_text(view, tmp_path):
    make, times = VIEWS[view]
    html = make(tmp_path)
    assert isinstance(html, Markup)
    shown = Elements(html)
    assert "img" not in shown.tags and not [name for name, _ in shown.attributes if name.startswith("on")]
    assert shown.text.count(HOSTILE) >= times


def test_hostile_text_in_an_attribute_stays_in_it():
    shown = Elements(render_part("shared/parts.html", "bar", share=0.5, label=HOSTILE))
    assert ("aria-label", HOSTILE) in shown.attributes and shown.tags == ["div", "span"]


def test_the_layout_of_a_template_is_not_on_the_page():
    assert render_part("shared/parts.html", "notice", text="") == ""
    assert render_part("shared/parts.html", "facts", rows=[("a", "1\n 2")]) == (
        '<dl class="facts"><dt>a</dt><dd>1\n 2</dd></dl>'
    )


def test_a_templates_own_text_is_translated_and_escaped():
    source = (
        '{{ tr("{name!r} is < {bold}", name=name, bold=bold) }} '
        '{{ trn("{count} row of {name}", "{count:,} rows", 2000) }}'
    )
    shown = environment().from_string(source).render(name=HOSTILE, bold=Markup("<b>1</b>"))
    assert shown == f"{escape(repr(HOSTILE))} is &lt; <b>1</b> 2,000 rows"
