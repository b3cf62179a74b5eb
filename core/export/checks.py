"""The figures of a self-test (`core.export.self_test`), and what they may be."""

from dataclasses import dataclass

TIE = 0.1  # in logits; which of two such tokens comes first is decided by rounding
SMALL_LOSS = 0.005  # nats, a tenth of what anybody notices: a loss near zero changes by a large share of itself


@dataclass(frozen=True)
class Limits:
    """What a file may differ by from the model that was tried; None where a figure is only reported."""

    max_logit_difference: float | None
    mean_kl: float
    top1: float
    greedy_differing: int | None = None
    loss: float | None = 0.005  # as a share of the model's own, or SMALL_LOSS if that is more


# With weights rounded to 16 bits, answers are only reported: where two tokens are about equally likely, any rounding
# chooses between them, and what follows differs. So is the largest difference in bfloat16, which keeps 8 bits of a
# weight: it grows with the logits, from 0.13 for the demo's run to 0.92 after three of its steps, where one position in
# a hundred then has another most likely token. With fewer bits the loss too is only reported: the mean divergence
# bounds it, and after a training to a loss of nearly zero, 4 bits add a quarter to that and change no answer.
LIMITS = {
    "float32": Limits(5e-4, 1e-7, 1.0, greedy_differing=0),
    "float16": Limits(0.1, 1e-5, 0.998),
    "bfloat16": Limits(None, 1e-3, 0.98),
    "f32": Limits(5e-4, 1e-7, 1.0, greedy_differing=0),
    "f16": Limits(0.2, 1e-5, 0.998),
    "bf16": Limits(None, 1e-3, 0.98),
    "q8_0": Limits(None, 5e-4, 0.998, loss=None),
    "q6_k": Limits(None, 5e-3, 0.995, loss=None),
    "q5_k_m": Limits(None, 1e-2, 0.995, loss=None),
    "q4_k_m": Limits(None, 1e-2, 0.995, loss=None),
}


@dataclass(frozen=True)
class Check:
    """How a file differs from the model that was tried.

    `mean_kl` is the mean Kullback-Leibler divergence in nats. `top1` is the share (0 to 1) of positions with the same
    most likely token, without those where the model's two most likely tokens are within TIE of each other. Of
    `greedy_of` answers `greedy_equal` are the same, token for token. `loss_as_tried` is for an export onto the original
    weights, whose model is the adapter on these: the loss with the weights that it was trained on.
    """

    file: str
    max_logit_difference: float
    mean_kl: float
    top1: float
    greedy_equal: int
    greedy_of: int
    loss: float | None
    loss_of_model: float | None
    passed: bool
    loss_as_tried: float | None = None
