"""The rows that a form names: the first ones to look at, or all of them prepared, with the model's tokenizer.

The tokenizer is that of the loaded model, or one that was loaded alone: both see the same tokens. The last set that
was prepared in full is kept, so that training need not prepare it again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.columns.recognise import recognise
from core.data.columns.shape import Shape
from core.data.files.find_files import find
from core.data.prepared.before_start import badly_wrong
from core.data.prepared.examples_on_disk import remove_left_behind
from core.data.prepared.left_out import LeftOut, NothingLeftError
from core.data.prepared.one_pass import HEAD_ROWS, readable_head
from core.data.prepared.prepare import open_rows, prepare
from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.row_view import RowView, end_mark, view
from core.data.prepared.survey import Survey, survey
from core.data.prompts.prompt_date import prints_date
from core.hub_names import Token
from core.model.loaded_model import Reader
from core.problems import DataError, tr
from core.settings.run_config import RunConfig
from core.threads import ShouldStop, leave_if

SHOWN_ROWS = 5
MAX_COLUMNS = 1000  # offered to choose from
Key = tuple


@dataclass(frozen=True)
class Look:
    """The first rows of a set. `trouble` says why nothing can be trained on them as they are; `data` are the first 200
    rows prepared, if the tokenizer is loaded and they can be; `waits`: it is being loaded."""

    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    shape: Shape | None = None
    trouble: str = ""
    data: PreparedData | None = None
    waits: bool = False


@dataclass(frozen=True)
class Preparing:
    """How far reading the whole set is (`share` 0 to 1, None when unknown), or what it found."""

    path: str = ""
    doing: bool = False
    share: float | None = None
    rows: int = 0
    notes: tuple[str, ...] = ()  # what was assumed in reading them, complete only after the last row
    survey: Survey | None = None
    max_seq_length: int = 0
    packing: str = "off"  # "on", "off", or "unavailable": wanted, but this machine cannot
    left_out: LeftOut | None = None
    validation_left_out: LeftOut | None = None
    error: str = ""


@dataclass
class Preparation:
    """`folder` is where prepared rows are kept. `state` is replaced, never changed."""

    folder: Path
    state: Preparing = field(default_factory=Preparing)
    _key: Key | None = None
    _shown: Key | None = None  # the settings of which `state` tells
    _data: PreparedData | None = None
    _head: tuple[Key, PreparedData] | None = None  # the first rows, as they were last looked at

    def __post_init__(self):
        remove_left_behind(self.folder)

    def look(self, config: RunConfig, reader: Reader | None, token: Token = None) -> Look:
        """The first rows; with a `reader`, also as its model sees them. Raises DataError when no row can be read."""
        rows = open_rows(config.data, token)
        readable = readable_head(rows)
        columns = tuple(islice(dict.fromkeys(column for values in readable for column in values), MAX_COLUMNS))
        found = Look(tuple(rows.notes), columns, tuple(readable[:SHOWN_ROWS]))
        try:
            found = replace(found, shape=recognise(readable, config.data))
            if reader is not None:
                data = self._first_rows(config, reader, token)
                found = replace(found, data=data, notes=(*found.notes, *data.change_notes))
        except DataError as error:
            found = replace(found, trouble=str(error))
        return found

    def prepare(
        self,
        config: RunConfig,
        reader: Reader,
        token: Token = None,
        should_stop: ShouldStop = lambda: False,
        report: Callable[[float | None, int], None] = lambda share, rows: None,
        prompt_date: date | None = None,
    ) -> PreparedData:
        """All rows; at once when they are the ones prepared last. Raises DataError and Stopped.

        `prompt_date` is the day that the chat template takes for today, by default the real one.
        """
        prompt_date = prompt_date or date.today()
        key, self._shown = _key(config, reader, prompt_date), _told_of(config)
        if self._data is not None and key == self._key:
            self.state = replace(self.state, survey=self._survey(config, reader), packing=_packing(config, reader))
            return self._data
        self._data = self._key = None

        def reported(share: float | None, rows: int) -> None:
            self.state = Preparing(config.data.path, True, share, rows)
            report(share, rows)

        reported(0.0, 0)
        try:
            self._data = self._prepare(config, reader, token, prompt_date, should_stop=should_stop, report=reported)
            leave_if(should_stop)
            self._key = key
            self.state = Preparing(
                path=config.data.path,
                rows=self._data.rows,
                notes=_all_notes(self._data),
                survey=self._survey(config, reader),
                max_seq_length=_length(config, reader),
                packing=_packing(config, reader),
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

    def badly_wrong(self, config: RunConfig) -> tuple[str, ...]:
        """What is badly wrong with the rows that were just prepared (`core.data.prepared.before_start`).

        Raises DataError if it is not clear how to read them.
        """
        return badly_wrong(self._data, self.state.survey, config.data, self.state.max_seq_length)

    def forget(self) -> None:
        """Removes what was prepared."""
        self._data = self._key = self._head = None
        self.state = Preparing()

    def at_hand(self, config: RunConfig, reader: Reader) -> PreparedData | None:
        """The last set that was prepared in full, if it is the one that these settings name."""
        return self._data if self.is_current(config, reader) else None

    def is_current(self, config: RunConfig, reader: Reader | None) -> bool:
        """Whether the last set that was prepared in full is the one that these settings name."""
        return reader is not None and self._data is not None and _key(config, reader, date.today()) == self._key

    def shows(self, config: RunConfig) -> bool:
        """Whether `state` tells of the rows that these settings name, or of no rows at all."""
        return self._shown in (None, _told_of(config))

    def row(self, config: RunConfig, reader: Reader, number: int, token: Token = None) -> RowView:
        """One row as the trainer gets it, from the whole set if it is prepared, else from the first 200 rows.

        Raises DataError when there is no such row, or when it is left out.
        """
        whole = self._data
        data = whole if whole and self.is_current(config, reader) else self._first_rows(config, reader, token)
        place = data.find(number)
        if place is None:
            raise _no_row(number, data, is_whole=data is whole)
        examples, at = place
        return view(examples, at, reader.tokenizer, reader.eos_token_ids, examples is data.validation)

    def _first_rows(self, config: RunConfig, reader: Reader, token: Token) -> PreparedData:
        today = date.today()
        key = _key(config, reader, today)
        if self._head is None or self._head[0] != key:
            self._head = None
            self._head = (key, self._prepare(config, reader, token, today, limit=HEAD_ROWS))
        return self._head[1]

    def _prepare(self, config: RunConfig, reader: Reader, token: Token, prompt_date: date, **kwargs) -> PreparedData:
        return prepare(
            config.data, reader.tokenizer, _length(config, reader), config.training.completion_only_loss, token,
            end_ids=reader.eos_token_ids, parent=self.folder, embeddings=reader.embeddings,
            prompt_date=prompt_date, **kwargs,
        )  # fmt: skip

    def _survey(self, config: RunConfig, reader: Reader) -> Survey:
        return survey(self._data, config.training, end_mark(reader.tokenizer, reader.eos_token_ids))


def _no_row(number: int, data: PreparedData, is_whole: bool) -> DataError:
    if left := data.left_out.find(number):
        return DataError("Row {number:,} is left out: {reason}.", number=number, reason=left.reason)
    if not is_whole and data.rows >= HEAD_ROWS:
        return DataError(
            "There is no row {number:,}: there are {rows:,} rows read so far; check all rows to see the others.",
            number=number, rows=data.rows,
        )  # fmt: skip
    if data.rows == 1:
        return DataError("There is no row {number:,}: there is only 1 row.", number=number, rows=1)
    return DataError("There is no row {number:,}: there are {rows:,} rows.", number=number, rows=data.rows)


def _all_notes(data: PreparedData) -> tuple[str, ...]:
    theirs = data.own_validation
    if theirs is None:
        return data.notes
    of_validation = (tr("validation rows: {note}", note=note) for note in (theirs.shape.reason, *theirs.notes))
    return (*data.notes, *of_validation)


def _length(config: RunConfig, reader: Reader) -> int:
    """The length that rows are cut to. A model's own limit may be shorter than the length it was loaded with."""
    is_loaded_so = reader.config.max_seq_length == config.model.max_seq_length
    return reader.max_seq_length if is_loaded_so else config.model.max_seq_length


def _packing(config: RunConfig, reader: Reader) -> str:
    if not config.training.packing:
        return "off"
    return "on" if reader.is_on_gpu else "unavailable"


def _key(config: RunConfig, reader: Reader, prompt_date: date) -> Key:
    """What decides how rows are prepared: the settings, the tokenizer, the files as they are on disk, and the date if
    the prompts print one."""
    model = (reader.config.model_name, reader.config.revision, reader.config.chat_template)
    printed = prompt_date if prints_date(reader.tokenizer, config.data.prompt_template) else None
    return (*_settings_of(config), model, _length(config, reader), printed)


def _told_of(config: RunConfig) -> Key:
    """The settings that the figures of the rows depend on: how many steps an epoch has, and whether rows are packed."""
    return (*_settings_of(config), config.training.effective_batch, config.training.packing)


def _settings_of(config: RunConfig) -> Key:
    """The settings among what decides how rows are prepared, and the files as they are on disk."""
    data = config.data.model_dump(exclude={"allow_left_out"})
    stamps = (*_stamps(config.data.path), *_stamps(config.data.validation_path or ""))
    model = config.model.model_name, config.model.revision, config.model.max_seq_length, config.model.chat_template
    return (str(data), model, config.training.completion_only_loss, stamps)


def _stamps(path: str) -> list[tuple[str, int, int]]:
    """The files that a path names, with their sizes and modification times; none for a dataset on the hub."""
    try:
        found = [(str(source.path), source.path.stat()) for source in find(path)]
    except (DataError, OSError):  # reading the rows reports what is wrong
        return []
    return [(name, about.st_size, about.st_mtime_ns) for name, about in found]
