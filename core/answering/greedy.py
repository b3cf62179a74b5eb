"""Greedy answers to several questions in one batch."""

from collections.abc import Callable

from core.answering.sampling import end_criteria


def greedy_answers(
    loaded, questions: list[list[int]], max_new_tokens: int, should_stop: Callable[[], bool]
) -> list[tuple[list[int], bool]]:
    """Answers to questions given as token ids; the most likely token is chosen each time.

    Returns for each answer its tokens, without the one that ends it, and whether it ended by itself. `loaded` is a
    LoadedModel that is ready to generate (`core.model.views.for_inference`).
    """
    import torch

    encoded = loaded.tokenizer.pad({"input_ids": questions}, return_tensors="pt", padding_side="left")
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=encoded["input_ids"].to(loaded.device),
            attention_mask=encoded["attention_mask"].to(loaded.device),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=loaded.tokenizer.pad_token_id,
            eos_token_id=loaded.eos_token_ids,
            stopping_criteria=end_criteria(should_stop),
        )
    stops, answers = set(loaded.eos_token_ids), []
    for row in out[:, encoded["input_ids"].shape[1] :].tolist():
        end = next((place for place, token in enumerate(row) if token in stops), None)
        answers.append((row[:end], end is not None))
    return answers
