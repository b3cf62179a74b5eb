"""Measures a run's adapter against its base, and keeps the result with the run.

runs/<id>/evaluations/<YYYYMMDD-HHMMSS>.json
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from core.comparing.prompt_lists import read_prompts
from core.data.prepared.prepare import prepare
from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.rows_fingerprint import are_the_rows_of
from core.data.prompts.prompt_date import on_date
from core.data.prompts.prompt_templates import prompt_text
from core.evaluation.evaluate import evaluate
from core.evaluation.forgetting import general_rows
from core.evaluation.question_rows import Row, plain, row_of, row_of_prompt
from core.evaluation.record import Evaluation, Source
from core.evaluation.saved import save
from core.fresh_thread import in_own_thread
from core.hub_names import Token
from core.model.loaded_model import LoadedModel
from core.model.vocabulary import check_prompts, embedding_rows
from core.problems import DataError, RunError
from core.runs.adapter_ref import BASE
from core.runs.run_folder import Run
from core.settings.run_config import RunConfig
from core.stopping import ShouldStop, leave_if
from core.training.checkpoint_files import read_progress
from core.workbench.desk import MEASURING
from core.workbench.model_access import ModelAccess

MOST_ROWS = 200
SAMPLING_SEED = 3407  # for drawing the rows when there are more
OTHER_ROWS = "These are not the validation rows of the run: it may have been trained on some of them."
UNKNOWN_ROWS = (
    "The run has no checkpoint to compare these validation rows with: if its data has changed since, it may have been "
    "trained on some of them."
)
QUESTION_MARK = "\ue000"  # in place of a question; no template contains it


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
        report(0.0, "Loading the model")
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
            report(0.0, "Reading the rows")
            prepared = run.folder.parent / "prepared"
            dated = _dated(loaded, run)
            rows, left_out = rows_of(source, config, dated, most_rows, prepared, token, should_stop)
            note = note_on_rows(run, loaded, prepared, token, should_stop) if source.kind == "validation" else ""
            general = general_rows(dated, config.data.prompt_template)
            check_prompts(loaded, (row.input_ids for row in general))
            frame = _frame(config, dated)
            found = evaluate(loaded, tuple(names), rows, should_stop, report, general, frame)
            about = {"run_id": run.id, "made": began, "source": source, "left_out": left_out, "note": note}
            return found.model_copy(update=about)

        found = in_own_thread(work)
    save(found, run.folder)
    return found


def _dated(loaded: LoadedModel, run: Run) -> LoadedModel:
    """The same model with a tokenizer that writes prompts with the run's date."""
    return replace(loaded, tokenizer=on_date(loaded.tokenizer, run.prompt_date))


def rows_of(
    source: Source,
    config: RunConfig,
    loaded: LoadedModel,
    most: int,
    folder: Path | None = None,
    token: Token = None,
    should_stop: ShouldStop = lambda: False,
) -> tuple[list[Row], int]:
    """At most `most` rows of a source, as the run writes its rows; and how many of those drawn were too long.

    What is read from a file is kept in `folder` meanwhile. Raises DataError, TemplateError and Stopped.
    """
    length = loaded.report.max_seq_length
    if source.kind == "prompts":
        prompts = read_prompts(Path(source.path))
        found = [_prompt_row(prompts[place], config, loaded) for place in _drawn(len(prompts), most)]
        check_prompts(loaded, (row.input_ids for row in found))
        fits = [row for row in found if row.asked < length]
    else:
        data = config.data
        if source.kind == "file":
            data = data.model_copy(update={"path": source.path, "validation_share": 0.0, "validation_path": None})
        # Losses on completions, also for a run that learned its questions too.
        prepared = _prepared(config.model_copy(update={"data": data}), loaded, True, folder, token, should_stop)
        prepared.ask_consent(data.model_copy(update={"allow_left_out": True}))
        examples = prepared.train if source.kind == "file" else prepared.validation
        found, ends = [examples[place] for place in _drawn(len(examples), most)], loaded.eos_token_ids
        fits = [row_of(example, loaded.tokenizer, ends) for example in found if not example.is_cut]
    if not found:
        raise _nothing_in(source)
    if not fits:
        if source.kind == "prompts":
            raise DataError(
                "Each prompt is longer than the model's {length:,} tokens; choose shorter ones.", length=length
            )
        raise DataError("Each row is longer than the model's {length:,} tokens; choose shorter ones.", length=length)
    return fits, len(found) - len(fits)


def _nothing_in(source: Source) -> DataError:
    if source.kind == "validation":
        return DataError("The run was trained without validation rows; measure it on a file or on prompts.")
    if source.kind == "prompts":
        return DataError("There are no prompts in {file}.", file=source.path)
    return DataError("There are no rows in {file}.", file=source.path)


def _frame(config: RunConfig, loaded: LoadedModel) -> tuple[str, str]:
    """What the prompt template puts before and after a question, without special tokens."""
    text = prompt_text([{"role": "user", "content": QUESTION_MARK}], config.data.prompt_template, loaded.tokenizer)
    before, _, after = text.partition(QUESTION_MARK)
    encode = loaded.tokenizer
    return tuple(plain(encode, encode(part, add_special_tokens=False)["input_ids"]) for part in (before, after))


def _prompt_row(prompt: str, config: RunConfig, loaded: LoadedModel) -> Row:
    messages = [{"role": "user", "content": prompt}]
    return row_of_prompt(prompt_text(messages, config.data.prompt_template, loaded.tokenizer), loaded.tokenizer)


def note_on_rows(
    run: Run,
    loaded: LoadedModel,
    folder: Path | None = None,
    token: Token = None,
    should_stop: ShouldStop = lambda: False,
) -> str:
    """A sentence when the run may have learned from its validation rows, because its data may have changed.

    The run's newest checkpoint keeps a fingerprint of its rows. Empty when they are the same. Raises as `rows_of` does.
    """
    config, then = run.config(), None
    for checkpoint in run.checkpoints()[-1:]:
        with suppress(RunError):  # a damaged one says nothing
            then = read_progress(checkpoint.folder)["rows"]
    if then is None:
        return UNKNOWN_ROWS
    now = _prepared(config, _dated(loaded, run), config.training.completion_only_loss, folder, token, should_stop)
    return "" if are_the_rows_of(then, now) else OTHER_ROWS


def _prepared(
    config: RunConfig,
    loaded: LoadedModel,
    on_completions: bool,
    folder: Path | None,
    token: Token,
    should_stop: ShouldStop,
) -> PreparedData:
    length = min(config.model.max_seq_length, loaded.report.max_seq_length)
    return prepare(
        config.data, loaded.tokenizer, length, on_completions, token,
        should_stop=should_stop, end_ids=loaded.eos_token_ids, parent=folder, embeddings=embedding_rows(loaded.model),
    )  # fmt: skip


def _drawn(count: int, most: int) -> Sequence[int]:
    """Places of at most `most` rows, in order; the same ones each time."""
    import numpy as np

    if count <= most:
        return range(count)
    return sorted(np.random.default_rng(SAMPLING_SEED).choice(count, most, replace=False).tolist())
