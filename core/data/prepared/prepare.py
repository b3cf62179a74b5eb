"""All rows of a run: read, recognised, rendered, tokenised, split. Knows nothing of models, threads or gradio.

    rows     = open_rows(config)                     as they stand in the file
    shape    = recognise(first rows, config)         which columns ask and which answer
    pieces   = render(values, shape, ...)            the text the model sees, trained on or only read
    examples = tokenise(pieces, ...)                 its tokens and labels
    data     = prepare(config, tokenizer, ...)       all of it, on disk

One pass, a thousand rows at a time. What the page shows, what the trainer learns from and what is checked afterwards
are the same examples.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from core.data.files.file_kinds import is_file_by_name
from core.data.files.open_files import FileRows, open_files
from core.data.hub.hub_rows import HubRows, open_hub
from core.data.prepared.examples_on_disk import Examples, Folder
from core.data.prepared.one_pass import Pass, Report
from core.data.prepared.prepared_data import Found, PreparedData
from core.problems import DataError
from core.settings.paths import resolve_path
from core.settings.sections import DataConfig
from core.stopping import ShouldStop

HUB_NAME = re.compile(r"\w[\w-]*|\w[\w.-]*/\w[\w.-]*", re.ASCII)  # owner/name, or a name of the hub's own


def open_rows(config: DataConfig, token: str | None = None) -> FileRows | HubRows:
    """The rows that a config names, to be read one after the other. Raises DataError."""
    name = config.path.strip()
    for prefix in ("https://huggingface.co/datasets/", "hf://datasets/"):
        name = name.removeprefix(prefix).rstrip("/")
    if HUB_NAME.fullmatch(name) and not is_file_by_name(name) and resolve_path(name) is None:
        return open_hub(config.model_copy(update={"path": name}), token)
    return open_files(config.path, config.header, config.text_rows)


def prepare(
    config: DataConfig,
    tokenizer,
    max_seq_length: int,
    completion_only_loss: bool,
    token: str | None = None,
    limit: int | None = None,
    should_stop: ShouldStop = lambda: False,
    report: Report = lambda share, rows: None,
    end_ids: Iterable[int] = (),
    parent: Path | None = None,
) -> PreparedData:
    """Reads and prepares all rows, or the first `limit`; what they become is kept in a folder below `parent`.

    `end_ids` are the tokens that generation stops at. Raises DataError when nothing is left to train on, and Stopped.
    """
    stops_at = frozenset(end_ids) or frozenset({tokenizer.eos_token_id})
    work = Pass(config, tokenizer, max_seq_length, completion_only_loss, stops_at, should_stop, report)
    theirs, folder = None, None
    try:
        folder = Folder(parent)
        main = work.read(open_rows(config, token), folder.path, "rows", limit)
        if config.validation_path:
            theirs = _read_validation(work, config, token, folder, limit)
    except BaseException as error:
        if folder is not None:
            folder.remove()
        if isinstance(error, OSError):
            raise DataError(
                f"The prepared rows cannot be kept on disk: {error.strerror or error}; make room there."
            ) from None
        raise
    train, validation = (main.examples, theirs.examples) if theirs else _split(main.examples, config)
    return PreparedData(
        rows=main.rows,
        shape=main.shape,
        notes=main.notes,
        train=train,
        validation=validation,
        left_out=main.left_out,
        own_validation=theirs,
        is_split=main.is_split,
        samples=tuple(main.samples),
        placeholder=main.placeholder,
        special_rows=main.special_rows,
        special_token=main.special_token,
        folder=folder,
    )


def _read_validation(work: Pass, config: DataConfig, token: str | None, folder: Folder, limit: int | None) -> Found:
    try:
        rows = open_rows(config.model_copy(update={"path": config.validation_path}), token)
        return work.read(rows, folder.path, "validation", limit)
    except DataError as error:
        raise DataError(f"Of the validation rows: {error}") from error


def _split(examples: Examples, config: DataConfig) -> tuple[Examples, Examples]:
    """At least one row stays for training; a share above 0 keeps back at least one where there are two."""
    import datasets
    import numpy as np

    if config.validation_share == 0 or len(examples) < 2:
        return examples, examples.pick(np.arange(0))
    count = min(max(round(len(examples) * config.validation_share), 1), len(examples) - 1)
    numbers = datasets.Dataset.from_dict({"at": np.arange(len(examples))})
    order = numbers.train_test_split(count, seed=config.seed, keep_in_memory=True).with_format("numpy")
    return examples.pick(order["train"]["at"][:]), examples.pick(order["test"]["at"][:])
