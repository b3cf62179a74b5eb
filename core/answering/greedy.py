"""Greedy answers to several questions in one batch."""

from collections.abc import Callable

from core.answering.own_settings import generate
from core.answering.sampling import end_criteria


def greedy_answers(
    loaded, questions: list[list[int]], max_new_tokens: int, should_stop: Callable[[], bool]
) -> list[tuple[list[int], bool]]:
    """Answers to questions given as token ids; the most likely token is chosen each time.

    Returns for each answer its tokens, without the one that ends it, and whether it ended by itself. `loaded` is a
    LoadedModel that is ready to generate (`core.model.views.for_inference`).
    """
    encoded = loaded.tokenizer.pad({"input_ids": questions}, return_tensors="pt", padding_side="left")
    ends = loaded.eos_token_ids
    out = generate(
        loaded,
        {key: encoded[key].to(loaded.device) for key in ("input_ids", "attention_mask")},
        settings={"max_new_tokens": max_new_tokens},
        ends=ends,
        stopping_criteria=end_criteria(should_stop),
    )
    answers = []
    for row in out[:, encoded["input_ids"].shape[1] :].tolist():
        end = next((place for place, token in enumerate(row) if token in ends), None)
        answers.append((row[:end], end is not None))
    return answers
