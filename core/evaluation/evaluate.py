"""Measures two models on rows: both answer each batch, one after the other."""

import time
from collections.abc import Callable, Sequence

from core.evaluation.batched_answers import answer_limit, batches, given
from core.evaluation.forgetting import forgetting, general_losses
from core.evaluation.metrics import Given, Pair, are_numbers, gain, measure
from core.evaluation.question_rows import Row, plain
from core.evaluation.record import Evaluation, ReadRow
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference
from core.problems import mark, tr
from core.threads import leave_if

ROWS_TO_READ = 8  # of each kind: gained most, lost most, differing
TEXT_TO_READ = 2000  # characters of each text


def evaluate(
    loaded: LoadedModel,
    adapters: tuple[str | None, str | None],
    rows: Sequence[Row],
    should_stop: Callable[[], bool],
    report: Callable[[float, str], None],
    general: Sequence[Row] = (),
    frame: tuple[str, str] = ("", ""),
) -> Evaluation:
    """All measures of two models, given by PEFT's names of their adapters, None for the base.

    `report` gets the share done (0 to 1) and the number of rows in words. `general` are the rows for forgetting.
    `frame` is what the prompt template puts before and after each question, to be cut from the rows to read.
    Raises Stopped.
    """
    began = time.monotonic()
    limit = answer_limit(rows)
    found = tuple([Given() for _ in rows] for _ in adapters)
    general_of_each: list[list[tuple[float, int]]] = []
    done = 0
    report(0.0, tr("{done:,} of {total:,} rows", done=0, total=len(rows)))
    with for_inference(loaded):
        for batch in batches(loaded, rows, limit):
            for side, (name, answers) in enumerate(zip(adapters, found, strict=True)):
                with adapter_view(loaded, name):
                    made = given(loaded, [rows[place] for place in batch], limit, should_stop)
                leave_if(should_stop)
                for place, one in zip(batch, made, strict=True):
                    answers[place] = one
                done += len(batch) * side
                share = (done + len(batch) / 2 * (1 - side)) / len(
                    rows
                )  # a row that only the base has answered is half done
                report(share, tr("{done:,} of {total:,} rows", done=done, total=len(rows)))
        for number, name in enumerate(adapters if general else (), 1):
            leave_if(should_stop)
            words = mark("All {rows:,} rows are done; general questions, model {number} of {models}")
            report(1.0, tr(words, rows=len(rows), number=number, models=len(adapters)))
            with adapter_view(loaded, name):
                general_of_each.append(general_losses(loaded, general))
    pairs = [Pair(row.reference, base, tuned) for row, base, tuned in zip(rows, *found, strict=True)]
    return Evaluation(
        rows=len(rows),
        max_new_tokens=limit,
        measures=measure(pairs),
        forgetting=forgetting(loaded, *general_of_each) if general_of_each else None,
        seconds=time.monotonic() - began,
        **_to_read(loaded, rows, pairs, frame),
    )


def _to_read(loaded: LoadedModel, rows: Sequence[Row], pairs: Sequence[Pair], frame) -> dict[str, tuple[ReadRow, ...]]:
    """All rows, those that gained and lost most, and without references the first whose answers differ."""

    def shown(place: int) -> ReadRow:
        row, pair = rows[place], pairs[place]
        # Plain text has no question, so it is shown itself.
        question = plain(loaded.tokenizer, row.question if row.asked else row.input_ids.tolist())
        return ReadRow(
            question=_cut(question.removeprefix(frame[0]).removesuffix(frame[1]).strip()),
            reference=None if row.reference is None else _cut(row.reference),
            base=_cut(pair.base.text or ""),
            tuned=_cut(pair.tuned.text or ""),
            base_loss=_per_token(pair.base),
            tuned_loss=_per_token(pair.tuned),
        )

    numeric = are_numbers([pair.reference for pair in pairs if pair.reference is not None])
    gains = [gain(pair, numeric) for pair in pairs]
    order = sorted(range(len(rows)), key=gains.__getitem__)
    gained = [place for place in reversed(order) if gains[place] > (0, 0)][:ROWS_TO_READ]
    lost = [place for place in order if gains[place] < (0, 0)][:ROWS_TO_READ]
    differing = [
        place for place, (reference, base, tuned) in enumerate(pairs) if reference is None and base.text != tuned.text
    ]
    places = {"gained": gained, "lost": lost, "differing": differing[:ROWS_TO_READ], "answers": range(len(rows))}
    return {name: tuple(map(shown, found)) for name, found in places.items()}


def _per_token(one: Given) -> float | None:
    return one.loss / one.loss_tokens if one.loss_tokens else None


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_TO_READ else f"{text[:TEXT_TO_READ]}…"
