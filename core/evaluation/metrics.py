"""The measures of two models' answers, with their titles and explanations.

Each measure is a function of sums over rows (`core.evaluation.bootstrap`). ROUGE is that of `core.evaluation.rouge`;
BLEU is computed by sacrebleu, which splits texts into words itself.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

from core.evaluation.bootstrap import paired_bootstrap
from core.evaluation.numbers_in_text import as_number, first_number, is_within
from core.evaluation.record import Measure
from core.evaluation.rouge import rouge, rouge_l
from core.problems import mark

REPEATED_TOKENS = 4  # so many tokens in a row that occurred earlier in the answer count as repeated


@dataclass(frozen=True)
class Given:
    """What one model gave for one row.

    `loss` is the summed negative log likelihood (nats) of the `loss_tokens` trained tokens. `text` is its answer, None
    where there was nothing to answer. `tokens` is the length of the answer, without the token that ends it.
    """

    loss: float = 0.0
    loss_tokens: int = 0
    text: str | None = None
    tokens: int = 0
    ended: bool = False
    repeated: float = 0.0  # share (0 to 1) of its 4-grams of tokens that occurred in it before


def repetition(tokens: Sequence[int]) -> float:
    """Share (0 to 1) of the 4-grams of tokens that occurred earlier in the answer; 0 for answers of fewer tokens."""
    grams = [tuple(tokens[at : at + REPEATED_TOKENS]) for at in range(len(tokens) - REPEATED_TOKENS + 1)]
    return (len(grams) - len(set(grams))) / len(grams) if grams else 0.0


@cache
def _bleu():
    from sacrebleu.metrics import BLEU

    return BLEU(force=True)  # without the warning about texts that are already split into words


def bleu_parts(answer: str, reference: str) -> list[int]:
    """What a row adds to a corpus: words of the answer, words of the reference, matching 1- to 4-grams, all of them."""
    found = _bleu().corpus_score([answer], [[reference]])
    return [found.sys_len, found.ref_len, *found.counts, *found.totals]


def bleu(sums) -> Any:
    """Corpus BLEU (0 to 100) of sums of `bleu_parts`, of shape (sets, 10)."""
    import numpy as np
    from sacrebleu.metrics import BLEU

    def score(row: list[int]) -> float:
        return BLEU.compute_bleu(row[2:6], row[6:10], row[0], row[1], smooth_method="exp").score

    return np.array([score(row) for row in sums.astype(int).tolist()])


def _ratio(sums) -> Any:
    return sums[:, 0] / sums[:, 1]


def _perplexity(sums) -> Any:
    import numpy as np

    return np.exp(np.minimum(_ratio(sums), 700.0))  # e to the 710 overflows


@dataclass(frozen=True)
class Metric:
    """One measure. `title` and `help` are translated where they are shown.

    `needs` is what a row must have: a loss, an answer, an answer and a reference, or a reference that is a number, too.
    `parts` returns what a row adds to each sum; None leaves the row out for both models. `better` is the good
    direction, empty where there is none. `form` is how to write a value.
    """

    key: str
    title: str
    help: str
    needs: Literal["loss", "answer", "reference", "number"]
    better: Literal["lower", "higher", ""]
    form: Literal["figure", "share", "score", "count"]
    parts: Callable[[Given, str], Sequence[float] | None]
    statistic: Callable[[Any], Any] = _ratio


def _error(given: Given, reference: str) -> tuple[float, float] | None:
    number = first_number(given.text)
    return None if number is None else (abs(number - as_number(reference)), 1)


def _within(share: float) -> Callable[[Given, str], tuple[float, float]]:
    return lambda given, reference: (is_within(first_number(given.text), as_number(reference), share), 1)


def _loss(given: Given, reference: str) -> tuple[float, int]:
    return given.loss, given.loss_tokens


METRICS = (
    Metric(
        key="loss",
        title=mark("Loss"),
        help=mark("How unlikely the reference is to the model, in nats per token; lower is better."),
        needs="loss",
        better="lower",
        form="figure",
        parts=_loss,
    ),
    Metric(
        key="perplexity",
        title=mark("Perplexity"),
        help=mark("How many equally likely tokens the model seems to choose from: e to the power of the loss."),
        needs="loss",
        better="lower",
        form="figure",
        parts=_loss,
        statistic=_perplexity,
    ),
    Metric(
        key="exact",
        title=mark("Exact match"),
        help=mark("Share of answers that equal the reference, character for character."),
        needs="reference",
        better="higher",
        form="share",
        parts=lambda given, reference: (given.text == reference, 1),
    ),
    Metric(
        key="rouge_1",
        title=mark("ROUGE-1"),
        help=mark("How many words the answer shares with the reference, in any order, from 0 to 1."),
        needs="reference",
        better="higher",
        form="figure",
        parts=lambda given, reference: (rouge(given.text, reference)[0], 1),
    ),
    Metric(
        key="rouge_2",
        title=mark("ROUGE-2"),
        help=mark("How many pairs of neighboring words the answer shares with the reference, from 0 to 1."),
        needs="reference",
        better="higher",
        form="figure",
        parts=lambda given, reference: (rouge(given.text, reference)[1], 1),
    ),
    Metric(
        key="rouge_l",
        title=mark("ROUGE-L"),
        help=mark("How many words, in the same order, the answer shares with the reference, from 0 to 1."),
        needs="reference",
        better="higher",
        form="figure",
        parts=lambda given, reference: (rouge_l(given.text, reference), 1),
    ),
    Metric(
        key="bleu",
        title=mark("BLEU"),
        help=mark("How many groups of one to four words the answers share with the references, from 0 to 100."),
        needs="reference",
        better="higher",
        form="score",
        parts=lambda given, reference: bleu_parts(given.text, reference),
        statistic=bleu,
    ),
    Metric(
        key="error",
        title=mark("Mean error"),
        help=mark("How far the first number of an answer is from the reference's, where both models gave a number."),
        needs="number",
        better="lower",
        form="figure",
        parts=_error,
    ),
    Metric(
        key="within_10",
        title=mark("Within 10%"),
        help=mark("Share of answers whose number is at most 10% off. An answer without one counts as further off."),
        needs="number",
        better="higher",
        form="share",
        parts=_within(0.1),
    ),
    Metric(
        key="within_20",
        title=mark("Within 20%"),
        help=mark("Share of answers whose number is at most 20% off. An answer without one counts as further off."),
        needs="number",
        better="higher",
        form="share",
        parts=_within(0.2),
    ),
    Metric(
        key="no_number",
        title=mark("No number"),
        help=mark("Share of answers without a number where the reference is a number."),
        needs="number",
        better="lower",
        form="share",
        parts=lambda given, _: (first_number(given.text) is None, 1),
    ),
    Metric(
        key="ends",
        title=mark("Ends by itself"),
        help=mark("Share of answers that ended before the token limit cut them off."),
        needs="answer",
        better="higher",
        form="share",
        parts=lambda given, _: (given.ended, 1),
    ),
    Metric(
        key="length",
        title=mark("Length"),
        help=mark("Tokens per answer, on average."),
        needs="answer",
        better="",
        form="count",
        parts=lambda given, _: (given.tokens, 1),
    ),
    Metric(
        key="repetition",
        title=mark("Repetition"),
        help=mark("Share of groups of four tokens that occurred earlier in the same answer."),
        needs="answer",
        better="lower",
        form="share",
        parts=lambda given, _: (given.repeated, 1),
    ),
)
BY_KEY = {metric.key: metric for metric in METRICS}


class Pair(NamedTuple):
    """A row's reference (None when there is none) and what base and tuned gave for it."""

    reference: str | None
    base: Given
    tuned: Given


def are_numbers(references: Sequence[str]) -> bool:
    """Whether the answers of these rows are numbers: at least half of the references are."""
    return bool(references) and sum(as_number(text) is not None for text in references) * 2 >= len(references)


def measure(pairs: Sequence[Pair]) -> tuple[Measure, ...]:
    """Everything that can be measured on these rows; what needs a reference is left out where there is none."""
    numeric = are_numbers([pair.reference for pair in pairs if _answers(pair, "reference")])
    found = []
    for metric in METRICS:
        if metric.needs == "number" and not numeric:
            continue
        rows = [
            (base, tuned)
            for pair in pairs
            if _answers(pair, metric.needs)
            and (base := metric.parts(pair.base, pair.reference)) is not None
            and (tuned := metric.parts(pair.tuned, pair.reference)) is not None
        ]
        if rows:
            values = paired_bootstrap(*zip(*rows, strict=True), metric.statistic)
            found.append(Measure(key=metric.key, rows=len(rows), better=metric.better, **values._asdict()))
    return tuple(found)


def _answers(pair: Pair, needs: str) -> bool:
    """Whether a row has what a metric needs."""
    if needs == "loss":
        return pair.base.loss_tokens > 0
    if pair.base.text is None or (needs != "answer" and pair.reference is None):
        return False
    return needs != "number" or as_number(pair.reference) is not None


def gain(pair: Pair, numeric: bool) -> tuple[float, float]:
    """How much better the tuned answer is: by ROUGE-L, or by the error of its number, then by loss per token.

    An answer without a number counts as infinitely wrong.
    """
    by_loss = (pair.base.loss - pair.tuned.loss) / pair.base.loss_tokens if pair.base.loss_tokens else 0.0
    if not _answers(pair, "reference"):
        return 0.0, by_loss
    if numeric and _answers(pair, "number"):
        errors = [_error(given, pair.reference) for given in (pair.base, pair.tuned)]
        base, tuned = (math.inf if error is None else error[0] for error in errors)
        return (0.0 if base == tuned else base - tuned), by_loss
    return rouge_l(pair.tuned.text, pair.reference) - rouge_l(pair.base.text, pair.reference), by_loss
