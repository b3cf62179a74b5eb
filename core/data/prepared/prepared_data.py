"""The prepared rows of a run, and what was found while reading them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from core.data.columns.shape import Shape
from core.data.prepared.examples_on_disk import Examples, Folder
from core.data.prepared.languages import languages
from core.data.prepared.left_out import CONSENT_SHARE, LeftOut, too_many_left_out
from core.data.prepared.same_answer import SameAnswer
from core.problems import DataError, tr
from core.settings.sections import DataConfig


@dataclass
class PassResult:
    """The result of reading one source: of `rows`, some are `left_out`, and the others became `examples`."""

    shape: Shape
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rows: int = 0
    samples: list[str] = field(default_factory=list)
    placeholders: list[str] = field(default_factory=list)  # names of those that nobody has filled in, the first ones
    is_split: bool = False  # whether a row became several examples
    special_rows: int = 0  # rows with a special token in their own text
    special_token: str = ""  # the first of those tokens
    changes: Counter = field(default_factory=Counter)  # what the chat template made necessary, and in how many rows
    preview: list[str] = field(default_factory=list)  # the texts of the first rows
    encoding: str = ""  # of the files; empty for what has none
    same_answer: SameAnswer = SameAnswer()
    examples: Examples | None = None
    left_out: LeftOut | None = None


@dataclass(frozen=True)
class PreparedData:
    """Examples for training and validation, from `rows` rows; `notes` are assumptions made while reading.

    `own_validation` is set if validation rows come from a file of their own. `samples` are random texts that are
    trained on, for detecting languages. `placeholders` are the names of the first unfilled ones. `special_rows` is the
    number of rows with a special token, such as `special_token`, in their own text. `warnings` are assumptions that may
    well be wrong, as sentences. `changes` are what the chat template made necessary, with the number of rows; `preview`
    has the texts of the first rows. `prompt_date` is the day that the chat template took for today; None: the real one.
    The files live as long as this object.
    """

    rows: int
    shape: Shape
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    train: Examples
    validation: Examples
    left_out: LeftOut
    own_validation: PassResult | None
    is_split: bool
    samples: tuple[str, ...]
    placeholders: tuple[str, ...]
    special_rows: int
    special_token: str
    changes: Counter
    preview: tuple[str, ...]
    encoding: str
    same_answer: SameAnswer
    folder: Folder
    prompt_date: date | None = None

    @property
    def trained_tokens_share(self) -> float:
        """Share (0 to 1) of the training rows' tokens that count in the loss."""
        figures = self.train.figures
        return int(figures["trained"].sum()) / max(int(figures["kept"].sum()), 1)

    @property
    def change_notes(self) -> tuple[str, ...]:
        """What the chat template made necessary, in sentences."""
        used = self.rows - self.left_out.total
        return tuple(
            tr("{rows:,} of {used:,} rows: {change}.", rows=rows, used=used, change=change)
            for change, rows in self.changes.items()
        )

    @cached_property
    def languages(self) -> tuple[tuple[str, float], ...]:
        """The languages trained on, as ISO 639-1 codes with their share of the samples (0 to 1)."""
        return languages(self.samples)

    def ask_consent(self, config: DataConfig) -> None:
        """Raises DataError if the person must decide something first: the columns, or that rows may be left out."""
        for question in self.open_questions(config):
            raise question

    def open_questions(self, config: DataConfig) -> Iterator[DataError]:
        """What the person must decide before training, each as an error to raise or to show."""
        yield from self.questions_of_shape()
        for source in (self, self.own_validation):
            if source and not config.allow_left_out and source.left_out.share > CONSENT_SHARE:
                yield too_many_left_out(source.left_out, source.rows)

    def questions_of_shape(self) -> Iterator[DataError]:
        """Those of them that are about how to read the rows."""
        if not self.shape.is_sure:
            yield DataError(
                "It is not clear how to read the rows ({reason}): choose the columns on the Data tab "
                "(data.instruction_column and data.answer_column, or data.text_column).",
                reason=self.shape.reason,
            )
        if self.own_validation and not self.own_validation.shape.is_sure:
            yield DataError(
                "It is not clear how to read the validation rows ({reason}): choose the columns on the Data tab "
                "(data.instruction_column and data.answer_column, or data.text_column).",
                reason=self.own_validation.shape.reason,
            )

    def find(self, row: int) -> tuple[Examples, int] | None:
        """The examples that a row of the file is in, and its position there; None if the row was left out."""
        import numpy as np

        for part in (self.train,) if self.own_validation else (self.train, self.validation):
            places = np.flatnonzero(part.figures["row"] == row)
            if len(places):
                return part, int(places[part.at[places].argmin()])  # the first part of a row that was split
        return None
