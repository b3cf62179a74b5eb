"""What a model makes of rows, many at once: losses and likeliest answers. Knows nothing of adapters, runs or threads.

Batches are as large as memory bounds allow: in 4-bit each pass unpacks every weight, whatever the number of rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from core.answering.greedy import likeliest_answers
from core.data.prepared.tokens import UNTRAINED
from core.evaluation.metrics import Given, repetition
from core.evaluation.question_rows import Row, plain
from core.model.device_memory import free_memory, is_out_of_memory
from core.model.loaded_model import LoadedModel

MAX_LOGITS = 64 * 1024**2  # values at once: with Llama 3's vocabulary, 500 tokens
MAX_CACHE = 512 * 1024**2  # bytes of keys and values at once: with Llama 3.1 8B in 16-bit, 4,000 tokens
MAX_ROWS = 64  # more at once gain nothing
MAX_NEW_TOKENS = 256
LIKE = 32  # tokens by which questions may differ in length and still be batched by the length of their answers


One, Made = TypeVar("One"), TypeVar("Made")


def answer_limit(rows: Sequence[Row]) -> int:
    """Tokens that an answer may have, the same for each row: twice the longest reference and 16, 256 at most."""
    longest = max((row.wanted for row in rows if row.reference is not None), default=MAX_NEW_TOKENS)
    return min(2 * longest + 16, MAX_NEW_TOKENS)


def room(loaded: LoadedModel, row: Row, limit: int) -> int:
    """How many tokens a row's answer may have: the limit, or what the model's length leaves. None for plain text."""
    return max(min(limit, loaded.report.max_seq_length - row.asked), 0) if row.asked else 0


def batches(loaded: LoadedModel, rows: Sequence[Row], limit: int) -> Iterator[list[int]]:
    """The rows' places, the longest first, in batches of like length."""
    budget = max(MAX_CACHE // cache_bytes(loaded), 1)
    positions = loaded.model.config.max_position_embeddings

    def shape(place: int) -> tuple[int, int]:
        length = rows[place].asked or len(rows[place].input_ids)
        return -(-length // LIKE), rows[place].wanted

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
    """Of the keys and values of one token."""
    config = loaded.model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * size * loaded.model.dtype.itemsize


def given(loaded: LoadedModel, batch: Sequence[Row], limit: int, should_stop: Callable[[], bool]) -> list[Given]:
    """What the model, as it stands in `for_inference`, makes of these rows. What it had when stopped is of no use."""
    learned = [place for place, row in enumerate(batch) if row.wanted or not row.asked]
    asked = [place for place, row in enumerate(batch) if row.asked]
    made = [Given()] * len(batch)
    if learned:
        found = row_losses(loaded, [batch[place] for place in learned])
        for place, (loss, count) in zip(learned, found, strict=True):
            made[place] = Given(loss, count)
    if should_stop() or not asked:
        return made
    rooms = [room(loaded, batch[place], limit) for place in asked]

    def answers_of(places: Sequence[int]) -> list[tuple[list[int], bool]]:
        return likeliest_answers(loaded, [batch[place].question for place in places], max(rooms), should_stop)

    answers = halved_when_full(answers_of, asked)
    for place, most, (ids, ended) in zip(asked, rooms, answers, strict=True):
        answer = ids[:most]  # a row with less room than its neighbours went on beside them
        made[place] = replace(
            made[place],
            text=plain(loaded.tokenizer, answer),
            tokens=len(answer),
            ended=ended and len(ids) < most,
            repeated=repetition(answer),
        )
    return made


def row_losses(loaded: LoadedModel, batch: Sequence) -> list[tuple[float, int]]:
    """Of each row, with `input_ids` and `labels`: summed negative log likelihood (nats) of the trained tokens, and
    their number."""
    longest = max(len(row.input_ids) for row in batch)
    if len(batch) > 1 and len(batch) * longest * loaded.model.config.vocab_size > MAX_LOGITS:
        half = len(batch) // 2
        return row_losses(loaded, batch[:half]) + row_losses(loaded, batch[half:])
    return halved_when_full(lambda rows: _losses(loaded, rows), batch)


def halved_when_full(work: Callable[[Sequence[One]], list[Made]], batch: Sequence[One]) -> list[Made]:
    """What the work makes of a batch; of its halves, one after the other, when memory runs out. Raises what the work
    raises, and when a single one is too much that memory ran out."""
    try:
        return work(batch)
    except Exception as error:
        if len(batch) == 1 or not is_out_of_memory(error):
            raise
    free_memory()  # out here, as the error's frames hold the tensors
    half = len(batch) // 2
    return halved_when_full(work, batch[:half]) + halved_when_full(work, batch[half:])


def _losses(loaded: LoadedModel, batch: Sequence) -> list[tuple[float, int]]:
    import torch

    longest = max(len(row.input_ids) for row in batch)

    def padded(rows: Sequence[Sequence[int]], value: int):
        return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], device=loaded.device)

    ids = padded([row.input_ids for row in batch], loaded.tokenizer.pad_token_id)
    labels = padded([row.labels for row in batch], UNTRAINED)
    mask = padded([[1] * len(row.input_ids) for row in batch], 0)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    # A row at a time: the logits of all rows in float32 at once would be gigabytes with Llama 3's vocabulary.
    losses = [
        torch.nn.functional.cross_entropy(
            logits[row, :-1].float(), labels[row, 1:], ignore_index=UNTRAINED, reduction="sum"
        )
        for row in range(len(batch))
    ]
    counts = (labels[:, 1:] != UNTRAINED).sum(dim=1).tolist()
    return list(zip(map(float, losses), counts, strict=True))
