from typing import Literal

from pydantic import BaseModel

PARTS = {
    "weights": "weights", "adapter": "adapter", "embeddings": "trained embeddings", "gradients": "gradients",
    "optimizer": "optimizer", "activations": "activations", "logits": "logits", "overhead": "CUDA overhead",
}  # fmt: skip


PASSING = ("activations", "logits")


FORMULAS = 2  # raised when they change: a probe corrects the estimate that it was compared with


Verdict = Literal["fits", "tight", "no"]


class Estimate(BaseModel, frozen=True):
    """`parts` in GiB, by key of PARTS, as they stand at the moment of the peak."""

    parts: dict[str, float]
    context_gib: float = 0.0  # of the overhead, the driver's own, which no figure of torch shows
    batch: int = 1
    is_corrected: bool = False

    @property
    def total_gib(self) -> float:
        return sum(self.parts.values())

    @property
    def comparable_gib(self) -> float:
        """What the program's own figure should reach: reserved by torch on a card, resident without one."""
        return self.total_gib - self.context_gib
