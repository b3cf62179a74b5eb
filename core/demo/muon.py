"""The optimizer Muon in float32.

PyTorch's own computes in bfloat16, which takes 25 times as long on CPUs without instructions for it. The method is
Keller Jordan's (https://kellerjordan.github.io/posts/muon): steps in the direction of the momentum, with all its
singular values made about equal.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the polynomial that brings singular values near 1 the fastest
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For matrices, with Nesterov's momentum and without weight decay."""

    def __init__(self, weights: Iterable[torch.nn.Parameter], lr: float):
        super().__init__(weights, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            alike = defaultdict(list)  # matrices of one shape are computed together
            for weight in group["params"]:
                alike[weight.shape].append(weight)
            for (rows, columns), weights in alike.items():
                steps = orthogonal(torch.stack([self._momentum(weight) for weight in weights]))
                for weight, step in zip(weights, steps, strict=True):
                    weight.sub_(step, alpha=group["lr"] * max(1, rows / columns) ** 0.5)

    def _momentum(self, weight: torch.nn.Parameter) -> torch.Tensor:
        mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
        mean.lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp(mean, MOMENTUM)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Matrices with the same singular vectors and singular values near 1, all of shape (count, rows, columns)."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    a, b, c = COEFFICIENTS
    made = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        square = made @ made.mT
        made = a * made + (b * square + c * square @ square) @ made
    return made
