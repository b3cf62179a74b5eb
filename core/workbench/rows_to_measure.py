"""The rows that models are measured on: a run's validation rows, those of a file, or prompts."""

from collections.abc import Sequence
from pathlib import Path

from core.comparing.prompt_lists import read_prompts
from core.data.prepared.prepare import prepare
from core.data.prepared.prepared_data import PreparedData
from core.data.prompts.prompt_templates import prompt_text
from core.evaluation.question_rows import Row, row_of, row_of_prompt
from core.evaluation.record import Source
from core.hub_names import Token
from core.model.loaded_model import LoadedModel
from core.model.vocabulary import check_prompts
from core.problems import DataError
from core.settings.run_config import RunConfig
from core.threads import ShouldStop

SAMPLING_SEED = 3407  # for drawing the rows when there are more


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
        prepared = prepared_rows(config.model_copy(update={"data": data}), loaded, True, folder, token, should_stop)
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


def _prompt_row(prompt: str, config: RunConfig, loaded: LoadedModel) -> Row:
    messages = [{"role": "user", "content": prompt}]
    return row_of_prompt(prompt_text(messages, config.data.prompt_template, loaded.tokenizer), loaded.tokenizer)


def prepared_rows(
    config: RunConfig,
    loaded: LoadedModel,
    on_completions: bool,
    folder: Path | None,
    token: Token,
    should_stop: ShouldStop,
) -> PreparedData:
    """All rows of the settings' data as this model sees them. Raises DataError, TemplateError and Stopped."""
    length = min(config.model.max_seq_length, loaded.report.max_seq_length)
    return prepare(
        config.data, loaded.tokenizer, length, on_completions, token,
        should_stop=should_stop, end_ids=loaded.eos_token_ids, parent=folder, embeddings=loaded.embeddings,
    )  # fmt: skip


def _drawn(count: int, most: int) -> Sequence[int]:
    """Places of at most `most` rows, in order; the same ones each time."""
    import numpy as np

    if count <= most:
        return range(count)
    return sorted(np.random.default_rng(SAMPLING_SEED).choice(count, most, replace=False).tolist())
