"""The receipt of a run as HTML: what really trains."""

from markupsafe import Markup

from core.disk.sizes import GIB
from core.problems import tr, trn
from core.runs.events import EmbeddingsReceipt, Receipt
from ui.shared.formatting import gib, percent, rate
from ui.shared.html import render_part

TEMPLATE = "train/receipt.html"


def receipt_text(receipt: Receipt) -> Markup:
    """What really trains, read back before the first step."""
    trained, total = receipt.trainable_parameters, receipt.total_parameters
    trains = tr(
        "Trains {trained:,} of {total:,} weights ({share}) on {rows}; {validation} for validation.",
        trained=trained,
        total=total,
        share=percent(trained / total),
        rows=_rows(receipt.train_rows),
        validation=_rows(receipt.validation_rows),
    )
    share = tr("{share} of the tokens are trained on.", share=percent(receipt.trained_tokens_share))
    return render_part(
        TEMPLATE,
        "receipt",
        figures=f"{trains} {share}",
        groups=[
            (tr(group.name), f"{group.parameters:,}", rate(group.learning_rate), f"{group.weight_decay:g}")
            for group in receipt.groups
        ],
        adapted=", ".join(f"{layers.count:,} {layers.name}" for layers in receipt.adapted),
        precision=receipt.precision,
        optimizer=receipt.optimizer,
        embeddings=embeddings_text(receipt),
        notes=[tr(note) for note in receipt.notes],
        changes=receipt.changes,
    )


def _rows(number: int) -> str:
    return trn("{count:,} row", "{count:,} rows", number)


def embeddings_text(receipt: Receipt) -> Markup:
    """Whether embed_tokens and lm_head train, and what they add. Empty for a run made before this was recorded."""
    found = receipt.embeddings
    if found is None:
        trains = any(group.name == "embeddings" for group in receipt.groups)
        return Markup() if trains else render_part(TEMPLATE, "no_embeddings")
    share = tr("{share} ({count:,} weights)", share=percent(found.share), count=found.parameters)
    disk = tr("{part} of {all} on disk", part=gib(found.disk_bytes / GIB), all=gib(found.adapter_bytes / GIB))
    facts = [
        (tr("Trained embeddings"), _layers(found)),
        (tr("Trained rows"), _trained_rows(found)),
        (tr("Share of trained weights"), share),
        (tr("In memory"), _in_memory(found)),
        (tr("In the adapter"), disk),
    ]
    return render_part(TEMPLATE, "embeddings", rows=facts, warning=tr(found.warning))


def _layers(found: EmbeddingsReceipt) -> str:
    layers = tr(" and ").join(found.layers)
    if len(found.layers) == 1:
        return layers
    if found.is_tied:
        return tr("{layers}, tied: they train as one", layers=layers)
    return tr("{layers}, each by itself", layers=layers)


def _trained_rows(found: EmbeddingsReceipt) -> str:
    if found.rows == found.of_rows:
        return tr("all {rows:,}", rows=found.rows)
    return tr("{rows:,} of {of:,}", rows=found.rows, of=found.of_rows)


def _in_memory(found: EmbeddingsReceipt) -> str:
    kept, passing = gib(found.memory_gib), gib(found.passing_gib)
    if not found.passing_gib:
        return tr("{kept} for weights, gradients and the optimizer", kept=kept)
    return tr(
        "{kept} for weights, gradients and the optimizer; {passing} more during each pass, for computing",
        kept=kept,
        passing=passing,
    )
