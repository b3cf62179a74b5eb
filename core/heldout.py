"""Base and tuned on rows that neither was trained on: losses, right answers, and whether they end by themselves.

Knows nothing of threads or gradio.
"""

from collections.abc import Callable

from core.dataset import UNTRAINED, Example, Examples
from core.events import HeldOut
from core.model import LoadedModel, base_view, for_inference
from core.sampling import likeliest_answers

ROWS = 64
BATCH = 8
MAX_LOGITS = 64 * 1024**2  # values at once: with Llama 3's vocabulary, 500 tokens
MAX_NEW_TOKENS = 256


def measure_heldout(
    loaded: LoadedModel, examples: Examples | list[Example], should_stop: Callable[[], bool]
) -> HeldOut | None:
    """Both models on the first 64 examples; None when there are none or it was stopped.

    A row's question is all up to its last run of trained tokens, and that run is the answer.
    """
    examples = [example for example in examples[:ROWS] if not example.is_cut]
    if not examples:
        return None
    has_answers = all(example.labels[0] == UNTRAINED for example in examples)
    with for_inference(loaded):
        with base_view(loaded):
            base = _measure(loaded, examples, has_answers, should_stop)
        tuned = base and _measure(loaded, examples, has_answers, should_stop)
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


def _measure(loaded, examples: list[Example], has_answers: bool, should_stop) -> tuple[float, float | None, float | None] | None:
    """Loss per trained token, share right to the letter, share that ends by itself; None when stopped."""
    total, count, exact, ends = 0.0, 0, 0, 0
    for start in range(0, len(examples), BATCH):
        if should_stop():
            return None
        batch = examples[start : start + BATCH]
        loss, tokens = _loss(loaded, batch)
        total, count = total + loss, count + tokens
        if has_answers:
            right, ended = _answers(loaded, batch, should_stop)
            exact, ends = exact + right, ends + ended
    if should_stop():
        return None
    shares = (exact / len(examples), ends / len(examples)) if has_answers else (None, None)
    return total / max(count, 1), *shares


def _loss(loaded: LoadedModel, batch: list[Example]) -> tuple[float, int]:
    """Summed negative log likelihood of the trained tokens (nats), and their number."""
    import torch

    longest = max(len(example.input_ids) for example in batch)
    if len(batch) > 1 and len(batch) * longest * loaded.model.config.vocab_size > MAX_LOGITS:
        halves = [_loss(loaded, batch[: len(batch) // 2]), _loss(loaded, batch[len(batch) // 2 :])]
        return sum(loss for loss, _ in halves), sum(count for _, count in halves)

    device, length = loaded.model.device, longest
    pad = loaded.tokenizer.pad_token_id
    ids = torch.tensor([e.input_ids + [pad] * (length - len(e.input_ids)) for e in batch], device=device)
    labels = torch.tensor([e.labels + [-100] * (length - len(e.labels)) for e in batch], device=device)
    mask = torch.tensor([[1] * len(e.input_ids) + [0] * (length - len(e.input_ids)) for e in batch], device=device)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    # A row at a time: the logits of all rows in float32 at once would be gigabytes with Llama 3's vocabulary.
    losses = [
        torch.nn.functional.cross_entropy(logits[row, :-1].float(), labels[row, 1:], ignore_index=-100, reduction="sum")
        for row in range(len(batch))
    ]
    return float(sum(losses)), int((labels[:, 1:] != -100).sum())


def _answers(loaded: LoadedModel, batch: list[Example], should_stop) -> tuple[int, int]:
    """How many rows are right to the letter, and how many end by themselves."""
    questions, answers = zip(*(_split(example) for example in batch), strict=True)
    most = min(2 * max(map(len, answers)) + 16, MAX_NEW_TOKENS)
    found = likeliest_answers(loaded, list(questions), most, should_stop)
    right = sum(_plain(loaded, given) == _plain(loaded, wanted) for (given, _), wanted in zip(found, answers, strict=True))
    return right, sum(ended for _, ended in found)


def _split(example: Example) -> tuple[list[int], list[int]]:
    """The tokens of the question, and those of the answer."""
    ends = max(place for place, label in enumerate(example.labels) if label != UNTRAINED) + 1
    begins = ends
    while begins and example.labels[begins - 1] != UNTRAINED:
        begins -= 1
    return example.input_ids[:begins], example.input_ids[begins:ends]


def _plain(loaded: LoadedModel, ids: list[int]) -> str:
    """Their text without special tokens."""
    return loaded.tokenizer.decode(ids, skip_special_tokens=True).strip()
