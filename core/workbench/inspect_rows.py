"""What training would read of some rows: their shape, their tokens, what is left out and why.

The same functions as for a run read, render and tokenise them, but no weights are loaded.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from core.data.columns.recognise import recognise
from core.data.columns.shape import Shape
from core.data.prepared.one_pass import readable_head
from core.data.prepared.prepare import open_rows, prepare
from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.row_view import end_mark
from core.data.prepared.survey import Survey, survey
from core.hub_names import Token
from core.model.load import load_tokenizer
from core.problems import trn
from core.settings.paths import resolve_path
from core.settings.presets import find_preset, list_presets
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig
from core.threads import ShouldStop


class Inspection(BaseModel, frozen=True):
    """`rows` are read, `used` are trained or validated on, the others `left_out` by reason. `columns` are by role.

    `tokens` and `trained_tokens` are counted after cutting `cut_rows` at the maximum length. `ends_trained` counts the
    rows in which the end mark is trained on; a text file split at the maximum length has more pieces than rows.
    `preview` has the first three texts that the model sees. `notes` are assumptions made while reading.
    """

    shape: str
    reason: str
    encoding: str
    rows: int
    used: int
    left_out: dict[str, int]
    columns: dict[str, str]
    tokens: int
    trained_tokens: int
    cut_rows: int
    ends_trained: int
    warnings: tuple[str, ...]
    preview: tuple[str, ...]
    notes: tuple[str, ...] = ()


def config_for(file_or_name: str, settings: list[str], default_preset: str, runs_dir: Path | None = None) -> RunConfig:
    """The settings to read these rows with: those of a preset, if it is one's name, with its rows; also of one that a
    person saved beside the runs in `runs_dir`.

    Other rows are seen by the model of `default_preset`, unless `settings` choose another one. Raises ConfigError.
    """
    presets = [preset.name for preset in list_presets(runs_dir)]
    if resolve_path(file_or_name) is None and file_or_name in presets:
        return find_preset(file_or_name, runs_dir).config.with_settings(settings)
    chooses = any(setting.partition("=")[0].strip() == "model.model_name" for setting in settings)
    model = ModelConfig() if chooses else find_preset(default_preset).config.model
    values = RunConfig(model=model).model_dump()
    values["data"]["path"] = file_or_name
    return RunConfig.build(values).with_settings(settings)


def inspect_rows(
    config: RunConfig,
    token: Token,
    should_stop: ShouldStop,
    report: Callable[[float | None, str], None],
) -> Inspection:
    """Reads all rows. `report` gets the share done (0 to 1), None if unknown, and a few words.

    Raises DataError when no row can be used, ModelError without a tokenizer, and Stopped.
    """
    import datasets

    datasets.disable_progress_bars()  # they would overwrite ours
    recognise(readable_head(open_rows(config.data, token)), config.data)  # before a tokenizer is fetched for them
    model = load_tokenizer(config.model, token, lambda words, share: report(share, words))
    tokenizer, ends = model.tokenizer, model.eos_token_ids
    length, only_answers = config.model.max_seq_length, config.training.completion_only_loss

    def reading(share: float | None, rows: int) -> None:
        report(share, trn("{count:,} row", "{count:,} rows", rows))

    data = prepare(
        config.data, tokenizer, length, only_answers, token,
        should_stop=should_stop, report=reading, end_ids=ends, embeddings=model.embeddings,
    )  # fmt: skip
    return _inspection(config, data, survey(data, config.training, end_mark(tokenizer, ends)))


def _inspection(config: RunConfig, data: PreparedData, found: Survey) -> Inspection:
    sources = [data, *([data.own_validation] if data.own_validation else [])]
    left_out = sum((source.left_out.counts for source in sources), Counter())
    rows = sum(source.rows for source in sources)
    shape: Shape = data.shape
    return Inspection(
        shape=shape.name,
        reason=shape.reason,
        encoding=data.encoding,
        rows=rows,
        used=rows - left_out.total(),
        left_out=dict(left_out.most_common()),
        columns=shape.columns,
        tokens=found.tokens,
        trained_tokens=found.trained_tokens,
        cut_rows=found.cut_rows,
        ends_trained=sum(int(part.figures["ends"].sum()) for part in (data.train, data.validation)),
        warnings=(*map(str, data.open_questions(config.data)), *found.warnings),
        preview=data.preview,
        notes=tuple(note for source in sources for note in source.notes),
    )
