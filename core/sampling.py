"""Drawing tokens so that base and tuned draw with the same luck. Knows nothing of gradio.

Gumbel's trick: the token with the largest logit + noise, the noise drawn from a Gumbel distribution, is a sample of
the softmax distribution (Gumbel 1954; Maddison, Tarlow and Minka, arXiv:1411.0030). With the same noise for each
row, answers differ only where the models do.
"""

from collections.abc import Callable


def logits_processors(temperature: float, top_p: float, seed: int):
    """For `generate(do_sample=False)`: nothing at temperature 0, else temperature, top-p and the shared noise."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    if temperature == 0:
        return LogitsProcessorList()
    nucleus = [TopPLogitsWarper(top_p)] if top_p < 1 else []
    return LogitsProcessorList([TemperatureLogitsWarper(temperature), *nucleus, _shared_noise(seed)])


def _shared_noise(seed: int):
    import torch

    generator = torch.Generator().manual_seed(seed)

    def add_noise(input_ids, scores):
        uniform = torch.rand(scores.shape[-1], generator=generator).clamp_min(torch.finfo(torch.float32).tiny)
        return scores - torch.log(-torch.log(uniform)).to(scores.device)

    return add_noise


def end_criteria(should_stop: Callable[[], bool]):
    """Ends all rows once `should_stop()` is true."""
    import torch
    from transformers import StoppingCriteriaList

    def ended(input_ids, scores, **kwargs):
        return torch.full((input_ids.shape[0],), should_stop(), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([ended])


def likeliest_answers(
    loaded, questions: list[list[int]], max_new_tokens: int, should_stop: Callable[[], bool]
) -> list[tuple[list[int], bool]]:
    """Answers to questions given as token ids, in one batch, taking the likeliest token each time.

    Returns each answer's tokens without the one that ends it, and whether it ended by itself. `loaded` is a
    `core.model.LoadedModel` that stands ready to generate.
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
