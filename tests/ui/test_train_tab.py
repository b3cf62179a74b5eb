"""What the Train tab shows about a run: its checkpoints, what Resume does, and which checkpoint is the best."""

import re
from dataclasses import replace

import pytest

from core.memory.hardware import Machine, MemoryStats
from core.runs.events import (
    AdapterPushed,
    CheckpointSaved,
    Estimated,
    Evaluated,
    Finished,
    MemorySampled,
    Probed,
    Receipt,
    Resumed,
    StatusChanged,
    StepDone,
    Working,
)
from core.runs.overfitting import overfitting
from core.runs.run_folder import create_run
from core.runs.run_list import RunList
from core.runs.snapshot import Snapshot, fold, fold_all
from core.settings.run_config import RunConfig
from core.workbench.model_slot import ModelState
from core.workbench.workbench import Workbench
from ui.report.report import make_report
from ui.runs.compare_runs import results as compare_results
from ui.runs.run_view import head_text
from ui.runs.runs_table import Shown, table_text
from ui.shared.run_charts import charts
from ui.shared.settings_form import Form
from ui.sidebar import machine_text, run_text
from ui.terminal.progress import bar_of
from ui.train.run_figures import finished_text, memory_text, next_steps_text
from ui.train.run_state_text import (
    best_button,
    best_text,
    can_resume,
    checkpoints_text,
    line_text,
    progress_line,
    resume_text,
    state_text,
)

MEMORY = MemoryStats(total_gib=8, in_use_gib=2, available_gib=6, process_gib=1, peak_process_gib=1)


def run(status: str, steps: int = 0, kept: tuple[int, ...] = (), losses: tuple[float, ...] = ()) -> Snapshot:
    """A run of 160 steps that came so far; a check every 10 steps."""
    done = [
        StepDone(
            step=step, max_steps=160, epoch=0.1, loss=2 - step / 100, learning_rate=1e-4, tokens=step, elapsed=step
        )
        for step in range(1, steps + 1)
    ]
    checks = [Evaluated(step=10 * place, eval_loss=loss) for place, loss in enumerate(losses, 1)]
    saved = [CheckpointSaved(step=kept[-1], kept=kept)] if kept else []
    ended = StatusChanged(status=status, message="It ended.")
    return fold_all(
        Snapshot(run_id="r", name="yoda"), [StatusChanged(status="training"), *done, *checks, *saved, ended]
    )


@pytest.mark.parametrize(
    ("steps", "figures"),
    [
        ((40,), "1 40"),
        ((40, 80), "2 40 80"),
        ((40, 80, 1200), "3 40 80 1,200"),
        (tuple(range(1, 11)), "10 1 2 3 … 9 10"),
    ],
)
def test_checkpoints_are_counted_and_named(steps, figures):
    text = checkpoints_text(steps)
    assert re.findall(r"\d+(?:,\d{3})*|…", text) == figures.split()
    for status in ("training", "stopped"):
        assert state_text(run(status, 90, steps)).endswith(f'<p class="figures">{text}</p>')


def test_what_was_pushed_last_is_shown_or_why_it_was_not():
    url = "https://huggingface.co/ada/yoda"
    for status in ("training", "completed"):
        shown = fold(run(status, 90, (40, 80)), AdapterPushed(step=80, url=url))
        assert state_text(shown).endswith(f'<p class="figures">The checkpoint at step 80 is at {url}.</p>')
        shown = fold(shown, AdapterPushed(trouble="The <network> is gone."))
        assert state_text(shown).endswith('<p class="notice warning" role="status">The &lt;network&gt; is gone.</p>')
        assert "step 80 is at" not in state_text(shown)
        assert f"The adapter is at {url}." in state_text(fold(shown, AdapterPushed(url=url)))


def test_the_line_for_the_checkpoints_is_there_before_the_first_and_gone_when_none_came():
    assert '<p class="figures">No checkpoint yet.</p>' in state_text(run("training", 9))
    assert "checkpoint" not in state_text(run("completed", 9))


@pytest.mark.parametrize(
    ("snapshot", "figures"),
    [
        (run("interrupted", 55, (20, 40)), ["40", "160"]),
        (run("stopped", 55), []),  # there is no checkpoint: it starts over
        (run("failed"), []),
        (run("completed", 160, (160,)), None),
        (run("training", 50, (40,)), None),
        (None, None),
    ],
)
def test_resume_says_what_it_does_where_it_can(snapshot, figures):
    text = resume_text(snapshot)
    assert can_resume(snapshot) == bool(text) == (figures is not None)
    assert re.findall(r"\d+", text) == (figures or [])


BEST = run("completed", 50, (20, 50), (2.0, 1.0, 1.1, 1.2, 1.3))


def test_the_best_check_can_be_compared_with_when_its_checkpoint_is_kept():
    assert best_button(BEST, ModelState(), "") == {
        "visible": True, "interactive": True, "value": "Compare with the best checkpoint",
    }  # fmt: skip
    assert best_button(BEST, ModelState(), "a model is being loaded") == {
        "visible": True, "interactive": False, "value": "Compare with the best checkpoint (a model is being loaded)",
    }  # fmt: skip
    assert best_button(run("completed", 50, (50,), (2.0, 1.0, 1.1)), ModelState(), "")["visible"] is False
    assert best_button(None, ModelState(), "")["visible"] is False


def test_once_it_is_loaded_the_button_is_gone():
    loaded = ModelState(adapter="r", step=20)
    assert best_button(BEST, loaded, "")["visible"] is False
    assert re.match(r'<p class="notice good" role="status">[^<]*step 20 is loaded', best_text(BEST, loaded))
    for other in (ModelState(adapter="r", step=50), ModelState(adapter="q", step=20)):
        assert "is loaded" not in best_text(BEST, other) and best_button(BEST, other, "")["visible"] is True


def test_overfitting_is_shown_where_the_button_is():
    warning = overfitting(BEST)
    assert warning and best_text(BEST, ModelState()).endswith(f'<p class="notice warning" role="status">{warning}</p>')
    fine = run("completed", 30, (30,), (2.0, 1.0, 0.9))
    assert re.fullmatch(r"<p>[^<]*step 30[^<]*</p>", best_text(fine, ModelState()))
    assert best_text(run("completed", 30, (20,), (2.0, 1.0, 0.9)), ModelState()) == "", "its checkpoint is not there"


def test_a_resumed_run_keeps_what_was_done_before_its_checkpoint():
    receipt = Receipt(
        trainable_parameters=1, total_parameters=2, groups=(), precision="4-bit", optimizer="AdamW", max_steps=160,
        train_rows=9, validation_rows=1, trained_tokens_share=0.5,
    )  # fmt: skip
    after = StepDone(step=41, max_steps=160, epoch=0.3, loss=1.0, learning_rate=1e-4, tokens=41, elapsed=41)
    going_on = fold_all(
        run("interrupted", 55, (20, 40)), [Resumed(step=40), StatusChanged(status="training"), receipt, after]
    )
    assert [step.step for step in going_on.steps] == list(range(1, 42))
    assert "step 41 of 160" in state_text(going_on)


def test_the_same_state_is_not_drawn_again(tmp_path, train_tab_of):
    import gradio as gr

    workbench = Workbench(tmp_path)
    with gr.Blocks():
        tab = train_tab_of(workbench, Form(RunConfig()))
    shown = tab.live()
    assert tab.live() is shown
    workbench._slot.state = ModelState(doing="Loading")
    assert tab.live() is not shown


def test_a_warm_up_longer_than_the_run_is_told_before_start(tmp_path, train_tab_of):
    import gradio as gr

    from core.settings.presets import find_preset
    from core.settings.steps import warmup_warning

    config = find_preset("demo-yoda").config
    with gr.Blocks():
        form, token = Form(config), gr.Textbox()
        tab = train_tab_of(Workbench(tmp_path), form, token)
        form.add("model.model_name", "model.max_seq_length")
    for settings, said in ((["training.max_steps=1"], True), (["training.max_steps=10"], True), ([], False)):
        chosen = config.with_settings(settings)
        shown = {component: change["value"] for component, change in form.fill(chosen).items()}
        text = tab.fit._follow({**shown, tab.fit.card: "", token: ""})
        sentence = warmup_warning(chosen.training, chosen.training.max_steps)
        assert bool(sentence) == said and sentence in text and "Fits." in text


LAST = fold_all(run("training", 160), [StatusChanged(status="training")])


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "Finishing…"),
        ([Working(words="Measuring the base on the validation rows", done=12, total=64)],
         "Measuring the base on the validation rows, 12 of 64…"),
        ([Working(words="Saving the adapter")], "Saving the adapter…"),
        ([Working(words="Saving a checkpoint"), StatusChanged(status="stopping", message="Stopping")],
         "Stopping. Saving a checkpoint…"),
    ],
)  # fmt: skip
def test_after_the_last_step_it_says_what_it_does_and_how_far_it_is(events, words):
    snapshot = fold_all(LAST, events)
    for shown, end in ((state_text(snapshot), "</span></p>"), (run_text(snapshot), "</p>")):
        assert f">{words}{end}" in shown and "left" not in shown and ">training<" not in shown
        assert ('aria-valuenow="19"' in shown) == ("of 64" in words), "how far that is"
    assert "<span>step 160 of 160</span> · " in state_text(snapshot) and "tokens/s" not in state_text(snapshot)
    bar = bar_of(snapshot)
    assert bar["description"] == words.removesuffix("…").removesuffix(", 12 of 64") and "left" not in bar["time"]
    assert (bar["completed"], bar["total"]) == ((12, 64) if "of 64" in words else (160, 160))


def test_between_steps_and_before_the_first_it_says_what_it_does_too():
    checking = Working(words="Computing the loss on the validation rows", done=1, total=4)
    for steps in (0, 20):
        snapshot = fold_all(run("training", steps), [checking])
        assert "Computing the loss on the validation rows, 1 of 4…" in state_text(snapshot)
        assert 'aria-valuenow="25"' in run_text(snapshot)
    again = fold_all(run("training", 20), [checking, Working()])
    assert "2:20 left" in state_text(again) and "Computing" not in state_text(again) + run_text(again)
    assert bar_of(again) == {
        "completed": 20, "total": 160, "description": "It ended.", "time": "0:20 of training, 2:20 left",
    }  # fmt: skip


def test_a_run_in_progress_is_one_line_with_one_bar():
    assert "<span>step 20 of 160 · 2:20 left · 1 tokens/s</span></p>" in progress_line(run("training", 20))
    checking = fold(run("training", 20), Working(words="Computing the loss on the validation rows", done=1, total=4))
    for snapshot, share, words in (
        (run("training", 20), 12, "step 20 of 160 · 2:20 left"),
        (checking, 12, "step 20 of 160</span> · "),  # the steps' bar stays while something is done between them
        (Snapshot(status="preparing", message="Loading the model"), 0, ">Loading the model…<"),
        (Snapshot(status="training"), 0, ">The first step is running…<"),
        (Snapshot(status="preparing", message="Free some space", is_paused=True), 0, '<p class="figures"></p>'),
    ):
        text = progress_line(snapshot)
        assert re.findall(r'aria-valuenow="(\d+)"', text) == [str(share)] and words in text


@pytest.mark.parametrize("status", ["training", "stopping", "completed"])
def test_the_line_of_a_run_has_the_buttons_that_it_needs(status):
    text = line_text(run(status, 9), "Demo <Llama>")
    assert "<p>Demo &lt;Llama&gt;</p>" in text
    words = {"training": ["Settings", "Settings", "Stop"], "stopping": ["Settings", "Settings", "Stopping…"]}
    assert re.findall(r"<button[^>]*>([^<]*)<", text) == words.get(status, ["New run"])
    assert ("disabled" in text) == (status == "stopping") and line_text(None, "") == ""


def test_an_ended_run_leads_on_if_something_of_it_was_kept(runs_dir):
    made = create_run(runs_dir, "yoda", RunConfig())
    assert next_steps_text(made, run("failed", 9)) == next_steps_text(made, run("training", 50, (40,))) == ""
    asks = re.compile(r'data-ask="(\w+)" data-run="([^"]*)"(?: data-step="(\d*)")?')
    of_checkpoint = next_steps_text(made, run("failed", 50, (20, 40)))
    assert asks.findall(of_checkpoint) == [("compare", made.id, "40"), ("export", made.id, "40")]
    made.adapter_dir.mkdir()
    (made.adapter_dir / "adapter_config.json").write_text("{}")
    (made.adapter_dir / "adapter_model.safetensors").write_bytes(b"")
    assert made.has_adapter
    of_adapter = next_steps_text(made, run("completed", 50, (20, 40)))
    assert asks.findall(of_adapter) == [(ask, made.id, "") for ask in ("compare", "measure", "export")]


def test_the_time_of_a_run_reads_the_same_everywhere(runs_dir):
    """Training ends at 7:25; its last step was done at 7:18."""
    made = create_run(runs_dir, "yoda", RunConfig())
    step = StepDone(step=60, max_steps=60, epoch=1, loss=1, learning_rate=1e-4, tokens=9, elapsed=438.2)
    done = Finished(
        steps=60, runtime_s=445.2, tokens_per_s=9, peak_memory_gib=1, peak_memory_for_training_gib=1,
        total_memory_gib=8,
    )  # fmt: skip
    for event in (StatusChanged(status="training"), step, done, StatusChanged(status="completed", message="Finished.")):
        made.append(event)
    row = RunList(runs_dir).find(made.id)
    table = table_text([row], 1, Shown())
    results = dict(compare_results([row, replace(row, seconds=1.0)], [made.snapshot()] * 2))
    texts = [finished_text(made.snapshot()), head_text(row), table, make_report(made), results["Time"][0]]
    for text in texts:
        assert "7:25" in text and "7:18" not in text and "7.42" not in text and "445" not in text


def test_the_estimate_of_a_run_is_one_figure_after_a_probe_too(runs_dir):
    sampled = [MemorySampled(time=t, used_by_us_gib=5, in_use_gib=5, total_gib=8, available_gib=3) for t in (1.0, 2.0)]
    told = Estimated(total_gib=6, comparable_gib=5.5, before_probe_gib=4.5, parts={})
    done = Finished(
        steps=1, runtime_s=1, tokens_per_s=9, peak_memory_gib=5, peak_memory_for_training_gib=1, total_memory_gib=8
    )
    for measured, name in (([Probed(peak_gib=5.5, seconds_per_step=1)], "probe"), ([], "corrected by a probe")):
        running = fold_all(Snapshot(status="training"), [told, *measured, *sampled])
        assert running.expected_gib == {"estimate": 4.5, name: 5.5}
        drawn = charts(running)
        assert "estimate <b>4.5</b>" in drawn and f"{name} <b>5.5</b>" in drawn
        side = machine_text(Machine(name="x", is_gpu=False, total_gib=8), MEMORY, running)
        assert "<dt>run, estimated</dt><dd>4.50 GiB</dd>" in side and "5.50 GiB" in side
        row = memory_text(fold(running, done))
        assert row.startswith("estimated 4.50 GiB · ") and "5.50 GiB" in row and "10% low" in row
