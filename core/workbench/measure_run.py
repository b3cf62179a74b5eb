"""A run's adapter measured against its base, and kept with the run. Knows nothing of gradio.

runs/<id>/evaluations/<YYYYMMDD-HHMMSS>.json
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from core.comparing.prompt_lists import read_prompts
from core.data.prepared.prepare import prepare
from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.rows_fingerprint import rows_fingerprint as fingerprint
from core.data.prompts.prompt_templates import prompt_text
from core.evaluation.evaluate import evaluate
from core.evaluation.forgetting import general_rows
from core.evaluation.question_rows import Row, plain, row_of, row_of_prompt
from core.evaluation.record import Evaluation, Source
from core.evaluation.saved import save
from core.fresh_thread import in_own_thread
from core.model.loaded_model import LoadedModel
from core.problems import DataError, RunError
from core.runs.adapter_ref import BASE, Pane
from core.runs.run_folder import Run
from core.settings.run_config import RunConfig
from core.stopping import leave_if
from core.training.checkpoint_files import read_progress
from core.workbench.lab import Lab

MOST_ROWS = 200
SEED = 3407  # draws the rows when there are more
MEASURING = "answers are being measured"
OTHER_ROWS = "The rows are not those that it was trained beside: some may be ones it learned from."
UNKNOWN_ROWS = (
    "Whether these rows are still those that it was trained beside is not known, as the run has no checkpoint to tell "
    "by: if its data has changed since, some may be ones it learned from."
)
MARK = "\ue000"  # stands for a question; no template holds it


def evaluate_run(
    lab: Lab,
    run: Run,
    source: Source,
    should_stop: Callable[[], bool],
    report: Callable[[float, str], None],
    most_rows: int = MOST_ROWS,
    token: str | None = None,
) -> Evaluation:
    """Measures the run's adapter and its base on `most_rows` rows at most, drawn with a fixed seed, and saves it.

    The run is loaded when another base than its own is there, or none. `token` is for models and data that the hub guards. Raises Busy,
    ModelError, RunError, DataError, TemplateError and Stopped.
    """
    config = run.config()
    leave_if(should_stop)
    if Pane(run.id) not in lab.choices():  # else its adapter is put beside those that are there
        report(0.0, "Loading the model")
        lab.load_run(run.id, token)
        leave_if(should_stop)
    with lab.using([BASE, Pane(run.id)], MEASURING) as (loaded, names):
        began = time.time()
        has, needs = loaded.config.max_seq_length, config.model.max_seq_length
        if has < needs:
            raise RunError(
                f"The model was loaded for {has:,} tokens and this run was trained with {needs:,}: load that run first."
            )

        def work() -> Evaluation:
            report(0.0, "Reading the rows")
            prepared = run.folder.parent / "prepared"
            rows, left_out = rows_of(source, config, loaded, most_rows, prepared, token, should_stop)
            note = "" if source.kind != "validation" else note_on_rows(run, loaded, prepared, token, should_stop)
            general = general_rows(loaded, config.data.prompt_template)
            frame = _frame(config, loaded)
            found = evaluate(loaded, tuple(names), rows, should_stop, report, general, frame)
            about = {"run_id": run.id, "made": began, "source": source, "left_out": left_out, "note": note}
            return found.model_copy(update=about)

        found = in_own_thread(work)
    save(found, run.folder)
    return found


def rows_of(
    source: Source,
    config: RunConfig,
    loaded: LoadedModel,
    most: int,
    folder: Path | None = None,
    token: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[list[Row], int]:
    """The rows that a source names, `most` at most, as the run writes its rows; and how many were too long.

    What is read of a file is kept in `folder` meanwhile. Raises DataError, TemplateError and Stopped.
    """
    if source.kind == "prompts":
        prompts = read_prompts(Path(source.path))
        found = [_prompt_row(prompts[place], config, loaded) for place in _drawn(len(prompts), most)]
        fits = [row for row in found if row.asked < loaded.report.max_seq_length]
        what = "prompt"
    else:
        data = config.data
        if source.kind == "file":
            data = data.model_copy(update={"path": source.path, "validation_share": 0.0, "validation_path": None})
        # Losses on completions, also for a run that learned its questions too.
        prepared = _prepared(config.model_copy(update={"data": data}), loaded, True, folder, token, should_stop)
        prepared.ask_consent(data.model_copy(update={"allow_left_out": True}))
        examples = prepared.train if source.kind == "file" else prepared.validation
        chosen = [examples[place] for place in _drawn(len(examples), most)]
        fits = [row_of(example, loaded.tokenizer) for example in chosen if not example.is_cut]
        found, what = chosen, "row"
    if not found:
        if source.kind == "validation":
            raise DataError("The run was trained without validation rows; measure it on a file or on prompts.")
        raise DataError(f"There is no {what} in {source.path}.")
    if not fits:
        most_tokens = loaded.report.max_seq_length
        raise DataError(f"Each {what} is longer than the model's {most_tokens:,} tokens; choose shorter ones.")
    return fits, len(found) - len(fits)


def _frame(config: RunConfig, loaded: LoadedModel) -> tuple[str, str]:
    """What the prompt template puts before and behind a question, without special tokens."""
    text = prompt_text([{"role": "user", "content": MARK}], config.data.prompt_template, loaded.tokenizer)
    before, _, behind = text.partition(MARK)
    encode = loaded.tokenizer
    return tuple(plain(encode, encode(part, add_special_tokens=False)["input_ids"]) for part in (before, behind))


def _prompt_row(prompt: str, config: RunConfig, loaded: LoadedModel) -> Row:
    messages = [{"role": "user", "content": prompt}]
    return row_of_prompt(prompt_text(messages, config.data.prompt_template, loaded.tokenizer), loaded.tokenizer)


def note_on_rows(
    run: Run, loaded: LoadedModel, folder: Path | None = None, token: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> str:  # fmt: skip
    """A sentence when the run's validation rows may be ones it learned from, since its data may have changed.

    Told by its newest checkpoint, which keeps what tells its rows from others. Empty when they are the same. Raises as
    `rows_of` does.
    """
    config, then = run.config(), None
    for checkpoint in run.checkpoints()[-1:]:
        with suppress(RunError):  # a damaged one tells nothing
            then = read_progress(checkpoint.folder)["rows"]
    if then is None:
        return UNKNOWN_ROWS
    now = _prepared(config, loaded, config.training.completion_only_loss, folder, token, should_stop)
    return "" if fingerprint(now) == then else OTHER_ROWS


def _prepared(config: RunConfig, loaded: LoadedModel, on_completions: bool, folder, token, should_stop) -> PreparedData:
    length = min(config.model.max_seq_length, loaded.report.max_seq_length)
    return prepare(
        config.data, loaded.tokenizer, length, on_completions, token,
        should_stop=should_stop, end_ids=loaded.eos_token_ids, parent=folder,
    )  # fmt: skip


def _drawn(count: int, most: int) -> Sequence[int]:
    """Places of `most` rows at most, in order; the same ones each time."""
    import numpy as np

    if count <= most:
        return range(count)
    return sorted(np.random.default_rng(SEED).choice(count, most, replace=False).tolist())
