"""What was said of an earlier file, run, preset, probe or name goes once it is not so any more."""

from dataclasses import replace

import gradio as gr
import pytest

from core.answering.sampling import Sampling
from core.comparing.conversation import Conversation
from core.memory.cards import this_machine
from core.memory.estimate import estimate
from core.memory.hardware import Machine
from core.memory.model_shape import shape_of
from core.memory.probe_record import ProbeRecord, memory_settings
from core.model.loaded_model import ModelReport
from core.runs.adapter_ref import BASE, Pane
from core.runs.events import StatusChanged, StepDone
from core.runs.run_folder import create_run
from core.settings.presets import DEMO as DEMO_PRESET
from core.settings.presets import DEMO_TIME, list_presets
from core.settings.run_config import RunConfig, fields
from core.training.largest_batch import BatchFound
from core.visitors.policy import OPEN
from core.visitors.visits import Visits
from core.workbench.model_slot import ModelState
from core.workbench.probe_job import Probing
from core.workbench.workbench import Workbench
from ui.compare.chat_tab import CompareTab
from ui.compare.pane_picker import PanePicker
from ui.model.model_tab import ModelTab
from ui.model.welcome import Welcome
from ui.runs.runs_table import Shown, table_text
from ui.shared.formatting import run_label
from ui.shared.run_names import RunNames
from ui.shared.settings_form import Form
from ui.sidebar import model_text, run_text
from ui.train.fit_form import FitForm
from ui.train.fit_view import probing_text

REPORT = ModelReport(
    name="presets/demo-llama", parameters=10, linear_layers=2, linear_layers_4bit=2, tied_embeddings=True,
    has_chat_template=True, dtype="float32", device="cpu", max_seq_length=64, memory_gib=0.1, seconds=75.2,
)  # fmt: skip
DEMO = next(preset.config for preset in list_presets() if preset.name == "demo-yoda")


def ended(runs_dir, status: str = "failed"):
    run = create_run(runs_dir, "", DEMO, preset="demo-yoda")
    run.append(StatusChanged(status=status, message="It ended."))
    return run


@pytest.fixture
def train_tab(runs_dir, train_tab_of):
    run = ended(runs_dir)
    with gr.Blocks():
        tab = train_tab_of(Workbench(runs_dir), Form(RunConfig()))
    return tab, run


def test_a_run_that_is_over_stays_under_its_own_preset_only(train_tab):
    tab, run = train_tab
    assert tab._other_preset("demo-yoda") == (gr.update(visible=True), gr.update(visible=True), "")
    *hidden, words = tab._other_preset("llama-3.1-8b")
    assert hidden == [gr.update(visible=False)] * 2
    assert run_label(run.id, "Demo Llama · yoda.jsonl · 160 steps") in words
    assert "failed" in words and "Runs tab" in words and "error" not in words
    tab._workbench.runs.describe(run.id, "renamed", "")
    tab._workbench.runs.rows(fresh=True)
    assert tab._other_preset("demo-yoda")[0] == gr.update(visible=True)
    assert "renamed, " in tab._other_preset("other")[-1]


def test_the_first_screen_goes_once_there_is_a_run(runs_dir):
    house = Visits(Workbench(runs_dir), OPEN)
    for bench, words in ((house.bench, ("on this computer", "no graphics card")), (house.visit("ann"), ("your turn",))):
        with gr.Blocks():
            welcome = Welcome(bench, Form(RunConfig()))
        shown = welcome.live()[welcome.ways]["value"]
        assert shown == welcome.ways.value and shown.count("data-ask=") == 3
        assert DEMO_TIME in shown and all(word in shown for word in words)
    ended(runs_dir)
    house.bench.runs.rows(fresh=True)
    with gr.Blocks():
        owner_s, ann_s = Welcome(house.bench, Form(RunConfig())), Welcome(house.visit("ann"), Form(RunConfig()))
    left = owner_s.live()[owner_s.ways]["value"]
    assert left == owner_s.ways.value and left.count("data-ask=") == 1 and 'data-ask="fit"' in left
    assert ann_s.live()[ann_s.ways]["value"] == ann_s.ways.value != "", "it is another's run"


def test_a_demo_that_cannot_start_says_so_where_it_would_be_started(runs_dir):
    workbench, form = Workbench(runs_dir), Form(RunConfig())
    with gr.Blocks():
        tabs = gr.Tabs()
        welcome, preset, trouble = Welcome(workbench, form), gr.Dropdown(), gr.HTML()
        form.add("training.max_steps")
        welcome.connect(preset, gr.Textbox(), tabs, trouble)
    with workbench.desk.taken("another model is being loaded"):
        answer = welcome._lead("", gr.EventData(None, {"ask": "demo"}))
    assert "This must wait: another model is being loaded" in answer[trouble] and workbench.runs.rows(fresh=True) == ()
    assert answer[preset] == DEMO_PRESET and answer[form.components["training.max_steps"]]["value"] == 160
    assert answer[tabs].selected == "train" and welcome.ways not in answer


def test_a_run_in_progress_is_shown_under_every_preset(runs_dir, train_tab_of):
    run = create_run(runs_dir, "demo-yoda", RunConfig())
    run.append(StatusChanged(status="training"))
    with gr.Blocks():
        tab = train_tab_of(Workbench(runs_dir), Form(RunConfig()))
    before = tab.live()[tab.shown_run]
    assert tab._other_preset("other") == (gr.update(visible=True), gr.update(visible=True), "")
    run.append(StatusChanged(status="completed"))
    tab._workbench.runs.rows(fresh=True)
    assert tab.live()[tab.shown_run] != before, "and a page is told that it has ended"


def test_a_new_name_reaches_the_sidebar_and_every_label(runs_dir):
    run = ended(runs_dir, "completed")
    workbench = Workbench(runs_dir)
    names, state = RunNames(workbench.runs), ModelState(report=REPORT, adapter=run.id)
    name = "Demo Llama · yoda.jsonl · 160 steps"
    assert f"<b>{name}</b>" in run_text(workbench.snapshot) and names.run(run.id) == run_label(run.id, name)
    workbench.runs.describe(run.id, "Best 한글 😀", "")
    workbench.runs.rows(fresh=True)
    shown = workbench.snapshot
    assert "<b>Best 한글 😀</b>" in run_text(shown) and shown.name == "Best 한글 😀"
    assert workbench.snapshot is shown, "drawn once, not once a second"
    date = run_label(run.id).rpartition(", ")[2]
    assert names.run(run.id) == f"Best 한글 😀, {date}"
    assert names.pane(Pane(run.id, 1200)) == f"Best 한글 😀, {date}, step 1,200"
    assert f"adapter: Best 한글 😀, {date}" in model_text(state, workbench)
    assert names.run("20251122-094948-other") == "other, 22 Nov 09:49"
    run.append(StepDone(step=1, max_steps=160, epoch=0.1, loss=2.0, learning_rate=1e-3, tokens=9, elapsed=0.5))
    workbench.runs.rows(fresh=True)
    assert names.run(run.id) == f"Best 한글 😀 · yoda.jsonl, {date}", "of a name that does not say it, the rows"
    workbench.runs.describe(run.id, "yoda.jsonl, second try", "")
    workbench.runs.rows(fresh=True)
    assert names.run(run.id) == f"yoda.jsonl, second try, {date}"


def test_a_new_name_of_another_program_s_run_is_followed(runs_dir):
    run = create_run(runs_dir, "demo-yoda", RunConfig())
    run.append(StatusChanged(status="training"))
    workbench = Workbench(runs_dir)
    assert workbench.snapshot.name == "demo-yoda"
    workbench.runs.describe(run.id, "mine", "")
    workbench.runs.rows(fresh=True)
    assert workbench.snapshot.name == "mine" and workbench.snapshot is workbench.snapshot


def test_no_raw_id_is_chosen_for_a_run_that_has_no_adapter_yet(runs_dir):
    run = create_run(runs_dir, "demo-yoda", RunConfig())
    run.append(StatusChanged(status="training"))
    workbench = Workbench(runs_dir)
    with gr.Blocks():
        picker = PanePicker(workbench)
    workbench._slot.state = ModelState(report=REPORT, adapter=run.id)  # as while the run is in progress
    assert picker.live()[picker.loaded] == {"value": "base"}
    left, right, third = picker.panes_for("base", "base", run.id, "")
    assert (left["value"], right["value"], third["value"]) == ("base", "", "") and left["choices"] == [("Base", "base")]


def test_the_steps_of_a_run_in_progress_are_a_whole_phrase(runs_dir):
    run = create_run(runs_dir, "demo-yoda", RunConfig())
    run.append(StatusChanged(status="training"))
    workbench = Workbench(runs_dir)
    (row,) = workbench.runs.rows()
    table = table_text([replace(row, step=7, steps=1600)], 1, Shown())
    assert "<td>1,600 planned</td>" in table and "of 1,600" not in table


def test_no_model_is_called_loaded_in_green_below_the_error_of_another(runs_dir):
    workbench = Workbench(runs_dir)
    with gr.Blocks():
        form = Form(RunConfig())
        tab = ModelTab(workbench, form, {preset.name: preset for preset in list_presets()}, "demo-yoda")
    workbench._slot.state = ModelState(report=REPORT)
    loaded = tab.live()
    assert 'class="notice good"' in loaded[tab.state]["value"] and "in 75 s." in loaded[tab.state]["value"]
    workbench._slot.state = ModelState(report=REPORT, error="There is no folder ./nowhere.")
    left = tab.live()
    assert 'class="notice good"' not in left[tab.state]["value"]
    assert "presets/demo-llama is still loaded" in left[tab.state]["value"] and "<dl" in left[tab.state]["value"]
    assert left[tab.loaded] == loaded[tab.loaded], "the same model: the error stays until something is changed"
    workbench._slot.state = ModelState(doing="Loading the weights")
    assert tab.live()[tab.loaded] == {}
    assert "Korean" in tab.presets.about_text("korean-cpt")


# Probes


def record(config: RunConfig, steps: int = 0) -> ProbeRecord:
    machine = Machine(name="x", is_gpu=False, total_gib=8)
    sized = estimate(config, shape_of(config.model, fetch=False), this_machine(machine), longest=64)
    return ProbeRecord(
        machine="x", total_gib=8, model=config.model.base, settings=memory_settings(config), length=64,
        estimate=sized, peak_gib=0.75, seconds_per_step=2.0, steps=steps,
    )  # fmt: skip


@pytest.fixture
def fit(runs_dir):
    with gr.Blocks():
        form = Form(DEMO)
        fit = FitForm(Workbench(runs_dir), form, gr.Textbox(), gr.HTML())
        form.add(*(name for name in fields() if name not in form.components))
    return fit


@pytest.mark.parametrize(
    ("setting", "is_of"),
    [
        ("adapter.r=8", False),
        ("model.max_seq_length=128", False),
        ("training.per_device_train_batch_size=1", False),
        ("training.learning_rate=1e-5", True),
        ("training.max_steps=7", True),
    ],
)
def test_what_a_probe_measured_goes_with_other_settings(fit, setting, is_of):
    fit._workbench._prober._job.state = Probing(record=record(DEMO, 60), asked=DEMO)
    shown = fit._measured_for(DEMO.with_settings([setting]))
    assert ("peak memory" in shown) == is_of and ("for other settings" in shown) != is_of
    assert ('class="notice good"' in shown) == is_of
    failed = Probing(error="The card's memory is full.", asked=DEMO)
    fit._workbench._prober._job.state = failed
    assert ("memory is full" in fit._measured_for(DEMO.with_settings([setting]))) == is_of
    assert failed.is_of(DEMO) and Probing().is_of(DEMO)


def test_the_time_of_a_run_follows_the_form_and_not_the_rows_of_the_probe(fit):
    fit._workbench._prober._job.state = Probing(record=record(DEMO, 60), asked=DEMO)
    assert "The run of 90 steps would take 3:00" in fit._measured_for(DEMO.with_settings(["training.max_steps=90"]))
    epochs = DEMO.with_settings(["training.max_steps=-1", "data.path=other.jsonl"])
    shown = fit._measured_for(epochs)
    assert "60 steps" not in shown and "check all rows" in shown


def test_a_batch_that_was_found_stays_when_it_is_taken(fit):
    found = BatchFound(batch=8, accumulation=1, tried=((8, 0.75),), headroom=0.1)
    state = Probing(record=record(DEMO), found=found, asked=DEMO)
    fit._workbench._prober._job.state = state
    taken = ["training.per_device_train_batch_size=8", "training.gradient_accumulation_steps=1"]
    assert "Use batch 8" in fit._measured_for(DEMO.with_settings(taken))
    assert "Use batch 8" not in fit._measured_for(DEMO.with_settings([*taken, "adapter.r=4"]))
    assert "Use batch 8" in probing_text(state) and fit.live()[fit.doing] == {"value": ""}
    before = fit.live()[fit.known]
    fit._workbench._prober._job.state = replace(state, found=None)
    assert fit.live()[fit.known] != before, "and pages are told to draw it anew"


def test_a_conversation_is_drawn_under_the_new_name(runs_dir):
    run = ended(runs_dir, "completed")
    workbench = Workbench(runs_dir)
    with gr.Blocks():
        tab = CompareTab(workbench, gr.Textbox())
    before = tab.live()[tab.names]
    workbench.runs.describe(run.id, "Best", "")
    assert tab.live()[tab.names] != before
    asked = Conversation((BASE, Pane(run.id))).asked("?", "", Sampling())
    values = {tab.conversation: asked, tab.differ: False}
    assert "<h3>Best, " in tab._renamed(values)[tab.panes]
    chosen = dict(zip(tab.picker.choices, ("base", run.id, ""), strict=True))
    assert "<h3>Best, " in tab._renamed(values | chosen | {tab.conversation: Conversation()})[tab.panes]


def test_a_probe_s_error_is_shown_where_there_is_no_estimate_either(fit):
    values = {component: component.value for component in fit._form.components.values()}
    values |= {fit.card: "", fit._token: "", fit._form.components["model.model_name"]: "./nowhere"}
    config = fit._form.read(values)
    fit._workbench._prober._job.state = Probing(error="There is no such model.", asked=config)
    estimated, measured, *_ = fit._changed(values)
    assert 'class="notice warning"' in estimated and "There is no such model." in measured


def test_the_headroom_is_shown_with_an_automatic_batch_or_while_it_is_wrong(fit):
    batch, headroom = (
        fit._form.components[f"training.{name}"] for name in ("per_device_train_batch_size", "auto_batch_headroom")
    )
    values = {component: component.value for component in fit._form.components.values()}
    values |= {fit.card: "", fit._token: ""}
    assert fit.headroom.visible is False
    for changed, is_shown in (
        ({batch: "2"}, False), ({batch: "auto"}, True), ({batch: " AUTO"}, True), ({batch: None}, False),
        ({batch: "2", headroom: 1}, True),
    ):  # fmt: skip
        assert fit._changed(values | changed)[2] == gr.update(visible=is_shown), changed


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ("", "this machine"), (None, "this machine"), ("RTX 4070 Laptop 8GB", "RTX 4070 Laptop 8GB"),
        ("3060", "RTX 3060 12GB"), ("10 GB", "a card of 10GB"), ("On RTX 3060 12GB", "RTX 3060 12GB"),
        ("On RTX 3090", "RTX 3090 24GB"),
    ],
)  # fmt: skip
def test_a_card_is_chosen_or_typed(fit, chosen, name):
    assert fit._card(chosen).name == name
    assert fit._card(fit.card.choices[0][0]).name == "this machine"


def test_a_card_that_nobody_knows_is_refused_where_the_estimate_would_be(fit):
    values = {component: component.value for component in fit._form.components.values()}
    text = fit._follow(values | {fit.card: "Voodoo 2", fit._token: ""})
    assert 'class="notice warning"' in text and "Voodoo 2" in text
