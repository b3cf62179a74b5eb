"""Base and tuned on rows: both models answer each batch, one after the other. Knows nothing of runs or gradio."""

import time
from collections.abc import Callable, Sequence

from core.evaluation.batched_answers import answer_limit, batches, given
from core.evaluation.forgetting import forgetting, general_losses
from core.evaluation.metrics import Given, Pair, are_numbers, gain, measure
from core.evaluation.question_rows import Row, plain
from core.evaluation.record import Evaluation, ReadRow
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view, for_inference
from core.stopping import leave_if

READ = 8  # rows to read that gained most, and as many that lost most
SHOWN = 2000  # characters of a text to read


def evaluate(
    loaded: LoadedModel,
    adapters: tuple[str | None, str | None],
    rows: Sequence[Row],
    should_stop: Callable[[], bool],
    report: Callable[[float, str], None],
    general: Sequence[Row] = (),
    frame: tuple[str, str] = ("", ""),
) -> Evaluation:
    """All measures of two models: PEFT's names of their adapters, None for the base.

    `report` is told the share that is done (0 to 1) and how many rows. `general` are those that forgetting is told by.
    `frame` are the words that the prompt template puts around each question, not worth reading. Raises Stopped.
    """
    began = time.monotonic()
    limit = answer_limit(rows)
    found: tuple[list, list] = ([Given()] * len(rows), [Given()] * len(rows))
    elsewhere: list[list[tuple[float, int]]] = []
    done = 0
    report(0.0, f"0 of {len(rows):,} rows")
    with for_inference(loaded):
        for batch in batches(loaded, rows, limit):
            for side, (name, answers) in enumerate(zip(adapters, found, strict=True)):
                with adapter_view(loaded, name):
                    made = given(loaded, [rows[place] for place in batch], limit, should_stop)
                leave_if(should_stop)
                for place, one in zip(batch, made, strict=True):
                    answers[place] = one
                done += len(batch) * side
                share = (done + len(batch) / 2 * (1 - side)) / len(rows)  # the base's answers are half of a row
                report(share, f"{done:,} of {len(rows):,} rows")
        for name in adapters if general else ():
            leave_if(should_stop)
            with adapter_view(loaded, name):
                elsewhere.append(general_losses(loaded, general))
    pairs = [Pair(row.reference, base, tuned) for row, base, tuned in zip(rows, *found, strict=True)]
    return Evaluation(
        rows=len(rows),
        max_new_tokens=limit,
        measures=measure(pairs),
        forgetting=forgetting(loaded, *elsewhere) if elsewhere else None,
        seconds=time.monotonic() - began,
        **_to_read(loaded, rows, pairs, frame),
    )


def _to_read(loaded: LoadedModel, rows: Sequence[Row], pairs: Sequence[Pair], frame) -> dict[str, tuple[ReadRow, ...]]:
    """The rows that gained and lost most; where none can, the first whose answers differ."""

    def shown(place: int) -> ReadRow:
        row, pair = rows[place], pairs[place]
        # Of plain text, with nothing to answer, the text itself.
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
    gained = [place for place in reversed(order) if gains[place] > (0, 0)][:READ]
    lost = [place for place in order if gains[place] < (0, 0)][:READ]
    differing = [
        place for place, (reference, base, tuned) in enumerate(pairs) if reference is None and base.text != tuned.text
    ]
    places = {"gained": gained, "lost": lost, "differing": differing[:READ]}
    return {name: tuple(map(shown, found)) for name, found in places.items()}


def _per_token(one: Given) -> float | None:
    return one.loss / one.loss_tokens if one.loss_tokens else None


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
