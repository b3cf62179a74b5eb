"""The Runs tab's HTML and handlers, from real run folders, without a browser."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import gradio as gr
import pytest

from core.runs.events import Evaluated, Finished, StatusChanged, StepDone
from core.runs.overview import Overview
from core.runs.run_folder import create_run
from core.runs.run_list import RunList
from core.runs.trash import Deleted
from core.settings.presets import delete_preset, save_preset
from core.settings.run_config import RunConfig, fields
from core.workbench.workbench import Workbench
from tests.runs.test_run_list import make_run, step
from ui.runs.compare_runs import differences, losses_text, results, tables_text
from ui.runs.run_view import course_text, head_text, kept_text, log_text
from ui.runs.runs_tab import RunsTab
from ui.runs.runs_table import Shown, chosen_text, labels, table_text, trash_text, undo_text, visible
from ui.shared.formatting import data_name, disk, run_label
from ui.shared.settings_form import Form

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onmouseover='alert(1)' ]]>--><b>"


class Tags(HTMLParser):
    """The elements and attributes that a browser would see."""

    def __init__(self, text: str):
        super().__init__()
        self.names, self.attributes, self.said = set(), set(), ""
        self.feed(str(text))  # not as Markup, which would escape what is added to it

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.said += data


def row(run_id="20260101-000000-a", **values) -> Overview:
    return Overview(**{"id": run_id, "folder": None, "name": "a", "started": 0.0} | values)


def cells(text: str) -> list[list[str]]:
    """The words in each row of a table."""
    rows = re.findall(r"<tr.*?</tr>", text, re.DOTALL)
    return [[Tags(cell).said for cell in re.findall(r"<t[dh][ >].*?</t[dh]>", row, re.DOTALL)] for row in rows]


def test_a_row_shows_what_is_known():
    done = row(
        name="yoda", status="completed", best_loss=1.25, best_step=40, last_loss=1.5, step=60, steps=60, seconds=75.0,
        peak_gib=2.5, model="unsloth/Llama", data="a/b/rows.csv\nmore.csv", note="warm",
    )  # fmt: skip
    table = cells(table_text([done], 1, Shown()))
    assert table[0] == [
        "Compare", "Name", "Status", "Date ▾", "Best loss", "Last loss", "Steps", "Time", "Peak memory",
        "Model", "Dataset", "Note",
    ]  # fmt: skip
    date = table[1].pop(3)
    assert re.fullmatch(r"\d+ \w{3} (1970|1969) \d\d:\d\d", date)
    assert table[1] == [
        "", "yoda", "completed", "1.2500 step 40", "1.5000", "60", "1:15", "2.50 GiB", "Llama",
        "rows.csv + 1 more", "warm",
    ]  # fmt: skip
    bare = cells(table_text([row(status="interrupted", step=12, steps=60)], 1, Shown()))[1]
    assert bare[4:] == ["–", "–", "12 of 60", "–", "–", "", "", ""]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("presets/data/yoda.jsonl", "yoda.jsonl"),
        ("C:\\rows\\a.csv", "a.csv"),
        ("owner/name", "owner/name"),
        ("/home/rows", "rows"),
        ("", ""),
    ],
)
def test_data_is_named_by_its_last_part(path, name):
    assert data_name(path) == name


def test_nothing_a_person_wrote_becomes_html(tmp_path):
    hurt = row(
        HOSTILE,
        name=HOSTILE,
        note=HOSTILE,
        model=HOSTILE,
        data=HOSTILE,
        message=HOSTILE,
        fault=HOSTILE,
        status="failed",
    )
    run = create_run(tmp_path / "runs", HOSTILE, RunConfig())
    (run.folder / "log.txt").write_text(HOSTILE)
    config = RunConfig().with_settings(["data.prompt_template='<img src=x onerror=1>{text}'"])
    texts = [
        table_text([hurt], 1, Shown(opened=HOSTILE, chosen=(HOSTILE,))),
        head_text(hurt),
        kept_text(run, run.snapshot()),
        log_text(run),
        chosen_text((hurt,), (HOSTILE,)),
        trash_text([Deleted(HOSTILE, HOSTILE, HOSTILE, 5)], False),
        undo_text(Deleted(HOSTILE, HOSTILE, HOSTILE, 5)),
        losses_text([hurt, row()], [run.snapshot()] * 2, "step"),
        tables_text([hurt, row()], [run.snapshot()] * 2, [config, RunConfig()]),
    ]
    for text in texts:
        tags = Tags(text)
        assert not tags.names & {"script", "img", "b "} and not {a for a in tags.attributes if a.startswith("on")}, text
    assert HOSTILE in Tags(texts[0]).said and HOSTILE in Tags(texts[3]).said


def test_only_so_many_rows_are_sent():
    many = [row(f"20260101-{number:06}-a") for number in range(1000)]
    text = table_text(many, 1000, Shown())
    assert text.count("<tr data-ask") == 50 and "1,000 runs" in text and "50 more</button>" in text
    assert len(text.encode()) < 60_000
    assert table_text(many[:60], 1000, Shown(most=100)).count("<tr data-ask") == 60
    assert "60 of 1,000 runs" in table_text(many[:60], 1000, Shown())


def test_what_changes_with_every_step_does_not_change_the_table():
    going = row(status="training", is_going_on=True, step=3, steps=60, seconds=3.0, peak_gib=1.0, last_loss=2.0)
    later = replace(going, step=4, seconds=4.0, peak_gib=2.0)
    assert visible((going,)) == visible((later,))
    assert table_text([going], 1, Shown()) == table_text([later], 1, Shown())
    for change in ({"last_loss": 1.0}, {"status": "stopping"}, {"note": "x"}, {"name": "x"}, {"fault": "x."}):
        assert visible((going,)) != visible((replace(going, **change),)), change


def test_labels_tell_runs_apart():
    one, two, other = row("x-1", started=0.0), row("x-2", started=90_000.0), row("x-3", name="b")
    assert labels([one, other]) == ["a", "b"]
    first, second, third = labels([one, two, other])
    assert first != second and first.startswith("a, ") and third == "b"
    assert labels([one, replace(two, started=0.0)]) == ["x-1", "x-2"]


def test_just_the_settings_that_differ():
    one = RunConfig().with_settings(["adapter.r=8", "training.learning_rate=2e-4"])
    two = RunConfig().with_settings(
        ["adapter.r=32", "adapter.target_modules=[q_proj, v_proj]", "training.learning_rate=2e-4"]
    )
    every = "q_proj\nk_proj\nv_proj\no_proj\ngate_proj\nup_proj\ndown_proj"
    assert differences([one, two]) == [("Rank", ["8", "32"]), ("Adapted layers", [every, "q_proj\nv_proj"])]
    assert differences([one, None, two])[0] == ("Rank", ["8", "–", "32"])
    assert differences([one, one]) == differences([None, None]) == []


def test_just_the_results_that_differ(runs_dir):
    runs = RunList(runs_dir, 0)
    make_run(runs_dir, "a", losses=(3.0, 2.0))
    make_run(runs_dir, "b", losses=(3.0, 1.0), status="stopped")
    rows = sorted(runs.rows(), key=lambda row: row.name)
    snapshots = [runs.open(row.id).snapshot() for row in rows]
    assert results(rows, snapshots) == [
        ("Status", ["completed", "stopped"]),
        ("Best validation loss", ["2.0000", "1.0000"]),
    ]


def test_the_chart_of_several_runs_goes_over_steps_tokens_or_time(runs_dir):
    runs = RunList(runs_dir, 0)
    make_run(runs_dir, "a")
    make_run(runs_dir, "b")
    rows = list(runs.rows())
    snapshots = [runs.open(row.id).snapshot() for row in rows]
    for over in ("step", "tokens", "time"):
        text = losses_text(rows, snapshots, over)
        assert text.count("<polyline") == 2 and 'class="run run-1"' in text and 'class="run run-2"' in text


def test_a_log_that_is_too_long_is_shown_from_its_end(runs_dir):
    run = make_run(runs_dir)
    assert log_text(run) == ""
    (run.folder / "log.txt").write_text("first\n" + "x" * 50_000 + "\nOutOfMemoryError")
    text = log_text(run)
    assert "OutOfMemoryError" in text and "first" not in text and "20,000 bytes" in text


def test_the_best_checkpoint_is_marked(runs_dir):
    run = make_run(runs_dir)
    for number, eval_loss in ((1, 3.0), (2, 2.0), (3, None)):
        folder = run.checkpoints_dir / f"step-{number}"
        folder.mkdir(parents=True)
        (folder / "progress.json").write_text(
            f'{{"step": {number}, "eval_loss": {"null" if eval_loss is None else eval_loss}}}'
        )
    table = cells(kept_text(run, run.snapshot()))
    assert [line[:2] for line in table[1:]] == [
        ["checkpoint at step 3", "2.5000"],
        ["checkpoint at step 2 best", "2.0000"],
        ["checkpoint at step 1", "3.0000"],
    ]


def test_sizes_as_disks_are_sold():
    assert [disk(size) for size in (1, 2500, 3_400_000, 1_234_567_890)] == ["1 kB", "2 kB", "3.4 MB", "1.23 GB"]


class Asked:
    """What a press of a button in a table brings."""

    def __init__(self, ask: str, **about):
        self.ask = ask
        self.__dict__ |= about


@pytest.fixture
def tab(runs_dir):
    workbench = Workbench(runs_dir)
    form = Form(RunConfig())
    with gr.Blocks(), gr.Tabs() as tabs, gr.Tab("Runs") as place:
        form.add(*fields())
        made = RunsTab(
            workbench, RunList(runs_dir, 0), form, gr.Dropdown([("Yoda", "demo")]), gr.Textbox(), place, tabs
        )
        made.connect()
    return made


def test_the_run_that_is_going_on_cannot_be_deleted(tab, runs_dir):
    run = make_run(runs_dir, status="", figures=False)
    answer = tab._delete(Shown(opened=run.id), "step")
    assert list(answer) == [tab.opened.trouble] and 'class="notice error"' in answer[tab.opened.trouble]
    assert run.folder.is_dir()
    run.append(StatusChanged(status="completed"))
    tab._runs.rows(fresh=True)
    asked = tab._ask_to_delete(Shown(opened=run.id))
    assert f"<b>Move {run_label(run.id, run.name)} to the trash?</b>" in asked and run.folder.is_dir()
    answer = tab._delete(Shown(opened=run.id, chosen=(run.id,)), "step")
    assert 'data-ask="put-back"' in answer[tab.said] and "demo" in answer[tab.said] and not run.folder.exists()
    assert answer[tab.shown] == Shown()


def test_a_change_counts_once_and_a_step_is_not_one(tab, runs_dir):
    quiet = tab.live()
    assert tab.live() == quiet
    run = make_run(runs_dir, status="", figures=False)
    begun = tab.live()
    assert begun != quiet
    run.append(step(4))
    assert tab.live() == begun
    run.append(Evaluated(step=4, eval_loss=0.5))
    checked = tab.live()
    assert checked != begun
    tab._runs.describe(run.id, "other", "")
    assert tab.live() != checked


def test_a_change_elsewhere_leaves_what_is_being_written_alone(tab, runs_dir):
    run = make_run(runs_dir)
    opened = tab._answer(Shown(), "step", Asked("open", run=run.id))
    assert (opened[tab.opened.name], opened[tab.opened.note]) == ("demo", "")
    again = tab._refresh(Shown(opened=run.id), "step")
    written = {tab.opened.name, tab.opened.note, tab.opened.trouble}
    assert tab.opened.head in again and not written & set(again)


def test_continuing_training_sets_the_form(tab, runs_dir):
    run = make_run(runs_dir)
    run.write_about(preset=save_preset(runs_dir, "My own", RunConfig()).name)
    folder = run.checkpoints_dir / "step-2"
    folder.mkdir(parents=True)
    (folder / "progress.json").write_text('{"step": 2}')
    answer = tab.opened._use("", Asked("train-on", run=run.id, step="2"))
    assert answer[tab.opened._form.components["adapter.continue_from"]]["value"] == f"{run.id}/checkpoints/step-2"
    assert answer[tab.opened._form.components["data.path"]]["value"] == "some/rows.csv"
    assert answer[tab.opened._preset] == "my-own"
    delete_preset(runs_dir, "my-own")
    answer = tab.opened._use("", Asked("train-on", run=run.id, step=""))
    assert answer[tab.opened._form.components["adapter.continue_from"]]["value"] == run.id
    assert answer[tab.opened._preset] == gr.skip()
    answer = tab.opened._use("", Asked("train-on", run=run.id, step="7"))
    assert list(answer) == [tab.opened.trouble] and 'class="notice error"' in answer[tab.opened.trouble]


@pytest.mark.parametrize("ask", ["open", "choose"])
def test_a_run_that_is_gone_is_an_error(tab, ask):
    answer = tab._answer(Shown(), "step", Asked(ask, run="../../etc"))
    assert 'class="notice error"' in answer[tab.said] and "../../etc" in answer[tab.said]


def test_at_most_six_are_compared(tab, runs_dir):
    shown = Shown()
    for number in range(7):
        answer = tab._answer(shown, "step", Asked("choose", run=make_run(runs_dir, f"r{number}").id))
        shown = answer[tab.shown]
    assert len(shown.chosen) == 6 and 'class="notice warning"' in answer[tab.said]
    assert answer[tab.losses].count("<polyline") == 6
    one = tab._answer(replace(shown, chosen=shown.chosen[:2]), "step", Asked("choose", run=shown.chosen[0]))
    assert one[tab.comparing]["visible"] is False


@pytest.mark.parametrize(
    "line", ['{"type": "step"}', "[1]", "x" * 10_000, '{"type": "step", "step": 1e400}', "[" * 100_000]
)
def test_a_damaged_run_can_be_opened(tab, runs_dir, line):
    run = make_run(runs_dir)
    (run.folder / "events.jsonl").write_text(line + "\n" + (run.folder / "events.jsonl").read_text())
    (run.folder / "config.yaml").unlink()
    answer = tab._answer(Shown(), "step", Asked("open", run=run.id))
    said = Tags(answer[tab.opened.head]).said
    assert "config.yaml" in said and "history" in said and 'class="notice warning"' in answer[tab.opened.head]
    assert "<polyline" in answer[tab.opened.course]


def test_the_largest_figures_that_an_event_may_have_do_no_harm(tab, runs_dir):
    run = create_run(runs_dir, "huge", RunConfig())
    run.append(StatusChanged(time=1e11, status="training"))
    big, long = 2**53, 1e12
    run.append(StepDone(step=big, max_steps=big, epoch=1, loss=1e300, learning_rate=1e300, tokens=big, elapsed=long))
    run.append(StepDone(step=1, max_steps=0, epoch=1, loss=float("nan"), learning_rate=0, tokens=0, elapsed=0))
    run.append(Evaluated(step=big, eval_loss=3e38))
    run.append(Evaluated(step=1, eval_loss=-1e300))
    run.append(
        Finished(
            steps=1,
            runtime_s=long,
            tokens_per_s=long,
            peak_memory_gib=long,
            peak_memory_for_training_gib=0,
            total_memory_gib=1,
        )
    )
    run.append(StatusChanged(status="completed"))
    answer = tab._answer(Shown(), "step", Asked("open", run=run.id))
    assert "huge" in answer[tab.opened.head]
    assert "<polyline" in course_text(run.snapshot())
