"""The parts of an estimate, and their sum."""

from typing import Literal

from pydantic import BaseModel

from core.problems import mark

# As the page names them, by key; shown with `tr`.
PARTS = {
    "weights": mark("weights"),
    "adapter": mark("adapter"),
    "embeddings": mark("trained embeddings"),
    "gradients": mark("gradients"),
    "optimizer": mark("optimizer"),
    "activations": mark("activations"),
    "logits": mark("logits"),
    "overhead": mark("CUDA overhead"),
}
PASSING = ("activations", "logits")  # the parts that come and go within a step
FORMULAS = 2  # to be raised when they change, because a probe corrects the estimate that it was compared with
Verdict = Literal["fits", "tight", "no"]


def part_names(is_gpu: bool) -> dict[str, str]:
    """The names of the parts, for people: without a card there is no CUDA."""
    return PARTS if is_gpu else PARTS | {"overhead": mark("program and libraries")}


class Estimate(BaseModel, frozen=True):
    """`parts` in GiB at the peak, by the keys of PARTS. `batch` is the batch size that it is for."""

    parts: dict[str, float]
    context_gib: float = 0.0  # part of the overhead: the driver's own, which torch's figures do not include
    batch: int = 1
    is_corrected: bool = False

    @property
    def total_gib(self) -> float:
        return sum(self.parts.values())

    @property
    def comparable_gib(self) -> float:
        """What this program's own memory should reach: reserved by torch on a GPU, resident on a CPU."""
        return self.total_gib - self.context_gib
