"""What the page shows of the queue, without a browser: rows, times, tables of variations, and the handlers."""

import re
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from core.runs.queue_file import EMPTY, Entry, Queue
from core.runs.run_list import RunList
from core.settings.presets import find_preset
from core.visitors.policy import OPEN
from core.visitors.visits import Visits
from core.workbench.desk import TRAINING
from core.workbench.workbench import Workbench
from tests.runs.test_run_list import make_run
from tests.ui.test_runs_tab import HOSTILE, Tags, cells, row
from ui.runs.group_view import group_text
from ui.shared.settings_form import Form
from ui.sidebar import run_text
from ui.train.queue_view import ended_text, ended_words, queue_text, summary_text, vary_text
from ui.train.train_tab import TrainTab

CONFIG = find_preset("demo-yoda").config
A, B, C = (Entry(name, CONFIG, name) for name in "abc")
BUTTON = re.compile(r'data-ask="([\w-]+)"(?: data-entry="(\w+)")?[^>]*?( disabled)?>')


def lines(text: str) -> list[str]:
    """The words of each run in the queue."""
    parts = re.sub("<(button|span)", r" <\1", str(text))  # not as Markup, which would escape
    return [" ".join(Tags(line).said.split()) for line in re.findall("<li>.*?</li>", parts)]


def test_each_run_has_its_time_and_its_buttons():
    left = {"a": 61.0, "b": None, "c": 5.0}
    text = queue_text(Queue((A, B, C)), {}, left, "")
    assert lines(text) == ["a about 1:01 ↑ ↓ ✕", "b unknown time ↑ ↓ ✕", "c about 0:05 ↑ ↓ ✕"]
    assert BUTTON.findall(text) == [
        ("pause", "", ""),
        ("up", "a", " disabled"), ("down", "a", ""), ("drop", "a", ""),
        ("up", "b", ""), ("down", "b", ""), ("drop", "b", ""),
        ("up", "c", ""), ("down", "c", " disabled"), ("drop", "c", ""),
    ]  # fmt: skip
    assert 'aria-label="Move up: b"' in text and queue_text(EMPTY, {}, {}, "") == ""


def test_a_run_that_has_started_is_first_and_has_no_places():
    begun, left = replace(A, run_id="r"), {"a": 7.0, "b": None}
    going = row("r", name="a", status="training", is_going_on=True, step=3, steps=9)
    text = queue_text(Queue((begun, B)), {"r": going}, left, "")
    assert lines(text) == ["a in progress, 0:07 left", "b unknown time ↑ ↓ ✕"]
    stopped = replace(going, status="stopped", is_going_on=False)
    text = queue_text(Queue((begun, B), is_paused=True), {"r": stopped}, left, "The disk is full.")
    assert lines(text) == ["a stopped after 3 steps; resumed first ✕", "b unknown time ↑ ↓ ✕"]
    assert BUTTON.findall(text)[0][0] == "go-on" and '<p class="notice error" role="status">The disk is full.' in text
    alone = queue_text(Queue((begun,)), {"r": going}, left, "")
    assert BUTTON.findall(alone) == [], "there is nothing to pause"


def test_what_cannot_be_used_says_why_and_can_be_dropped():
    broken = Entry("x", None, "broken", fault="It is <damaged>.")
    queue = Queue((broken, A))
    text = queue_text(queue, {}, {"x": None, "a": 60.0}, "")
    assert lines(text)[0] == "broken It is <damaged>. ↑ ↓ ✕" and "&lt;damaged&gt;" in text
    assert summary_text(queue, {"x": None, "a": 60.0}) == "1 run; about 1:00 in all."
    assert summary_text(Queue((broken,)), {"x": None}) == ""


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ((60.0, 3.0), "2 runs; about 1:03 in all."),
        ((60.0, None), "2 runs; about 1:00, without 1 of unknown time."),
        ((None, None), "2 runs; how long they take is not known."),
    ],
)
def test_the_time_of_the_whole_queue_is_said_as_far_as_it_is_known(left, words):
    times = dict(zip("ab", left, strict=True))
    assert summary_text(Queue((A, B)), times) == words
    assert summary_text(Queue((A, B), is_paused=True), times) == words.replace("2 runs", "2 runs, paused")


def test_once_it_is_empty_it_says_how_the_runs_ended(runs_dir):
    runs = [make_run(runs_dir, name, status=status, losses=losses) for name, status, losses in (
        ("one", "completed", (3.0, 2.0, 2.5)), ("two", "failed", (3.0,)), ("other", "completed", (1.0,)),
    )]  # fmt: skip
    for run, rate in zip(runs, ("1e-4", "2e-4", "1e-4"), strict=True):
        (run.folder / "config.yaml").write_text(
            run.config().with_settings([f"training.learning_rate={rate}"]).to_yaml(), encoding="utf-8"
        )
        run.write_about(group="" if run.name == "other" else "g")
    listed = RunList(runs_dir)
    rows = {row.id: row for row in listed.rows()}
    queue = Queue(ended=tuple(run.id for run in runs))
    assert ended_words(queue, rows) == "The queue is empty: 3 runs ended. 1 of them failed."
    assert ended_words(replace(queue, entries=(A,)), rows) == "" == ended_words(EMPTY, rows)
    assert ended_words(Queue(ended=("gone",)), rows) == "The queue is empty: 1 run ended."
    text = ended_text(queue, listed, rows)
    assert text.count("<table") == 1 and 'class="notice warning"' in text
    assert cells(text) == [
        ["Learning rate", "Status", "Last training loss", "Last validation loss", "Best validation loss",
         "Step of the best loss", "Time"],
        ["1e-4 best", "completed", "1.0000", "2.5000", "2.0000", "2", "0:08"],
        ["2e-4", "failed", "1.0000", "2.5000", "3.0000", "1", "0:08"],
    ]  # fmt: skip
    assert group_text(listed, "g", runs[1].id).count('<tr class="open">') == 1
    on_other_rows = runs[1].config().with_settings(["data.path=other.csv"])
    (runs[1].folder / "config.yaml").write_text(on_other_rows.to_yaml(), encoding="utf-8")
    other = cells(group_text(RunList(runs_dir), "g"))
    assert [row[:2] for row in other] == [
        ["Dataset", "Learning rate"], ["some/rows.csv", "1e-4"], ["other.csv", "2e-4"]
    ], "no best, where losses are of different rows"  # fmt: skip
    (runs[0].folder / "config.yaml").write_text("nothing: here")
    named = cells(group_text(RunList(runs_dir), "g"))
    assert [row[0] for row in named] == ["Run", "one best", "two"], "the settings of one cannot be read"


def test_hostile_names_are_text(runs_dir):
    hostile = Entry(HOSTILE, None, HOSTILE, fault=HOSTILE)
    text = queue_text(Queue((hostile,)), {}, {HOSTILE: None}, HOSTILE)
    for _ in range(2):
        make_run(runs_dir, HOSTILE).write_about(group=HOSTILE)
    text += group_text(RunList(runs_dir), HOSTILE) + run_text(make_run(runs_dir, "x").snapshot(), EMPTY, HOSTILE)
    assert not Tags(text).names & {"img", "script"} and not Tags(text).attributes & {"onerror", "onmouseover"}
    assert Tags(vary_text()).names >= {"input", "datalist"}


def test_the_sidebar_says_how_many_wait(runs_dir):
    snapshot = make_run(runs_dir, "x").snapshot()
    assert "1 run is in the queue" in run_text(snapshot, Queue((replace(A, run_id="r"), B)))
    assert 'data-emptied=""' in run_text(snapshot) and 'data-emptied="All &lt;b&gt;."' in run_text(
        snapshot, EMPTY, "All <b>."
    )


@pytest.fixture
def tab(runs_dir, train_tab_of) -> TrainTab:
    """A page's Train tab, with the settings of the other tabs as well."""
    with gr.Blocks():
        form = Form(CONFIG)
        tab = train_tab_of(Workbench(runs_dir), form)
        form.add(*(name for name in form._values if name not in form.components))
        tab.connect()
    return tab


def filled(tab: TrainTab, token: str = "", preset: str = "demo-yoda", **settings) -> dict:
    config = CONFIG.with_settings([f"{name.replace('__', '.')}={value}" for name, value in settings.items()])
    values = {component: update["value"] for component, update in tab._form.fill(config).items()}
    return values | {tab._token: token, tab._preset: preset}


def asked(**values) -> SimpleNamespace:
    return SimpleNamespace(**values)


def test_while_a_run_is_in_progress_start_adds_to_the_queue(tab):
    workbench = tab._workbench
    assert tab.live()[tab.start] == {"interactive": True, "value": "Start training"}
    with workbench.desk.taken(TRAINING):
        assert tab.live()[tab.start] == {"interactive": True, "value": "Add to queue"}
        said = list(tab._start(filled(tab, "hf_mine", training__max_steps=3)))
    assert [Tags(text).said for text in said] == ["Added to the queue: Demo Llama · yoda.jsonl · 3 steps."]
    (entry,) = workbench.queue.read().entries
    assert (entry.preset, entry.config.training.max_steps) == ("demo-yoda", 3)
    assert workbench.queue._tokens == {entry.id: "hf_mine"} and "hf_mine" not in workbench.queue.file.path.read_text()
    with workbench.desk.taken("a model is being loaded"):
        assert tab.live()[tab.start]["interactive"] is False


def test_the_form_is_varied(tab):
    values = filled(tab, training__max_steps=3)
    said = tab.queue._vary(values, asked(first="adapter.r", values="4, 8", second="training.seed", more="1,2"))
    assert 'class="notice good"' in said and "4 runs" in said
    found = tab._workbench.queue.read().entries
    assert [(e.config.adapter.r, e.config.training.seed) for e in found] == [(4, 1), (4, 2), (8, 1), (8, 2)]
    assert len({entry.group for entry in found}) == 1 and found[0].group
    for first, typed in (("adapter.rank", "4, 8"), ("adapter.r", "4"), ("adapter.r", "0, 4"), ("", "")):
        said = tab.queue._vary(values, asked(first=first, values=typed, second="", more=""))
        assert 'class="notice error"' in said and tab._workbench.queue.read().entries == found
    said = tab.queue._vary(
        filled(tab) | {tab._form.components["adapter.r"]: 0}, asked(first="a", values="", second="", more="")
    )
    assert "data-to-field" in said, "a wrong setting of the form leads to its field"


def test_its_buttons_move_drop_pause_and_close(tab):
    queue, panel = tab._workbench.queue, tab.queue
    ids = [queue.add([(name, CONFIG)])[0].id for name in "abc"]

    def press(ask: str, entry: str = "") -> str:
        said = panel._asked(asked(ask=ask, entry=entry))
        return said or "".join(e.name for e in queue.read().entries)

    assert press("up", ids[2]) == "acb" and press("up", ids[2]) == "cab" == press("up", ids[2])
    assert press("down", ids[2]) == "acb" and press("drop", ids[0]) == "cb"
    assert 'class="notice error"' in press("drop", ids[0]) and press("down", ids[0]) == "cb"
    press("pause")
    assert queue.read().is_paused and press("go-on") == "cb" and not queue.read().is_paused
    drawn = panel.live()
    assert panel.live() is drawn and lines(drawn[panel.list]["value"]) == [
        "c unknown time ↑ ↓ ✕",
        "b unknown time ↑ ↓ ✕",
    ]
    queue.file.drop([ids[1], ids[2]])
    queue.file.change(lambda now: replace(now, ended=("gone",)))
    assert "The queue is empty" in panel.live()[panel.list]["value"]
    press("forget")
    assert panel.live()[panel.list]["value"] == ""
    queue.file.path.write_text("{")
    assert 'class="notice error"' in panel.live()[panel.list]["value"] and "queue.json" in press("pause")


def test_visitors_have_no_queue(runs_dir, train_tab_of):
    visit = Visits(Workbench(runs_dir), OPEN).visit("ann")
    assert visit.rules and not hasattr(visit, "queue")
    with gr.Blocks() as page:
        tab = train_tab_of(visit, Form(CONFIG))
    assert tab.queue is None and not {"queue", "vary"} & {block.elem_id for block in page.blocks.values()}
    with visit.bench.desk.taken(TRAINING):
        assert tab.live()[tab.start] == {"interactive": False, "value": "Start training (a run is in progress)"}
        values = {component: update["value"] for component, update in tab._form.fill(CONFIG).items()}
        said = list(tab._start(values | {tab._token: "", tab._preset: ""}))
    assert 'class="notice error"' in said[-1] and not (runs_dir / "queue.json").exists()


def test_nothing_that_a_page_sends_sets_the_command(tab):
    """The handlers get what a button carries, whatever a client puts into it."""
    for ask in ("when_empty", "when-empty", "command", "pause", "go-on"):
        tab.queue._asked(asked(ask=ask, entry="touch /tmp/x", when_empty="touch /tmp/x", command="touch /tmp/x"))
    assert tab._workbench.queue.when_empty == ""
