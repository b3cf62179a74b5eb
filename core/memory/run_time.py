"""How long a run takes: what was published for a card, and the least that arithmetic alone takes on a processor.

What was measured on this machine is in `core.memory.probe_log`. Nothing is guessed from one card to another.
"""

import time
from functools import cache

from pydantic import BaseModel

from core.memory.container import usable_cores
from core.memory.model_shape import ModelShape
from core.problems import mark
from core.settings.run_config import RunConfig

SIMILAR = 0.15  # models whose numbers of weights differ by no more than this share are as fast
# Of the matrices that are multiplied to measure the processor: small enough for one core, so that it is quick while
# other programs are busy, and often enough for one product to be undisturbed.
_SIZE, _TRIES = 64, 500


class Published(BaseModel, frozen=True):
    """A measured speed: either `seconds` for a step of `rows`, or `tokens_per_second`. `of` says what was trained, and
    `source` where it was published; both are shown with `tr`."""

    card: str
    parameters: float
    of: str
    source: str
    seconds: float = 0.0
    rows: int = 0
    tokens_per_second: float = 0.0

    def seconds_of(self, rows: int, tokens: int) -> float:
        """For a run that reads that many rows with that many tokens altogether."""
        return tokens / self.tokens_per_second if self.tokens_per_second else rows / self.rows * self.seconds


# Only figures whose source names the card; those of other programs say so.
PUBLISHED = (
    Published(
        card="Tesla T4 16GB", parameters=3.21e9, seconds=7.44, rows=8,
        of=mark("Llama 3.2 3B in 4-bit, rank 16, chats of up to 2,048 tokens"),
        source=mark("Unsloth's notebook Llama3.2_(1B_and_3B)-Conversational"),
    ),
    Published(
        card="A100 80GB", parameters=70.55e9, seconds=16.69, rows=8,
        of=mark("Llama 3.3 70B in 4-bit, rank 16, chats of up to 2,048 tokens"),
        source=mark("Unsloth's notebook Llama3.3_(70B)_A100-Conversational"),
    ),
    Published(
        card="A100 40GB", parameters=6.74e9, tokens_per_second=2456,
        of=mark("Llama 2 7B in 4-bit, rank 8, rows of 32,768 tokens"),
        source=mark("LLaMA-Factory's wiki, Performance comparison, with Unsloth"),
    ),
    Published(
        card="RTX 4090 24GB", parameters=8.03e9, tokens_per_second=3083,
        of=mark("Llama 3.1 8B in 16-bit, rank 8, full sequences of 2,048 tokens, by another program"),
        source=mark("torchtune's README, Memory and training speed"),
    ),
    Published(
        card="L40S 48GB", parameters=3.21e9, seconds=0.1884, rows=4,
        of=mark("Llama 3.2 3B in 16-bit, rank 32 on two layers, rows of up to 768 tokens, by another program"),
        source=mark("PEFT's method_comparison, MetaMathQA"),
    ),
)  # fmt: skip


def published_for(card: str, shape: ModelShape) -> Published | None:
    """What was published for a model of this size on the card of this name."""
    found = (one for one in PUBLISHED if one.card == card)
    return next((one for one in found if abs(shape.parameters / one.parameters - 1) <= SIMILAR), None)


def least_seconds(config: RunConfig, shape: ModelShape, tokens: int, per_second: float) -> float:
    """What the matrix products of a run over `tokens` take at the least, with `per_second` operations a second.

    Two operations per weight and token in the forward pass and as many in the backward pass, which trains few weights
    (Kaplan et al., arXiv 2001.08361, section 2.1, without the gradients of frozen weights); as many again for the
    second forward pass of checkpointing.
    """
    weights = shape.linear_parameters + shape.embedding_parameters  # the head's matrix; looking up embeddings is free
    passes = 3 if config.training.use_gradient_checkpointing else 2
    return 2 * passes * weights * tokens / per_second


@cache
def operations_per_second() -> float:
    """How many floating-point operations the cores of this processor do in a second, by the best of many small matrix
    products on one of them."""
    import numpy as np

    matrix = np.ones((_SIZE, _SIZE), dtype=np.float32)
    took = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        matrix @ matrix
        took.append(time.perf_counter() - began)
    return usable_cores() * 2 * _SIZE**3 / min(took)
