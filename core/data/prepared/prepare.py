"""Prepares all rows of a run: reads, renders and tokenises them, and splits off validation rows.

    rows     = open_rows(config)                     as they are in the file
    shape    = recognise(first rows, config)         which column is the question and which the answer
    pieces   = render(values, shape, ...)            the text that the model sees, trained on or only read
    examples = tokenise(pieces, ...)                 its tokens and labels
    data     = prepare(config, tokenizer, ...)       all of this, on disk

The page, the trainer and the evaluation all use the same examples.
"""

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from core.data.files.file_kinds import is_file_by_name
from core.data.files.open_files import FileRows, open_files
from core.data.hub.hub_rows import HubRows, open_hub
from core.data.prepared.examples_on_disk import Examples, Folder
from core.data.prepared.one_pass import Pass, Report
from core.data.prepared.prepared_data import PassResult, PreparedData
from core.data.prompts.answer_ends import answer_ends
from core.data.prompts.prompt_date import on_date
from core.hub_names import Token, is_hub_name
from core.problems import DataError
from core.settings.paths import resolve_path
from core.settings.sections import DataConfig
from core.threads import ShouldStop

HUB_PREFIXES = ("https://huggingface.co/datasets/", "hf://datasets/")


def open_rows(config: DataConfig, token: Token = None) -> FileRows | HubRows:
    """The rows that a config names, read one at a time. Raises DataError if they cannot be opened."""
    if name := hub_name(config.path):
        return open_hub(config.model_copy(update={"path": name}), token)
    return open_files(config.path, config.header, config.text_rows)


def hub_name(path: str) -> str:
    """The name of the Hugging Face dataset that a path means; empty when it means files."""
    name = path.strip()
    for prefix in HUB_PREFIXES:
        name = name.removeprefix(prefix).rstrip("/")
    return name if is_hub_name(name) and not is_file_by_name(name) and resolve_path(name) is None else ""


def prepare(
    config: DataConfig,
    tokenizer,
    max_seq_length: int,
    completion_only_loss: bool,
    token: Token = None,
    limit: int | None = None,
    should_stop: ShouldStop = lambda: False,
    report: Report = lambda share, rows: None,
    end_ids: Iterable[int] = (),
    parent: Path | None = None,
    embeddings: int | None = None,
    prompt_date: date | None = None,
) -> PreparedData:
    """Reads and prepares all rows, or the first `limit`; the examples are stored in a new folder inside `parent`.

    `end_ids` are the tokens that end an answer (default: those of the tokenizer and its chat template), `embeddings`
    their number in the model (None: not checked), `prompt_date` the chat template's today (None: the real one).
    Raises DataError if the rows or the disk cannot be used, NothingLeftError if no row is left, and Stopped.
    """
    tokenizer = on_date(tokenizer, prompt_date)
    end_tokens = frozenset(end_ids) or frozenset(answer_ends(tokenizer))
    work = Pass(config, tokenizer, max_seq_length, completion_only_loss, end_tokens, should_stop, report, embeddings)
    own_validation, folder = None, None
    try:
        folder = Folder(parent)
        main = work.read(open_rows(config, token), folder.path, "rows", limit)
        if config.validation_path:
            own_validation = _read_validation(work, config, token, folder, limit)
    except BaseException as error:
        if folder is not None:
            folder.remove()
        if isinstance(error, OSError):
            raise DataError(
                "The prepared rows cannot be saved ({reason}); check that the disk has space and is writable.",
                reason=error.strerror or str(error),
            ) from None
        raise
    train, validation = (main.examples, own_validation.examples) if own_validation else _split(main.examples, config)
    return PreparedData(
        rows=main.rows,
        shape=main.shape,
        notes=main.notes,
        warnings=_of_both("warnings", main, own_validation),
        train=train,
        validation=validation,
        left_out=main.left_out,
        own_validation=own_validation,
        is_split=main.is_split,
        samples=tuple(main.samples),
        placeholders=_of_both("placeholders", main, own_validation),
        special_rows=main.special_rows,
        special_token=main.special_token,
        changes=main.changes,
        preview=tuple(main.preview),
        encoding=main.encoding,
        same_answer=main.same_answer,
        folder=folder,
        prompt_date=prompt_date,
    )


def _of_both(name: str, main: PassResult, own_validation: PassResult | None) -> tuple[str, ...]:
    """What both sources say under this name, each once."""
    return tuple(dict.fromkeys(word for source in (main, own_validation) if source for word in getattr(source, name)))


def _read_validation(work: Pass, config: DataConfig, token: Token, folder: Folder, limit: int | None) -> PassResult:
    try:
        rows = open_rows(config.model_copy(update={"path": config.validation_path}), token)
        return work.read(rows, folder.path, "validation", limit)
    except DataError as error:
        raise DataError("In the validation rows: {problem}", problem=error) from error


def _split(examples: Examples, config: DataConfig) -> tuple[Examples, Examples]:
    """Training and validation examples. Both get at least one, if there are two and the share is above 0."""
    import datasets
    import numpy as np

    if config.validation_share == 0 or len(examples) < 2:
        return examples, examples.pick(np.arange(0))
    count = min(max(round(len(examples) * config.validation_share), 1), len(examples) - 1)
    numbers = datasets.Dataset.from_dict({"at": np.arange(len(examples))})
    order = numbers.train_test_split(count, seed=config.seed, keep_in_memory=True).with_format("numpy")
    return examples.pick(order["train"]["at"][:]), examples.pick(order["test"]["at"][:])
