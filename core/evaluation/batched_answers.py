"""Losses and greedy answers of a model, many rows at once.

Batches are as large as the limits below allow: in 4-bit each pass unpacks every weight, whatever the number of rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from typing import TypeVar

from core.answering.answer_text import answer_text
from core.answering.greedy import greedy_answers
from core.answering.thinking import spoken
from core.data.prepared.tokens import UNTRAINED
from core.evaluation.metrics import Given, repetition
from core.evaluation.question_rows import Row
from core.model.device_memory import free_memory, is_out_of_memory
from core.model.loaded_model import LoadedModel

MAX_LOGITS = 64 * 1024**2  # values at once: 500 tokens with Llama 3's vocabulary
MAX_CACHE_BYTES = 512 * 1024**2  # of keys and values at once: 4,000 tokens with Llama 3.1 8B in 16-bit
MAX_ROWS = 64  # more at once are no faster
MAX_NEW_TOKENS = 256
LENGTH_STEP = 32  # questions whose lengths differ by fewer tokens are batched by the length of their answers

One, Made = TypeVar("One"), TypeVar("Made")


def answer_limit(rows: Sequence[Row]) -> int:
    """Tokens that every answer may have: twice the longest reference plus 16, at most 256."""
    longest = max((row.wanted for row in rows if row.reference is not None), default=MAX_NEW_TOKENS)
    return min(2 * longest + 16, MAX_NEW_TOKENS)


def room(loaded: LoadedModel, row: Row, limit: int) -> int:
    """Tokens that a row's answer may have: the limit, or what the model's length leaves. 0 for plain text."""
    return max(min(limit, loaded.report.max_seq_length - row.asked), 0) if row.asked else 0


def batches(loaded: LoadedModel, rows: Sequence[Row], limit: int) -> Iterator[list[int]]:
    """The rows' places in `rows`, the longest first, in batches of similar length."""
    budget = max(MAX_CACHE_BYTES // cache_bytes(loaded), 1)
    positions = loaded.model.config.max_position_embeddings

    def shape(place: int) -> tuple[int, int]:
        length = rows[place].asked or len(rows[place].input_ids)
        return -(-length // LENGTH_STEP), rows[place].wanted

    def has_space(batch: list[int]) -> bool:
        asked = max(rows[place].asked for place in batch)
        length = asked + max(room(loaded, rows[place], limit) for place in batch)
        length = max(length, *(len(rows[place].input_ids) for place in batch))
        return len(batch) <= MAX_ROWS and len(batch) * length <= budget and length <= positions

    batch: list[int] = []
    for place in sorted(range(len(rows)), key=shape, reverse=True):
        if batch and not has_space([*batch, place]):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def cache_bytes(loaded: LoadedModel) -> int:
    """Bytes of the keys and values of one token."""
    config = loaded.model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * size * loaded.model.dtype.itemsize


def given(loaded: LoadedModel, batch: Sequence[Row], limit: int, should_stop: Callable[[], bool]) -> list[Given]:
    """Losses and answers of the model inside `for_inference`. After a stop the answers are incomplete."""
    learned = [place for place, row in enumerate(batch) if row.wanted or not row.asked]
    asked = [place for place, row in enumerate(batch) if row.asked]
    made = [Given() for _ in batch]
    if learned:
        found = row_losses(loaded, [batch[place] for place in learned])
        for place, (loss, count) in zip(learned, found, strict=True):
            made[place] = Given(loss, count)
    if should_stop() or not asked:
        return made
    rooms = [room(loaded, batch[place], limit) for place in asked]

    def answers_of(places: Sequence[int]) -> list[tuple[list[int], bool]]:
        return greedy_answers(loaded, [batch[place].question for place in places], max(rooms), should_stop)

    answers = halved_when_full(answers_of, asked)
    for place, most, (ids, ended) in zip(asked, rooms, answers, strict=True):
        answer = ids[:most]  # a row with less room than others in its batch was still given more tokens
        ended = ended and len(ids) < most
        made[place] = replace(
            made[place],
            text=spoken(answer_text(loaded.tokenizer, answer, "itself" if ended else "limit").strip()),
            tokens=len(answer),
            ended=ended,
            repeated=repetition(answer),
        )
    return made


def row_losses(loaded: LoadedModel, batch: Sequence) -> list[tuple[float, int]]:
    """For each row, with `input_ids` and `labels`: the summed negative log likelihood (nats) of its trained tokens, and
    how many there are."""
    longest = max(len(row.input_ids) for row in batch)
    if len(batch) > 1 and len(batch) * longest * loaded.model.config.vocab_size > MAX_LOGITS:
        half = len(batch) // 2
        return row_losses(loaded, batch[:half]) + row_losses(loaded, batch[half:])
    return halved_when_full(lambda rows: _losses(loaded, rows), batch)


def halved_when_full(work: Callable[[Sequence[One]], list[Made]], batch: Sequence[One]) -> list[Made]:
    """The results of `work` for a batch; when memory runs out, of its halves, one after the other.

    Raises what `work` raises, including that memory ran out if a single row is too much.
    """
    try:
        return work(batch)
    except Exception as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
    free_memory()  # after the except block, since the error's frames keep the tensors alive
    half = len(batch) // 2
    return halved_when_full(work, batch[:half]) + halved_when_full(work, batch[half:])


def _losses(loaded: LoadedModel, batch: Sequence) -> list[tuple[float, int]]:
    import torch

    longest = max(len(row.input_ids) for row in batch)

    def padded(rows: Sequence[Sequence[int]], value: int):
        return torch.tensor([[*row, *repeat(value, longest - len(row))] for row in rows], device=loaded.device)

    ids = padded([row.input_ids for row in batch], loaded.tokenizer.pad_token_id)
    labels = padded([row.labels for row in batch], UNTRAINED)
    mask = padded([[1] * len(row.input_ids) for row in batch], 0)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    # Row by row: the logits of all rows in float32 would take gigabytes with Llama 3's vocabulary.
    losses = [
        torch.nn.functional.cross_entropy(
            logits[row, :-1].float(), labels[row, 1:], ignore_index=UNTRAINED, reduction="sum"
        )
        for row in range(len(batch))
    ]
    counts = (labels[:, 1:] != UNTRAINED).sum(dim=1).tolist()
    return list(zip(map(float, losses), counts, strict=True))
