"""How sure a difference between two models is: the paired bootstrap. Knows nothing of models or of what is measured.

The rows are drawn anew with repetition, as many as there are, and the difference is taken of each such set, for both
models on the same rows; 95% of the differences lie in the interval (percentiles 2.5 and 97.5; Efron and Tibshirani,
An Introduction to the Bootstrap, 1993). 1,000 sets, drawn with the seed 3407, so that the same rows give the same
interval. All measures are functions of sums over rows, so that a set costs one product and not a pass over its rows.
"""

from collections.abc import Callable
from typing import NamedTuple

RESAMPLES = 1000
SEED = 3407
FEWEST = 6  # rows; of fewer, sets that are all of one sign come up by chance too often to say anything


class Paired(NamedTuple):
    """A statistic of both models, its difference (tuned - base) and the ends of its interval.

    The ends are None for few rows, and where a row without bound leaves no interval.
    """

    base: float
    tuned: float
    difference: float
    low: float | None
    high: float | None


def compare(base, tuned, statistic: Callable) -> Paired:
    """`base` and `tuned` are arrays of shape (rows, parts): what each row adds to each sum.

    `statistic` takes sums of shape (sets, parts) and returns what is measured, of shape (sets,).
    """
    import numpy as np

    base, tuned = np.asarray(base, dtype=float), np.asarray(tuned, dtype=float)
    first, second = (float(statistic(parts.sum(axis=0, keepdims=True))[0]) for parts in (base, tuned))
    rows = len(base)
    if np.array_equal(base, tuned):  # nothing to be rounded: the same in each row is the same in each set
        return Paired(first, first, 0.0, *((0.0, 0.0) if rows >= FEWEST else (None, None)))
    if rows < FEWEST:
        return Paired(first, second, second - first, None, None)
    draw = np.random.default_rng(SEED)
    sums = np.empty((2, RESAMPLES, base.shape[1]))
    with np.errstate(invalid="ignore"):  # of what is infinite: told by what comes out
        for at in range(RESAMPLES):
            times = np.bincount(draw.integers(rows, size=rows), minlength=rows)
            sums[:, at] = times @ base, times @ tuned
        ends = np.percentile(statistic(sums[1]) - statistic(sums[0]), [2.5, 97.5])
    low, high = map(float, ends) if np.isfinite(ends).all() else (None, None)
    return Paired(first, second, second - first, low, high)
