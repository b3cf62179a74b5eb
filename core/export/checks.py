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


# By the precision of the file, for a model that was tried in float32. With weights rounded to 16 bits, answers are only
# reported: where two tokens are about equally likely, any rounding chooses between them, and what follows differs. So
# is the largest difference in bfloat16, which keeps 8 bits of a weight: it grows with the logits, from 0.13 for the
# demo's run to 0.92 after three of its steps, where one position in a hundred then has another most likely token.
#
# With fewer bits the loss too is only reported: the mean divergence bounds it, and after a training to a loss of nearly
# zero, 4 bits add a quarter to that and change no answer. How much these precisions change a model depends on it: the
# divergence may be three times that of LLaMA 3 8B, and twice as many tokens may differ (llama.cpp, tools/perplexity,
# "LLaMA 3 8b Scoreboard", with 0.0014, 0.0055, 0.0108 and 0.0313 nats).
LIMITS = {
    "float32": Limits(5e-4, 1e-7, 1.0, greedy_differing=0),
    "float16": Limits(0.1, 1e-5, 0.998),
    "bfloat16": Limits(None, 1e-3, 0.98),
    "f32": Limits(5e-4, 1e-7, 1.0, greedy_differing=0),
    "f16": Limits(0.2, 1e-5, 0.998),
    "bf16": Limits(None, 1e-3, 0.98),
    "q8_0": Limits(None, 4e-3, 0.95, loss=None),
    "q6_k": Limits(None, 1.6e-2, 0.92, loss=None),
    "q5_k_m": Limits(None, 3.2e-2, 0.88, loss=None),
    "q4_k_m": Limits(None, 0.1, 0.84, loss=None),
}

# What rounding alone may change in a model that computes in 16 bits, as on a graphics card or on a processor with
# instructions for bfloat16. In bfloat16, the demo's runs have a divergence of 0.0002 to 0.0019 nats from what they
# compute in float32, and 0.25% of the tokens differ. float16 has 3 bits more, so a divergence of a 64th.
ROUNDING = {"bfloat16": Limits(None, 1e-2, 0.97, loss=0.02), "float16": Limits(None, 2e-4, 0.99)}


def limits_for(precision: str, *computed_in: str) -> Limits:
    """The limits for a file of this precision: the loosest of the file's own and of those for the precisions in which
    the model that was tried, and the export, computed. Each of them is "float32", "bfloat16" or "float16"."""
    own = LIMITS[precision]
    rounding = [ROUNDING[each] for each in computed_in if each != "float32"]
    if not rounding:
        return own
    loss = None if own.loss is None else max(own.loss, *(each.loss for each in rounding))
    divergence = max(own.mean_kl, *(each.mean_kl for each in rounding))
    return Limits(None, divergence, min(own.top1, *(each.top1 for each in rounding)), loss=loss)


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
