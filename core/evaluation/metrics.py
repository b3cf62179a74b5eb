"""What is measured of two models' answers, and in which words. Knows nothing of models, files or gradio.

Each measure is a function of sums over rows (`core.evaluation.bootstrap`). ROUGE-L is rouge-score's and BLEU is
sacrebleu's; their words are letters and digits of any script, as the libraries' own drop all but English ones (ROUGE)
or know them already (BLEU). Languages without spaces count a whole clause as one word.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, NamedTuple

from core.evaluation.bootstrap import compare
from core.evaluation.numbers_in_text import as_number, first_number, is_within
from core.evaluation.record import Measure

GRAM = 4  # tokens in a row that count as repeated when they stood in the answer before


@dataclass(frozen=True)
class Given:
    """What one model made of one row.

    `loss` is the summed negative log likelihood (nats) of the `loss_tokens` trained tokens; `text` is its answer, None
    where there was nothing to answer; `tokens` are the answer's, without the one that ends it.
    """

    loss: float = 0.0
    loss_tokens: int = 0
    text: str | None = None
    tokens: int = 0
    ended: bool = False
    repeated: float = 0.0  # share (0 to 1) of its 4-grams of tokens that stood in it before


def repetition(tokens: Sequence[int]) -> float:
    """Share (0 to 1) of the 4-grams of tokens that stood in the answer before; 0 for answers of fewer tokens."""
    grams = [tuple(tokens[at : at + GRAM]) for at in range(len(tokens) - GRAM + 1)]
    return (len(grams) - len(set(grams))) / len(grams) if grams else 0.0


class Tokenizer:
    """Words for rouge-score: on English text the same as the library's own, and other scripts are kept."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


@cache
def _rouge():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=Tokenizer())


@cache
def _bleu():
    from sacrebleu.metrics import BLEU

    return BLEU(force=True)  # texts that are split into words already are none of its business: no warning


@lru_cache(maxsize=4096)
def rouge_l(answer: str, reference: str) -> float:
    """F-measure (0 to 1) of the longest common subsequence of words."""
    return _rouge().score(reference, answer)["rougeL"].fmeasure


def bleu_parts(answer: str, reference: str) -> list[int]:
    """What a row adds to a corpus: words of the answer and of the reference, 1- to 4-grams that agree, and all."""
    found = _bleu().corpus_score([answer], [[reference]])
    return [found.sys_len, found.ref_len, *found.counts, *found.totals]


def bleu(sums) -> Any:
    """Corpus BLEU (0 to 100) of sums of `bleu_parts`, of shape (sets, 10)."""
    import numpy as np
    from sacrebleu.metrics import BLEU

    return np.array([
        BLEU.compute_bleu(list(row[2:6]), list(row[6:10]), row[0], row[1], smooth_method="exp").score
        for row in sums.astype(int).tolist()
    ])  # fmt: skip


def _ratio(sums) -> Any:
    return sums[:, 0] / sums[:, 1]


def _perplexity(sums) -> Any:
    import numpy as np

    return np.exp(np.minimum(_ratio(sums), 700.0))  # e to the 710 is beyond any float


@dataclass(frozen=True)
class Metric:
    """`needs`: a loss, an answer, an answer beside a reference, or one beside a reference that is a number.

    `parts` says what a row adds to each sum; None leaves the row out for both models. `better` is the good direction,
    empty where there is none. `form` is how to write a value.
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


METRICS = (
    Metric("loss", "Loss", "How unlikely the reference is to the model, in nats per token; lower is better.",
           "loss", "lower", "figure", lambda given, _: (given.loss, given.loss_tokens)),
    Metric("perplexity", "Perplexity", "Among how many equally likely tokens it seems to choose: e to the loss.",
           "loss", "lower", "figure", lambda given, _: (given.loss, given.loss_tokens), _perplexity),
    Metric("exact", "Exact match", "Answers that equal the reference to the letter.",
           "reference", "higher", "share", lambda given, reference: (given.text == reference, 1)),
    Metric("rouge_l", "ROUGE-L", "Words in common with the reference in the same order, from 0 to 1.",
           "reference", "higher", "figure", lambda given, reference: (rouge_l(given.text, reference), 1)),
    Metric("bleu", "BLEU", "Groups of one to four words in common with the reference, over all rows, from 0 to 100.",
           "reference", "higher", "score", lambda given, reference: bleu_parts(given.text, reference), bleu),
    Metric("error", "Mean error", "How far the first number of an answer is from the reference's, where both gave one.",
           "number", "lower", "figure", _error),
    Metric("within_10", "Within 10%", "Answers whose number is at most 10% off; no number is off.",
           "number", "higher", "share", _within(0.1)),
    Metric("within_20", "Within 20%", "Answers whose number is at most 20% off; no number is off.",
           "number", "higher", "share", _within(0.2)),
    Metric("no_number", "No number", "Answers without a number where the reference is one.",
           "number", "lower", "share", lambda given, _: (first_number(given.text) is None, 1)),
    Metric("ends", "Ends by itself", "Answers that ended before the limit of tokens cut them off.",
           "answer", "higher", "share", lambda given, _: (given.ended, 1)),
    Metric("length", "Length", "Tokens in an answer, on average.",
           "answer", "", "count", lambda given, _: (given.tokens, 1)),
    Metric("repetition", "Repetition", "Groups of four tokens that stood in the same answer before.",
           "answer", "lower", "share", lambda given, _: (given.repeated, 1)),
)  # fmt: skip
BY_KEY = {metric.key: metric for metric in METRICS}


class Pair(NamedTuple):
    """A row's reference (None when there is none) and what base and tuned made of it."""

    reference: str | None
    base: Given
    tuned: Given


def are_numbers(references: Sequence[str]) -> bool:
    """Whether the answers of these rows are numbers: at least half of the references are."""
    return bool(references) and sum(as_number(text) is not None for text in references) * 2 >= len(references)


def measure(pairs: Sequence[Pair]) -> tuple[Measure, ...]:
    """All that can be measured of these rows; what needs a reference is left out where there is none."""
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
            base, tuned = zip(*rows, strict=True)
            values = compare(base, tuned, metric.statistic)
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
    """By how much the tuned answer is better: in ROUGE-L, or in the number's error, then in loss per token.

    An answer without a number counts as wrong as can be.
    """
    by_loss = (pair.base.loss - pair.tuned.loss) / pair.base.loss_tokens if pair.base.loss_tokens else 0.0
    if not _answers(pair, "reference"):
        return 0.0, by_loss
    if numeric and _answers(pair, "number"):
        errors = [_error(given, pair.reference) for given in (pair.base, pair.tuned)]
        base, tuned = (math.inf if error is None else error[0] for error in errors)
        return (0.0 if base == tuned else base - tuned), by_loss
    return rouge_l(pair.tuned.text, pair.reference) - rouge_l(pair.base.text, pair.reference), by_loss
