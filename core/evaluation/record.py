"""What an evaluation found, as it is shown and saved."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.evaluation.bootstrap import FEWEST_ROWS
from core.problems import mark, tr

NOTICEABLE_CHANGE = 0.05  # nats per token; nobody notices a smaller change of the loss in answers
LARGE_CHANGE = 0.3  # nats per token
GUESSING_SHARE = 0.8  # of the loss of guessing at random; a base above this does not know the language

# What the losses on general questions say.
_UNKNOWN = mark(
    "Loss on {prompts} general prompts: {base:.2f} → {tuned:.2f}; random guessing gives {random:.2f}. The base itself "
    "hardly knew the answers, so this says little about forgetting."
)
_NO_CHANGE = mark("Loss on {prompts} general prompts: {base:.2f} → {tuned:.2f}; no change at all.")
_HARDLY_ANY = mark("Loss on {prompts} general prompts: {base:.2f} → {tuned:.2f}; hardly any change.")
_NOT_CLEAR = mark("Loss on {prompts} general prompts: {base:.2f} → {tuned:.2f}; no clear change.")
_BETTER = mark(
    "Loss on {prompts} general prompts: {base:.2f} → {tuned:.2f}; it is now better even at what it was not trained for."
)
_A_LITTLE_WORSE = mark(
    "Loss on {prompts} general prompts: {base:.2f} → {tuned:.2f}; it is now a little worse at what it was not trained "
    "for."
)
_MUCH_WORSE = mark(
    "Loss on {prompts} general prompts: {base:.2f} → {tuned:.2f}; it is now much worse at what it was not trained for."
)


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
        """What you can conclude from the figures, in a few words, which are translated where they are shown."""
        if self.low is None and self.rows < FEWEST_ROWS:
            return mark("too few rows to say")
        if self.difference == self.low == self.high == 0:
            return mark("no difference")
        if not self.is_real:
            return mark("no clear difference")
        if not self.better:
            return mark("more") if self.difference > 0 else mark("less")
        return mark("better") if (self.difference > 0) == (self.better == "higher") else mark("worse")


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
        """One sentence, or two, in the person's language."""
        return tr(
            self._template,
            prompts=self.prompts,
            base=self.base_loss,
            tuned=self.tuned_loss,
            random=self.random_loss,
        )

    @property
    def is_worse(self) -> bool:
        """Whether the model is now worse, a little or much, at what it was not trained for."""
        return self._template in (_A_LITTLE_WORSE, _MUCH_WORSE)

    @property
    def _template(self) -> str:
        change = self.tuned_loss - self.base_loss
        if self.base_loss >= GUESSING_SHARE * self.random_loss:
            return _UNKNOWN
        if change == 0:
            return _NO_CHANGE
        if abs(change) < NOTICEABLE_CHANGE:
            return _HARDLY_ANY
        if self.low is None or not (self.low > 0 or self.high < 0):
            return _NOT_CLEAR
        if change < 0:
            return _BETTER
        return _MUCH_WORSE if change >= LARGE_CHANGE else _A_LITTLE_WORSE


class Evaluation(_Kept):
    """Base and tuned on `rows` rows of `source`; `left_out` were too long. `made` is in seconds since 1970.

    Answers are greedy and have at most `max_new_tokens` tokens. `gained` and `lost` are the rows whose answers improved
    and worsened most; `differing` are some whose answers differ, where there is no reference; `answers` are all rows,
    in order, empty in evaluations from before they were kept. `note` is a warning about the rows, such as that they
    changed since the training; empty when all is well.
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
    answers: tuple[ReadRow, ...] = ()
    forgetting: Forgetting | None = None

    def measure(self, key: str) -> Measure | None:
        """The measure with that key, None where it could not be taken."""
        return next((found for found in self.measures if found.key == key), None)
