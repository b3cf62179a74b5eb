"""The rows that a form names, looked at in part or prepared whole, with the loaded model's tokenizer.

Keeps the last set that was prepared whole, so that training need not do it again. Knows nothing of locks or gradio.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.columns.recognise import recognise  # fmt: skip
from core.data.columns.shape import Shape  # fmt: skip
from core.data.files.find_files import find
from core.data.prepared.examples_on_disk import remove_left_behind
from core.data.prepared.left_out import LeftOut, NothingLeftError
from core.data.prepared.one_pass import HEAD_ROWS, readable_head
from core.data.prepared.prepare import open_rows, prepare  # fmt: skip
from core.data.prepared.prepared_data import PreparedData  # fmt: skip
from core.data.prepared.row_view import RowView, end_mark, view  # fmt: skip
from core.data.prepared.survey import Survey, survey  # fmt: skip
from core.model.loaded_model import LoadedModel
from core.problems import DataError  # fmt: skip
from core.settings.run_config import RunConfig
from core.stopping import ShouldStop, leave_if

SHOWN_ROWS = 5
MAX_COLUMNS = 1000  # to choose from: nobody reads more
Key = tuple


@dataclass(frozen=True)
class Look:
    """The first rows of a set. `trouble` says why they cannot be learned from as they stand; `data` are the first 200
    prepared, when the model is loaded and they can be."""

    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    shape: Shape | None = None
    trouble: str = ""
    data: PreparedData | None = None


@dataclass(frozen=True)
class Preparing:
    """How far the whole set is (`share` 0 to 1, None when unknown), or what it came to."""

    path: str = ""
    doing: bool = False
    share: float | None = None
    rows: int = 0
    notes: tuple[str, ...] = ()  # what was assumed in reading them, known for sure only at their end
    survey: Survey | None = None
    max_seq_length: int = 0
    packing: str = "off"  # "on", or "unavailable" where it was asked for and this machine cannot
    left_out: LeftOut | None = None
    validation_left_out: LeftOut | None = None
    error: str = ""


@dataclass
class Preparation:
    """`folder` is where prepared rows are kept. `state` is replaced, never changed."""

    folder: Path
    state: Preparing = field(default_factory=Preparing)
    _key: Key | None = None
    _data: PreparedData | None = None
    _head: tuple[Key, PreparedData] | None = None  # the first rows, as they were looked at last

    def __post_init__(self):
        remove_left_behind(self.folder)

    def look(self, config: RunConfig, loaded: LoadedModel | None, token: str | None = None) -> Look:
        """The first rows; with `loaded`, as its model sees them. Raises DataError when no row can be read."""
        rows = open_rows(config.data, token)
        readable = readable_head(rows)
        columns = tuple(islice(dict.fromkeys(column for values in readable for column in values), MAX_COLUMNS))
        found = Look(tuple(rows.notes), columns, tuple(readable[:SHOWN_ROWS]))
        try:
            found = replace(found, shape=recognise(readable, config.data))
            if loaded is not None:
                found = replace(found, data=self._first_rows(config, loaded, token))
        except DataError as error:
            found = replace(found, trouble=str(error))
        return found

    def prepare(
        self,
        config: RunConfig,
        loaded: LoadedModel,
        token: str | None = None,
        should_stop: ShouldStop = lambda: False,
        report: Callable[[float | None, int], None] = lambda share, rows: None,
    ) -> PreparedData:
        """All rows; at once when they are those of the last time. Raises DataError and Stopped."""
        key = _key(config, loaded)
        if self._data is not None and key == self._key:
            self.state = replace(self.state, survey=self._survey(config, loaded), packing=_packing(config, loaded))
            return self._data
        self._data = self._key = None

        def reported(share: float | None, rows: int) -> None:
            self.state = Preparing(config.data.path, True, share, rows)
            report(share, rows)

        reported(0.0, 0)
        try:
            self._data = self._prepare(config, loaded, token, should_stop=should_stop, report=reported)
            leave_if(should_stop)
            self._key = key
            self.state = Preparing(
                path=config.data.path,
                rows=self._data.rows,
                notes=_all_notes(self._data),
                survey=self._survey(config, loaded),
                max_seq_length=_length(config, loaded),
                packing=_packing(config, loaded),
                left_out=self._data.left_out,
                validation_left_out=self._data.own_validation and self._data.own_validation.left_out,
            )
        except BaseException as error:
            self._data = self._key = None
            left_out = replace(error.left_out, path=None) if isinstance(error, NothingLeftError) else None
            said = str(error) if isinstance(error, DataError) else ""
            self.state = Preparing(config.data.path, error=said, left_out=left_out)
            raise
        return self._data

    def at_hand(self, config: RunConfig, loaded: LoadedModel) -> PreparedData | None:
        """The last set that was prepared whole when it is the one that these settings name."""
        return self._data if self.is_current(config, loaded) else None

    def is_current(self, config: RunConfig, loaded: LoadedModel | None) -> bool:
        """Whether the last set that was prepared whole is the one that these settings name."""
        return loaded is not None and self._data is not None and _key(config, loaded) == self._key

    def row(self, config: RunConfig, loaded: LoadedModel, number: int, token: str | None = None) -> RowView:
        """One row as the trainer gets it, of the whole set when it is prepared, else of the first 200.

        Raises DataError when there is no such row, or when it is left out.
        """
        whole = self._data
        data = whole if whole and self.is_current(config, loaded) else self._first_rows(config, loaded, token)
        place = data.find(number)
        if place is None:
            if left := data.left_out.find(number):
                raise DataError(f"Row {number:,} is left out: {left.reason}.")
            among = "There is only 1 row" if data.rows == 1 else f"There are {data.rows:,} rows"
            more = (
                " read so far; check all rows to see those beyond"
                if data is not whole and data.rows >= HEAD_ROWS
                else ""
            )
            raise DataError(f"There is no row {number:,}. {among}{more}.")
        examples, at = place
        return view(examples, at, loaded.tokenizer, loaded.eos_token_ids, examples is data.validation)

    def _first_rows(self, config: RunConfig, loaded: LoadedModel, token: str | None) -> PreparedData:
        key = _key(config, loaded)
        if self._head is None or self._head[0] != key:
            self._head = None
            self._head = (key, self._prepare(config, loaded, token, limit=HEAD_ROWS))
        return self._head[1]

    def _prepare(self, config: RunConfig, loaded: LoadedModel, token: str | None, **kwargs) -> PreparedData:
        only_completions, length = config.training.completion_only_loss, _length(config, loaded)
        ends = loaded.eos_token_ids
        return prepare(
            config.data, loaded.tokenizer, length, only_completions, token, end_ids=ends, parent=self.folder, **kwargs
        )

    def _survey(self, config: RunConfig, loaded: LoadedModel) -> Survey:
        return survey(self._data, config.training, end_mark(loaded.tokenizer, loaded.eos_token_ids))


def _all_notes(data: PreparedData) -> tuple[str, ...]:
    theirs = data.own_validation
    if theirs is None:
        return data.notes
    return (
        *data.notes,
        f"validation rows: {theirs.shape.reason}",
        *(f"validation rows: {note}" for note in theirs.notes),
    )


def _length(config: RunConfig, loaded: LoadedModel) -> int:
    """A model may have been loaded with a shorter length than the form's: its own limit."""
    is_loaded_so = loaded.config.max_seq_length == config.model.max_seq_length
    return loaded.report.max_seq_length if is_loaded_so else config.model.max_seq_length


def _packing(config: RunConfig, loaded: LoadedModel) -> str:
    if not config.training.packing:
        return "off"
    return "on" if loaded.device.type == "cuda" else "unavailable"


def _key(config: RunConfig, loaded: LoadedModel) -> Key:
    """What decides the prepared rows: the settings, the tokenizer, and the files as they stand on disk."""
    data = config.data.model_dump(exclude={"allow_left_out"})
    stamps = (*_stamps(config.data.path), *_stamps(config.data.validation_path or ""))
    model = (loaded.config.model_name, loaded.config.revision)
    return (str(data), model, _length(config, loaded), config.training.completion_only_loss, stamps)


def _stamps(path: str) -> list[tuple[str, int, int]]:
    """The files that a path names, with their size and the time they were written; none for a data set of the hub."""
    try:
        found = [(str(source.path), source.path.stat()) for source in find(path)]
    except (DataError, OSError):  # reading the rows says what is wrong
        return []
    return [(name, about.st_size, about.st_mtime_ns) for name, about in found]
