"""What really trains, as the receipt of a run tells it. Knows nothing of torch, threads or files."""

from html import escape

from core.runs.events import Receipt
from ui.shared.formatting import count, gib, notice, percent, rate

GIB = 1024**3


def receipt_text(receipt: Receipt) -> str:
    """What really trains, read back before the first step."""
    share = receipt.trainable_parameters / receipt.total_parameters
    groups = "".join(
        f"<tr><td>{escape(g.name)}</td><td>{g.parameters:,}</td><td>{rate(g.learning_rate)}</td>"
        f"<td>{g.weight_decay:g}</td></tr>"
        for g in receipt.groups
    )
    changes = "".join(
        f"<li><b>{escape(c.setting)}</b>: asked {escape(c.asked)}, runs {escape(c.runs)}"
        f"{f' ({escape(c.reason)})' if c.reason else ''}</li>"
        for c in receipt.changes
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in receipt.notes)
    return (
        '<section class="card"><h3>What really trains</h3>'
        f'<p class="figures">{receipt.trainable_parameters:,} of {receipt.total_parameters:,} weights ({percent(share)}), on '
        f"{count(receipt.train_rows, 'row')}; {count(receipt.validation_rows, 'row')} to check with. "
        f"{percent(receipt.trained_tokens_share)} of the tokens are trained on.</p>"
        f"<table><thead><tr><th>group</th><th>weights</th><th>learning rate</th><th>decay</th></tr></thead>"
        f"<tbody>{groups}</tbody></table>"
        f"<p>{escape(receipt.precision)}. Optimizer: {escape(receipt.optimizer)}.</p>"
        f"{embeddings_text(receipt)}"
        f"{f'<ul>{notes}</ul>' if notes else ''}"
        f"<p>{'Changed by the libraries:' if changes else 'No setting was changed by the libraries.'}</p>"
        f"{f'<ul>{changes}</ul>' if changes else ''}</section>"
    )


def embeddings_text(receipt: Receipt) -> str:
    """Whether embed_tokens and lm_head train, and what they add. Empty for a run of before this was told."""
    found = receipt.embeddings
    if found is None:
        trains = any(group.name == "embeddings" for group in receipt.groups)
        return "" if trains else "<p>embed_tokens and lm_head do not train.</p>"
    both = len(found.layers) > 1
    tied = ", tied: they train as one" if both and found.is_tied else ", each by itself" if both else ""
    rows = f"all {found.rows:,}" if found.rows == found.of_rows else f"{found.rows:,} of {found.of_rows:,}"
    passing = f"; at each pass {gib(found.passing_gib)} more, to compute with" if found.passing_gib else ""
    lines = [
        ("Trained embeddings", f"{' and '.join(found.layers)}{tied}"),
        ("Rows that train", rows),
        ("Of all that trains", f"{percent(found.share)} ({found.parameters:,} weights)"),
        ("In memory", f"{gib(found.memory_gib)} for weights, gradients and the optimizer{passing}"),
        ("In the adapter", f"{gib(found.disk_bytes / GIB)} of {gib(found.adapter_bytes / GIB)} on disk"),
    ]
    facts = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in lines)
    return f'<dl class="facts embeddings">{facts}</dl>{notice(found.warning, "warning")}'
