"""Whatever text a view of the Model, Data, Train and Runs tabs is given comes out escaped."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import Markup

from core.data.columns.shape import Shape
from core.data.prepared.left_out import LeftOut, LeftOutRow
from core.data.prepared.row_view import RowView, Token
from core.data.prepared.survey import Survey
from core.memory.cards import Card
from core.memory.parts import PARTS, Estimate
from core.memory.probe_record import ProbeRecord
from core.memory.suggestions import Suggestion
from core.model.loaded_model import ModelReport
from core.runs.events import (
    Change,
    EmbeddingsReceipt,
    Evaluated,
    Finished,
    HeldOut,
    LearningGroup,
    Receipt,
    Sampled,
    StepDone,
)
from core.runs.overview import Overview
from core.runs.run_folder import Run, create_run
from core.runs.snapshot import Snapshot
from core.runs.trash import Deleted
from core.settings.run_config import RunConfig
from core.training.largest_batch import BatchFound
from core.workbench.model_slot import ModelState
from core.workbench.probe_job import Probing
from core.workbench.rows_of_the_form import Look, Preparing
from tests.ui.test_html import HOSTILE, Elements
from ui.data import figures_view, length_chart, rows_view
from ui.model import model_tab
from ui.model.welcome import welcome_text
from ui.runs import compare_runs, run_view, runs_table
from ui.train import fit_view, receipt_view, run_figures, run_state_text, samples_view

DELETED = Deleted(HOSTILE, HOSTILE, HOSTILE, 5)
RUN = Overview(
    id=HOSTILE, folder=Path(HOSTILE), name=HOSTILE, note=HOSTILE, model=HOSTILE, data=HOSTILE, message=HOSTILE,
    fault=HOSTILE, status="failed",
)  # fmt: skip
OTHER = replace(RUN, id="other", name="other")
RECEIPT = Receipt(
    trainable_parameters=1, total_parameters=2, precision=HOSTILE, optimizer=HOSTILE, max_steps=1, train_rows=1,
    validation_rows=1, trained_tokens_share=1, notes=(HOSTILE,),
    groups=(LearningGroup(name=HOSTILE, learning_rate=1, weight_decay=1, parameters=1),),
    changes=(Change(setting=HOSTILE, asked=HOSTILE, runs=HOSTILE, reason=HOSTILE),),
    embeddings=EmbeddingsReceipt(layers=(HOSTILE,), is_tied=False, rows=1, of_rows=2, parameters=1, share=1,
                                 memory_gib=1, disk_bytes=1, adapter_bytes=1, warning=HOSTILE),
)  # fmt: skip
DONE = Finished(
    steps=1, runtime_s=1, tokens_per_s=1, peak_memory_gib=1, peak_memory_for_training_gib=1, total_memory_gib=1,
    adapter_dir=HOSTILE,
)  # fmt: skip
STEP = StepDone(step=1, max_steps=2, epoch=1, loss=1, learning_rate=1, tokens=1, elapsed=1)
TRAINED = Snapshot(
    run_id=HOSTILE, name=HOSTILE, message=HOSTILE, status="training", steps=(STEP,), receipt=RECEIPT, finished=DONE,
    evaluations=(Evaluated(step=1, eval_loss=1),),
    heldout=HeldOut(rows=1, base_loss=1, tuned_loss=1), checkpoints=(1,),
    samples=(Sampled(step=0, by="base", prompts=(HOSTILE,), answers=(HOSTILE,)),
             Sampled(step=1, by="tuned", prompts=(HOSTILE,), answers=(HOSTILE * 50,))),
)  # fmt: skip
FAILED = TRAINED.model_copy(update={"status": "failed"})
ESTIMATE = Estimate(parts={**dict.fromkeys(PARTS, 0.0), "weights": 9.0})
CHANGE = Suggestion(set=f"a={HOSTILE}", words=HOSTILE, saves_gib=1)
PROBE = ProbeRecord(
    machine="", total_gib=1, model=(HOSTILE, None, True, "auto"), settings={}, length=1, estimate=ESTIMATE, peak_gib=1,
    seconds_per_step=1, steps=1,
)  # fmt: skip
BATCH = BatchFound(batch=2, accumulation=1, tried=((2, 1.0), (4, None)), headroom=0.1)
SURVEY = Survey(
    rows=2, train_rows=1, validation_rows=1, tokens=1, trained_tokens=1, cut_rows=0, lost_tokens=0, longest=1,
    longest_row=1, longest_is_validation=False, pieces=False, edges=(0, 2), counts=(2,), without_end=0, unfilled=0,
    repeated=0, shared=0, languages=(), epoch_steps=1, step_rows=1, warnings=(HOSTILE,),
)  # fmt: skip
LEFT = LeftOut(Counter({HOSTILE: 1}), {}, (LeftOutRow(1, HOSTILE, HOSTILE, HOSTILE),), None, 1.0)
TOKENS = tuple(Token(number, HOSTILE, False, False, is_cut) for number, is_cut in enumerate((False, True)))
ROW = RowView(1, TOKENS, length=9, kept=1, trained=1, end_name=HOSTILE, end_is_trained=True, is_validation=False)
CELLS = ((HOSTILE, "b"), ({HOSTILE: HOSTILE, "b": None},))
SHAPE = Shape("text", HOSTILE)
MODEL = ModelReport.model_construct(
    name=HOSTILE, parameters=1, linear_layers_4bit=1, linear_layers=1, dtype=HOSTILE, tied_embeddings=True,
    has_chat_template=True, max_seq_length=1, memory_gib=1, device=HOSTILE, seconds=1,
)  # fmt: skip


def chosen_view() -> Markup:
    return runs_table.chosen_text((RUN, OTHER), (RUN.id, OTHER.id))


def table_view() -> Markup:
    return runs_table.table_text([RUN], 1, runs_table.Shown(opened=RUN.id, chosen=(RUN.id,)))


def differences_view() -> Markup:
    one = RunConfig.build({"training": {"sample_prompts": [HOSTILE]}})
    return compare_runs.tables_text([RUN, OTHER], [TRAINED] * 2, [one, RunConfig()])


def fit_view_of(suggestions: list[Suggestion], together: list[Suggestion]) -> Markup:
    card = Card(name=HOSTILE, memory_gib=8)
    return fit_view.fit_text(ESTIMATE, card, suggestions, together, [HOSTILE], HOSTILE)


# Each view, and how many times the text is shown in it, at the least.
VIEWS = {
    "table of runs": (table_view, 3),
    "chosen runs": (chosen_view, 1),
    "trash": (lambda: runs_table.trash_text([DELETED], False), 2),
    "trash being emptied": (lambda: runs_table.trash_text([DELETED], True), 2),
    "undo": (lambda: runs_table.undo_text(DELETED), 1),
    "losses of several runs": (lambda: compare_runs.losses_text([RUN, OTHER], [TRAINED] * 2, "step"), 1),
    "differences of several runs": (differences_view, 2),
    "head of a run": (lambda: run_view.head_text(RUN), 5),
    "course of a run": (lambda: run_view.course_text(TRAINED), 8),
    "receipt": (lambda: receipt_view.receipt_text(RECEIPT), 8),
    "end of a run": (lambda: run_figures.end_text(TRAINED), 1),
    "state of a run": (lambda: run_state_text.state_text(TRAINED), 1),
    "line of a run": (lambda: run_state_text.line_text(TRAINED, HOSTILE), 1),
    "state of a paused run": (lambda: run_state_text.state_text(TRAINED.model_copy(update={"is_paused": True})), 1),
    "state of a run that failed": (lambda: run_state_text.state_text(FAILED), 2),
    "state before the first step": (lambda: run_state_text.state_text(TRAINED.model_copy(update={"steps": ()})), 1),
    "samples": (lambda: samples_view.samples_text(TRAINED), 4),
    "fit, changes by themselves": (lambda: fit_view_of([CHANGE], []), 4),
    "fit, changes together": (lambda: fit_view_of([CHANGE], [CHANGE, CHANGE]), 6),
    "config to fetch": (lambda: fit_view.fetch_text(HOSTILE), 1),
    "probe in progress": (lambda: fit_view.probing_text(Probing(doing=HOSTILE, tried=((1, 1.0),))), 1),
    "probe that failed": (lambda: fit_view.probing_text(Probing(error=HOSTILE)), 1),
    "probe": (lambda: fit_view.probing_text(Probing(record=PROBE, note=HOSTILE)), 2),
    "largest batch": (lambda: fit_view.probing_text(Probing(record=PROBE, found=BATCH)), 2),
    "look at rows": (lambda: rows_view.look_text(Look((HOSTILE,), *CELLS, SHAPE, HOSTILE)), 5),
    "table of rows": (lambda: rows_view.table_text(*CELLS), 2),
    "row": (lambda: rows_view.row_text(ROW, 1), 3),
    "row without an end": (lambda: rows_view.row_text(replace(ROW, end_is_trained=False), 1), 3),
    "rows that cannot be read": (lambda: figures_view.preparing_text(Preparing(error=HOSTILE, left_out=LEFT)), 5),
    "whole set": (
        lambda: figures_view.preparing_text(Preparing(path=HOSTILE, survey=SURVEY, notes=(HOSTILE,), left_out=LEFT)), 7
    ),
    "survey": (lambda: figures_view.survey_text(SURVEY, 1, "off"), 1),
    "rows left out": (lambda: figures_view.left_out_text(Preparing(left_out=LEFT, validation_left_out=LEFT)), 8),
    "model": (lambda: model_tab.report_text(MODEL), 3),
}  # fmt: skip
# Views that are given nothing but figures, or whose text is a folder's; each must be HTML all the same.
PLAIN = {
    "checkpoint kept": lambda: run_state_text.best_text(TRAINED, ModelState()),
    "lengths": lambda: length_chart.length_chart(SURVEY, 1),
    "heading of a row": rows_view.row_heading,
    "legend": rows_view.legend_text,
    "first screen": lambda: welcome_text(is_public=False),
    "first screen of a public page": lambda: welcome_text(is_public=True),
    "resume": lambda: run_state_text.resume_text(FAILED),
}


def assert_harmless(html: str) -> Elements:
    assert isinstance(html, Markup)
    shown = Elements(html)
    assert "img" not in shown.tags and not [name for name, _ in shown.attributes if name.startswith("on")]
    return shown


@pytest.mark.parametrize("view", VIEWS)
def test_hostile_text_stays_text(view):
    make, times = VIEWS[view]
    assert assert_harmless(make()).text.count(HOSTILE) >= times


@pytest.mark.parametrize("view", PLAIN)
def test_views_of_figures_are_html(view):
    assert assert_harmless(PLAIN[view]()).tags


def hostile_run(tmp_path: Path) -> Run:
    run = create_run(tmp_path, HOSTILE, RunConfig())
    (run.folder / "log.txt").write_text(HOSTILE, encoding="utf-8")
    checkpoint = run.checkpoints_dir / "step-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / "progress.json").write_text('{"step": 1}')
    return run


def test_what_a_run_keeps_and_its_log(tmp_path):
    run = hostile_run(tmp_path)
    assert ("data-run", run.id) in assert_harmless(run_view.kept_text(run, TRAINED)).attributes
    assert HOSTILE in assert_harmless(run_view.log_text(run)).text


def test_attributes_have_the_text_as_it_is():
    table = assert_harmless(table_view()).attributes
    assert table.count(("data-run", HOSTILE)) == 3 and ("title", HOSTILE) in table
    assert ("aria-label", f"Compare {HOSTILE}") in table
    assert ("data-deleted", HOSTILE) in assert_harmless(runs_table.undo_text(DELETED)).attributes
    assert ("data-opened", HOSTILE) in assert_harmless(run_view.head_text(RUN)).attributes
