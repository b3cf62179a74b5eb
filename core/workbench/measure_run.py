"""Measures a run's adapter against its base, and keeps the result with the run.

runs/<id>/evaluations/<YYYYMMDD-HHMMSS>.json
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from core.data.prepared.rows_fingerprint import are_the_rows_of
from core.data.prompts.prompt_date import on_date
from core.evaluation.evaluate import evaluate
from core.evaluation.forgetting import general_rows
from core.evaluation.question_rows import frame_of
from core.evaluation.record import Evaluation, Source
from core.evaluation.saved import save
from core.hub_names import Token
from core.model.loaded_model import LoadedModel
from core.model.vocabulary import check_prompts
from core.problems import RunError, mark, tr
from core.runs.adapter_ref import BASE
from core.runs.run_folder import Run
from core.threads import ShouldStop, in_own_thread, leave_if
from core.training.checkpoint_files import read_progress
from core.workbench.desk import MEASURING
from core.workbench.model_access import ModelAccess
from core.workbench.rows_to_measure import prepared_rows, rows_of

MOST_ROWS = 200
OTHER_ROWS = mark("These are not the validation rows of the run: it may have been trained on some of them.")
UNKNOWN_ROWS = mark(
    "The run has no checkpoint to compare these validation rows with: if its data has changed since, it may have been "
    "trained on some of them."
)


def evaluate_run(
    lab: ModelAccess,
    run: Run,
    source: Source,
    should_stop: ShouldStop,
    report: Callable[[float, str], None],
    most_rows: int = MOST_ROWS,
    token: Token = None,
) -> Evaluation:
    """Measures the run's adapter and its base on at most `most_rows` rows, drawn with a fixed seed, and saves it.

    The run is loaded when no model is, or one with another base. `token` is for gated models and data. Raises Busy,
    ModelError, RunError, DataError, TemplateError and Stopped.
    """
    config = run.config()
    leave_if(should_stop)
    pane = lab.pane_of(run)
    if pane not in lab.choices():  # else its adapter is put on next to those that are there
        report(0.0, tr("Loading the model"))
        lab.load_run(pane.run_id, token)
        leave_if(should_stop)
    with lab.using([BASE, pane], MEASURING) as (loaded, names):
        began = time.time()
        if loaded.config.max_seq_length < config.model.max_seq_length:
            raise RunError(
                "The model was loaded for {loaded_for:,} tokens and this run was trained with {needed:,}: load that "
                "run first.",
                loaded_for=loaded.config.max_seq_length, needed=config.model.max_seq_length,
            )  # fmt: skip

        def work() -> Evaluation:
            report(0.0, tr("Reading the rows"))
            prepared = run.folder.parent / "prepared"
            dated = _dated(loaded, run)
            rows, left_out = rows_of(source, config, dated, most_rows, prepared, token, should_stop)
            note = note_on_rows(run, loaded, prepared, token, should_stop) if source.kind == "validation" else ""
            general = general_rows(dated, config.data.prompt_template)
            check_prompts(loaded, (row.input_ids for row in general))
            frame = frame_of(config.data.prompt_template, dated.tokenizer)
            found = evaluate(loaded, tuple(names), rows, should_stop, report, general, frame)
            about = {"run_id": run.id, "made": began, "source": source, "left_out": left_out, "note": note}
            return found.model_copy(update=about)

        found = in_own_thread(work)
    save(found, run.folder)
    return found


def _dated(loaded: LoadedModel, run: Run) -> LoadedModel:
    """The same model with a tokenizer that writes prompts with the run's date."""
    return replace(loaded, tokenizer=on_date(loaded.tokenizer, run.prompt_date))


def note_on_rows(
    run: Run,
    loaded: LoadedModel,
    folder: Path | None = None,
    token: Token = None,
    should_stop: ShouldStop = lambda: False,
) -> str:
    """A sentence when the run may have learned from its validation rows, because its data may have changed; it is
    kept in English, and translated where it is shown.

    The run's newest checkpoint keeps a fingerprint of its rows. Empty when they are the same. Raises as `rows_of` does.
    """
    config, then = run.config(), None
    for checkpoint in run.checkpoints()[-1:]:
        with suppress(RunError):  # a damaged one says nothing
            then = read_progress(checkpoint.folder)["rows"]
    if then is None:
        return UNKNOWN_ROWS
    now = prepared_rows(config, _dated(loaded, run), config.training.completion_only_loss, folder, token, should_stop)
    return "" if are_the_rows_of(then, now) else OTHER_ROWS
