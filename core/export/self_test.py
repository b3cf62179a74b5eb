"""Whether an export answers as the model did that was tried: their logits, losses and greedy answers side by side.

The model that was trained is observed first and its logits are kept on disk, so that only one model is in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.answering.greedy import greedy_answers
from core.data.prepared.tokens import UNTRAINED
from core.evaluation.question_rows import Row
from core.export.checks import SMALL_LOSS, TIE, Check, Limits
from core.model.loaded_model import LoadedModel
from core.threads import ShouldStop, leave_if

MAX_VALUES = 64 * 2**20  # logits kept of each model: about 500 positions with the vocabulary of Llama 3
MAX_QUESTIONS, MAX_NEW_TOKENS = 24, 64
FLOOR = -30.0  # a token that is less likely than e to the power of this is never chosen; it may even be rounded to 0


@dataclass(frozen=True)
class Observed:
    """What a model made of the rows.

    `logits` are those of the next token less their log-sum-exp, so natural logarithms of its probabilities: an array of
    shape (positions, vocabulary) in float32. `loss` is per token that was trained on at these positions, None without
    such tokens; `answers` are token ids.
    """

    logits: object
    loss: float | None
    answers: list[list[int]]


def observe(
    loaded: LoadedModel,
    rows: Sequence[Row],
    file: Path,
    should_stop: ShouldStop = lambda: False,
    most: int = 500,
) -> Observed:
    """Runs the model, which is ready to generate, over the rows. What it makes of them is written to `file`.

    Of each row the positions count whose next token was trained on, or the last one if none was; at most `most` in all.
    Raises Stopped.
    """
    import numpy as np
    import torch

    vocabulary = loaded.model.config.vocab_size
    places = places_of(rows, most)
    made = np.memmap(file, np.float32, "w+", shape=(sum(map(len, places)), vocabulary))
    total, count, filled = 0.0, 0, 0
    for row, at in zip(rows, places, strict=True):
        leave_if(should_stop)
        if not at:
            continue
        with torch.inference_mode():
            ids = torch.tensor([row.input_ids.tolist()], device=loaded.device)
            logits = loaded.model(input_ids=ids, use_cache=False).logits[0, at, :vocabulary]
            values = logits.float().log_softmax(-1).cpu().numpy()
        made[filled : filled + len(at)] = values
        for place, value in zip(at, values, strict=True):
            label = row.labels[place + 1] if place + 1 < len(row.input_ids) else UNTRAINED
            if label != UNTRAINED:
                total, count = total - float(value[label]), count + 1
        filled += len(at)
    questions = [row.question for row in rows if row.asked][:MAX_QUESTIONS]
    answers = [ids for ids, _ in greedy_answers(loaded, questions, MAX_NEW_TOKENS, should_stop)] if questions else []
    leave_if(should_stop)
    return Observed(made, total / count if count else None, answers)


def places_of(rows: Sequence[Row], most: int) -> list[list[int]]:
    """The positions of each row whose logits are compared; at most `most` in all."""
    places = []
    for row in rows:
        learned = [at for at, label in enumerate(row.labels[1:]) if label != UNTRAINED] or [len(row.input_ids) - 1]
        places.append(learned[:most])
        most -= len(places[-1])
    return places


def compare(file: str, model: Observed, export: Observed, limits: Limits) -> Check:
    """The export beside the model that was tried."""
    import torch

    largest = divergence = 0.0
    same = clear = 0
    for ours, theirs in zip(model.logits, export.logits, strict=True):
        ours = torch.from_numpy(ours.copy()).double().clamp(min=FLOOR)
        theirs = torch.from_numpy(theirs.copy()).double().clamp(min=FLOOR)
        largest = max(largest, float((ours - theirs).abs().max()))
        ours, theirs = ours.log_softmax(0), theirs.log_softmax(0)  # they were rounded when they were stored
        divergence += float((ours.exp() * (ours - theirs)).sum())
        first, second = ours.topk(2).values
        if first - second > TIE:
            clear += 1
            same += int(ours.argmax() == theirs.argmax())
    positions = len(model.logits)
    equal = sum(a == b for a, b in zip(model.answers, export.answers, strict=True))
    kl, top1 = divergence / max(positions, 1), same / clear if clear else 1.0
    worse = 0.0 if model.loss is None else export.loss - model.loss
    passed = (
        (limits.max_logit_difference is None or largest <= limits.max_logit_difference)
        and kl <= limits.mean_kl
        and top1 >= limits.top1
        and (limits.greedy_differing is None or len(model.answers) - equal <= limits.greedy_differing)
        and (limits.loss is None or worse <= max(limits.loss * (model.loss or 0.0), SMALL_LOSS))
    )
    return Check(file, largest, kl, top1, equal, len(model.answers), export.loss, model.loss, passed)
