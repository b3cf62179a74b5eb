"""What an evaluation found, as it is shown and saved."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.evaluation.bootstrap import FEWEST_ROWS

NOTICEABLE_CHANGE = 0.05  # nats per token; nobody notices a smaller change of the loss in answers
LARGE_CHANGE = 0.3  # nats per token
GUESSING_SHARE = 0.8  # of the loss of guessing at random; a base above this does not know the language


class _Kept(BaseModel):
    # A loss may be infinite; JSON itself has no such number.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")


class Source(_Kept):
    """What to measure on: the run's validation rows, the rows of a data file, or the prompts in a file."""

    kind: Literal["validation", "file", "prompts"] = "validation"
    path: str = ""


class Measure(_Kept):
    """One measure of both models over `rows` rows. `low` and `high` are the 95% interval of tuned - base.

    They are None when there are too few rows for an interval, or when some of the losses are infinite.
    """

    key: str
    rows: int
    better: Literal["lower", "higher", ""]
    base: float
    tuned: float
    difference: float
    low: float | None
    high: float | None

    @property
    def is_real(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low is not None and (self.low > 0 or self.high < 0)

    @property
    def verdict(self) -> str:
        """What you can conclude from the figures, in a few words."""
        if self.low is None:
            return "too few rows to say" if self.rows < FEWEST_ROWS else "no clear difference"
        if self.difference == self.low == self.high == 0:
            return "no difference"
        if not self.is_real:
            return "no clear difference"
        if not self.better:
            return "more" if self.difference > 0 else "less"
        return "better" if (self.difference > 0) == (self.better == "higher") else "worse"


class ReadRow(_Kept):
    """A row to read: texts without special tokens, cut if long. `reference` is None when there is none.

    `base` and `tuned` are empty where there was nothing to answer. `base_loss` and `tuned_loss` are per token.
    """

    question: str
    reference: str | None
    base: str
    tuned: str
    base_loss: float | None
    tuned_loss: float | None


class Forgetting(_Kept):
    """Loss per token on `prompts` general questions, with the interval of the difference (tuned - base).

    `random_loss` is the loss of guessing at random: the logarithm of the vocabulary's size.
    """

    prompts: int
    base_loss: float
    tuned_loss: float
    low: float | None
    high: float | None
    random_loss: float

    @property
    def words(self) -> str:
        """One sentence, or two."""
        figures = f"Loss on {self.prompts} general prompts: {self.base_loss:.2f} → {self.tuned_loss:.2f}"
        if self.base_loss >= GUESSING_SHARE * self.random_loss:
            return (
                f"{figures}; random guessing gives {self.random_loss:.2f}. The base itself hardly knew the answers, so "
                "this says little about forgetting."
            )
        return f"{figures}; {self._verdict}."

    @property
    def _verdict(self) -> str:
        change = self.tuned_loss - self.base_loss
        if change == 0:
            return "no change at all"
        if abs(change) < NOTICEABLE_CHANGE:
            return "hardly any change"
        if self.low is None or not (self.low > 0 or self.high < 0):
            return "no clear change"
        if change < 0:
            return "it is now better even at what it was not trained for"
        how = "much worse" if change >= LARGE_CHANGE else "a little worse"
        return f"it is now {how} at what it was not trained for"


class Evaluation(_Kept):
    """Base and tuned on `rows` rows of `source`; `left_out` were too long. `made` is in seconds since 1970.

    Answers are greedy and have at most `max_new_tokens` tokens. `gained` and `lost` are the rows whose answers improved
    and worsened most; `differing` are some whose answers differ, where there is no reference. `note` is a warning about
    the rows, such as that they changed since the training; empty when all is well.
    """

    run_id: str = ""
    made: float = Field(0.0, ge=0, le=1e11)
    seconds: float = 0.0
    source: Source = Source()
    rows: int
    left_out: int = 0
    note: str = ""
    max_new_tokens: int
    measures: tuple[Measure, ...]
    gained: tuple[ReadRow, ...] = ()
    lost: tuple[ReadRow, ...] = ()
    differing: tuple[ReadRow, ...] = ()
    forgetting: Forgetting | None = None

    def measure(self, key: str) -> Measure | None:
        """The measure with that key, None where it could not be taken."""
        return next((found for found in self.measures if found.key == key), None)
