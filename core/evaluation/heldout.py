"""The few figures that every run ends with, on its validation rows: loss, exact match, and answers that end themselves.

`core.evaluation.evaluate` measures more.
"""

from collections.abc import Callable
from functools import partial

from core.answering.greedy import greedy_answers
from core.data.prepared.examples_on_disk import Examples
from core.data.prepared.tokens import UNTRAINED, Example
from core.evaluation.batched_answers import row_losses
from core.evaluation.question_rows import plain, split, until_end
from core.model.loaded_model import LoadedModel
from core.model.views import base_view, for_inference
from core.runs.events import HeldOut

MAX_ROWS = 64
ROWS_PER_PASS = 8
MAX_NEW_TOKENS = 256


def measure_heldout(
    loaded: LoadedModel,
    examples: Examples | list[Example],
    should_stop: Callable[[], bool],
    report: Callable[[str, int, int], None] = lambda side, done, total: None,
) -> HeldOut | None:
    """Measures both models on the first 64 examples; None when there are none, or after a stop.

    `report` gets which model it is, in words, and how many of the examples are done.

    The last stretch of trained tokens of a row is its reference answer; everything before it is the question.
    """
    examples = [example for example in examples[:MAX_ROWS] if not example.is_cut]
    if not examples:
        return None
    has_answers = all(example.labels[0] == UNTRAINED for example in examples)
    with for_inference(loaded):
        with base_view(loaded):
            base = _measure(loaded, examples, has_answers, should_stop, partial(report, "the base"))
        tuned = base and _measure(loaded, examples, has_answers, should_stop, partial(report, "the tuned model"))
    if not base or not tuned:
        return None
    return HeldOut(
        rows=len(examples),
        base_loss=base[0],
        tuned_loss=tuned[0],
        base_exact=base[1],
        tuned_exact=tuned[1],
        base_ends=base[2],
        tuned_ends=tuned[2],
    )


def _measure(
    loaded, examples: list[Example], has_answers: bool, should_stop, report: Callable[[int, int], None]
) -> tuple[float, float | None, float | None] | None:
    """Loss per trained token, exact match (0 to 1), share that ends by itself (0 to 1); None after a stop."""
    total, count, exact, ends = 0.0, 0, 0, 0
    for start in range(0, len(examples), ROWS_PER_PASS):
        if should_stop():
            return None
        report(start, len(examples))
        batch = examples[start : start + ROWS_PER_PASS]
        for loss, tokens in row_losses(loaded, batch):
            total, count = total + loss, count + tokens
        if has_answers:
            right, ended = _answers(loaded, batch, should_stop)
            exact, ends = exact + right, ends + ended
    if should_stop():
        return None
    report(len(examples), len(examples))
    shares = (exact / len(examples), ends / len(examples)) if has_answers else (None, None)
    return total / max(count, 1), *shares


def _answers(loaded: LoadedModel, batch: list[Example], should_stop) -> tuple[int, int]:
    """How many answers are an exact match, and how many end by themselves."""
    questions, answers = zip(*map(split, batch), strict=True)
    limit = min(2 * max(map(len, answers)) + 16, MAX_NEW_TOKENS)
    found = greedy_answers(loaded, list(questions), limit, should_stop)
    ends = loaded.eos_token_ids
    right = sum(
        plain(loaded.tokenizer, given) == plain(loaded.tokenizer, until_end(wanted, ends))
        for (given, _), wanted in zip(found, answers, strict=True)
    )
    return right, sum(ended for _, ended in found)
