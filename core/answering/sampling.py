"""Sampling in which base and tuned use the same random noise, so their answers differ only where the models do.

Gumbel's trick: add noise from a Gumbel distribution to each logit, and the token with the largest sum is a sample from
the softmax distribution (Gumbel 1954; Maddison, Tarlow and Minka, arXiv:1411.0030). Each row gets the same noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field


def logits_processors(temperature: float, top_p: float, seed: int):
    """For `generate(do_sample=False)`: none at temperature 0, else temperature, top-p and the shared noise."""
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
    """Stopping criteria that end all rows once `should_stop()` is true."""
    import torch
    from transformers import StoppingCriteriaList

    def ended(input_ids, scores, **kwargs):
        return torch.full((input_ids.shape[0],), should_stop(), dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([ended])


class Sampling(BaseModel, frozen=True):
    """How tokens are chosen. With `temperature` 0 it is the most likely one each time."""

    temperature: float = Field(0.0, ge=0.0, le=5.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    max_new_tokens: int = Field(128, ge=1, le=8192)
    seed: int = Field(3407, ge=0, le=2**32 - 1)


@dataclass(frozen=True)
class Answer:
    """An answer so far. `ended` says how: by itself, at the limit of tokens, stopped, or not yet ("").

    `seconds` is the time from the question to the latest token, `first_token_s` to the first. `tokens` does not count
    the one that ends the answer.
    """

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    first_token_s: float = 0.0
    ended: Literal["", "itself", "limit", "stopped"] = ""
