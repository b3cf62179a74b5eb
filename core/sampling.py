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
