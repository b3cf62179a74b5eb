"""Whether a run will fit: the memory it takes, part by part, from its settings and the model's config.json alone."""

from core.estimate.cards import CARDS, Card, find_card, this_machine
from core.estimate.changes import WORTH_SAYING, Suggestion, suggestions, to_fit
from core.estimate.shape import ModelShape, shape_of
from core.estimate.total import FORMULAS, PARTS, Estimate, Verdict, estimate, verdict

__all__ = [
    "CARDS", "FORMULAS", "PARTS", "WORTH_SAYING", "Card", "Estimate", "ModelShape", "Suggestion", "Verdict", "estimate", "find_card",
    "shape_of", "suggestions", "this_machine", "to_fit", "verdict",
]  # fmt: skip
