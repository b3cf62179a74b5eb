"""The rows of a run once they are prepared, and what was found while reading them."""

from dataclasses import dataclass
from functools import cached_property

from core.data.columns.shape import Shape
from core.data.prepared.examples_on_disk import Examples, Folder
from core.data.prepared.languages import languages
from core.data.prepared.left_out import LeftOut, ask_consent
from core.problems import DataError
from core.settings.sections import DataConfig


@dataclass
class Found:
    """What one pass over one source came to: `rows` read, some of them `left_out`, the others `examples`."""

    shape: Shape
    notes: tuple[str, ...]
    rows: int = 0
    samples: list[str] | None = None
    placeholder: str = ""
    is_split: bool = False  # whether a row became several examples
    special_rows: int = 0  # rows with a special token in a text of their own
    special_token: str = ""  # the first of those tokens
    examples: Examples | None = None
    left_out: LeftOut | None = None


@dataclass(frozen=True)
class PreparedData:
    """Examples to train on and to check with, of `rows` read; `notes` say what was assumed in reading.

    `own_validation` tells of a validation file of its own, where there is one. `samples` are texts that are learned,
    drawn at random, to tell languages by. `placeholder` is the first unfilled one found. `special_rows` hold a special token,
    such as `special_token`, in a text of their own. The files live as long as this object.
    """

    rows: int
    shape: Shape
    notes: tuple[str, ...]
    train: Examples
    validation: Examples
    left_out: LeftOut
    own_validation: Found | None
    is_split: bool
    samples: tuple[str, ...]
    placeholder: str
    special_rows: int
    special_token: str
    folder: Folder

    @property
    def trained_tokens_share(self) -> float:
        """Share (0 to 1) of the training rows' tokens that the loss is taken over."""
        figures = self.train.figures
        return int(figures["trained"].sum()) / max(int(figures["kept"].sum()), 1)

    @cached_property
    def languages(self) -> tuple[tuple[str, float], ...]:
        """Those of what is learned, by ISO 639-1, with their share of the samples."""
        return languages(self.samples)

    def ask_consent(self, config: DataConfig) -> None:
        """Raises DataError where a person must say something first: the columns, or that rows may be left out."""
        for shape, rows in (
            (self.shape, "rows"),
            (self.own_validation and self.own_validation.shape, "validation rows"),
        ):
            if shape and not shape.is_sure:
                raise DataError(
                    f"It is not sure how to read the {rows} ({shape.reason}): choose the columns on the Data tab "
                    "(data.instruction_column and data.answer_column, or data.text_column)."
                )
        ask_consent(self.left_out, self.rows, config.allow_left_out)
        if self.own_validation:
            ask_consent(self.own_validation.left_out, self.own_validation.rows, config.allow_left_out)

    def find(self, row: int) -> tuple[Examples, int] | None:
        """Where a row of the file stands among the examples; None when it was left out."""
        import numpy as np

        for part in (self.train,) if self.own_validation else (self.train, self.validation):
            places = np.flatnonzero(part.figures["row"] == row)
            if len(places):
                return part, int(places[part.at[places].argmin()])  # of several pieces the first
        return None
