"""Weights to begin with that already repeat about a third of a text's tokens, so that pretraining takes minutes.

A transformer repeats with an induction head: one layer marks each token with the one before it, a later one looks for
the place that is marked with the present token and takes the token there. Trained from random weights, both parts must
appear by chance before either is of use, which takes most of the training. Here both are there from the first step,
roughly; everything else, and how exact they are, is learned. The layers between them are free to learn which place to
take a token from; copies made before them would drown what they need to see.
"""

import torch
from transformers import LlamaForCausalLM

SAME, BEFORE, FOUND = 0.3, 0.2, 0.5  # how much of a token is the same in all; how strong the mark and the copy are
SHARPNESS = 2.5  # of the weights that queries and keys are made with


def prepare_to_copy(model: LlamaForCausalLM, words: torch.Tensor) -> None:
    """Sets the attention of the first and last layer, and one number of each embedding of `words` (count, width)."""
    first, last = model.model.layers[0].self_attn, model.model.layers[-1].self_attn
    width, size = model.config.hidden_size, model.config.head_dim
    generator = torch.Generator().manual_seed(1)
    reading, mark = (directions(width, size, generator) for _ in range(2))
    with torch.no_grad():
        words[:, 0] = SAME
        # The first head of the first layer looks one token back. Rotary embeddings turn a query and a key that are the
        # same everywhere by their distance; this query is turned back by one step.
        speeds = 10000.0 ** (-torch.arange(6) / (size // 2))
        query, key = torch.zeros(size, width), torch.zeros(size, width)
        query[:6, 0], query[size // 2 : size // 2 + 6, 0] = SHARPNESS * speeds.cos(), -SHARPNESS * speeds.sin()
        key[:6, 0] = SHARPNESS
        first.q_proj.weight[:size], first.k_proj.weight[:size] = query, key
        first.v_proj.weight[:size], first.o_proj.weight[:, :size] = reading, BEFORE * mark.T
        # The last layer compares the present token with that mark, in the dimensions that are hardly turned, and each
        # of its heads takes a part of the token that it finds.
        slow = [*range(7, size // 2), *range(size // 2 + 7, size)]
        everything = torch.eye(width)
        for begin in range(0, width, size):
            chosen = torch.randperm(size, generator=generator)[: len(slow)]
            query, key = torch.zeros(size, width), torch.zeros(size, width)
            query[slow], key[slow] = SHARPNESS * reading[chosen], SHARPNESS * mark[chosen]
            head = slice(begin, begin + size)
            last.q_proj.weight[head], last.k_proj.weight[head] = query, key
            last.v_proj.weight[head], last.o_proj.weight[:, head] = everything[head], FOUND * everything[:, head]


def directions(width: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """Random directions at right angles, of shape (count, width), in which the number that is the same has no part."""
    found = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q[:count]
    found[:, 0] = 0
    return found
