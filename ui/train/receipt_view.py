"""The receipt of a run as HTML: what really trains."""

from markupsafe import Markup

from core.disk.sizes import GIB
from core.runs.events import Receipt
from ui.shared.formatting import count, gib, percent, rate
from ui.shared.html import render_part

TEMPLATE = "train/receipt.html"


def receipt_text(receipt: Receipt) -> Markup:
    """What really trains, read back before the first step."""
    trained, total = receipt.trainable_parameters, receipt.total_parameters
    return render_part(
        TEMPLATE,
        "receipt",
        weights=f"{trained:,} of {total:,} weights ({percent(trained / total)})",
        rows=f"{count(receipt.train_rows, 'row')}; {count(receipt.validation_rows, 'row')} for validation",
        share=percent(receipt.trained_tokens_share),
        groups=[(g.name, f"{g.parameters:,}", rate(g.learning_rate), f"{g.weight_decay:g}") for g in receipt.groups],
        adapted=", ".join(f"{layers.count:,} {layers.name}" for layers in receipt.adapted),
        precision=receipt.precision,
        optimizer=receipt.optimizer,
        embeddings=embeddings_text(receipt),
        notes=receipt.notes,
        changes=receipt.changes,
    )


def embeddings_text(receipt: Receipt) -> Markup:
    """Whether embed_tokens and lm_head train, and what they add. Empty for a run made before this was recorded."""
    found = receipt.embeddings
    if found is None:
        trains = any(group.name == "embeddings" for group in receipt.groups)
        return Markup() if trains else render_part(TEMPLATE, "no_embeddings")
    both = len(found.layers) > 1
    tied = ", tied: they train as one" if both and found.is_tied else ", each by itself" if both else ""
    rows = f"all {found.rows:,}" if found.rows == found.of_rows else f"{found.rows:,} of {found.of_rows:,}"
    passing = f"; {gib(found.passing_gib)} more during each pass, for computing" if found.passing_gib else ""
    facts = [
        ("Trained embeddings", f"{' and '.join(found.layers)}{tied}"),
        ("Trained rows", rows),
        ("Share of trained weights", f"{percent(found.share)} ({found.parameters:,} weights)"),
        ("In memory", f"{gib(found.memory_gib)} for weights, gradients and the optimizer{passing}"),
        ("In the adapter", f"{gib(found.disk_bytes / GIB)} of {gib(found.adapter_bytes / GIB)} on disk"),
    ]
    return render_part(TEMPLATE, "embeddings", rows=facts, warning=found.warning)
