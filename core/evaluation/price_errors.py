"""By how many dollars two models are off, where the answers of an evaluation are prices.

The number in an answer is its first (`core.evaluation.numbers_in_text`). An answer without one is not a guess
and is left out of the errors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from core.evaluation.numbers_in_text import as_number, first_number
from core.evaluation.record import ReadRow

CLOSE_DOLLARS, CLOSE_SHARE = 40.0, 0.2  # a guess within either of them is close


@dataclass(frozen=True)
class Guess:
    """The price in a row, and what each model guessed, in dollars; None where it gave no number."""

    row: ReadRow
    price: float
    base: float | None
    tuned: float | None


@dataclass(frozen=True)
class Errors:
    """Of one model in `rows` guesses: mean and median error in dollars, the share (0 to 1) of guesses that are close,
    and the root of the mean squared difference of the logarithms of guess + 1 and price + 1 (RMSLE), in which a
    negative guess counts as 0."""

    rows: int
    mean: float
    median: float
    close: float
    rmsle: float


@dataclass(frozen=True)
class PriceErrors:
    """The rows with a price; errors are None of a model that gave no number at all."""

    guesses: tuple[Guess, ...]
    base: Errors | None
    tuned: Errors | None

    def worst(self, most: int) -> tuple[Guess, ...]:
        """The tuned model's guesses that are furthest off, the worst first."""
        guessed = [guess for guess in self.guesses if guess.tuned is not None]
        return tuple(sorted(guessed, key=lambda guess: abs(guess.tuned - guess.price), reverse=True)[:most])


def price_errors(answers: Sequence[ReadRow]) -> PriceErrors | None:
    """None when less than half of the references are numbers."""
    guesses = tuple(
        Guess(row, price, first_number(row.base), first_number(row.tuned))
        for row in answers
        if row.reference and (price := as_number(row.reference)) is not None
    )
    if not guesses or len(guesses) * 2 < len(answers):
        return None
    return PriceErrors(
        guesses,
        _errors([(guess.base, guess.price) for guess in guesses if guess.base is not None]),
        _errors([(guess.tuned, guess.price) for guess in guesses if guess.tuned is not None]),
    )


def _errors(pairs: Sequence[tuple[float, float]]) -> Errors | None:
    if not pairs:
        return None
    off = [abs(guess - price) for guess, price in pairs]
    close = [
        error <= max(CLOSE_DOLLARS, CLOSE_SHARE * abs(price)) for error, (_, price) in zip(off, pairs, strict=True)
    ]
    logs = [(math.log1p(max(guess, 0)) - math.log1p(max(price, 0))) ** 2 for guess, price in pairs]
    return Errors(len(pairs), fmean(off), median(off), sum(close) / len(close), math.sqrt(fmean(logs)))
