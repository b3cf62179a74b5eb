"""What `inspect` prints for a person."""

from core.settings.run_config import RunConfig
from core.workbench.inspect_rows import Inspection
from ui.shared.formatting import count, cut

PREVIEW_CHARACTERS = 1000


def inspection_lines(found: Inspection, config: RunConfig) -> list[str]:
    """The figures, the warnings, and the first texts as the model sees them."""
    share = f"{found.trained_tokens / max(found.tokens, 1):.0%}"
    columns = ", ".join(f"{role}: {column}" for role, column in found.columns.items())
    left_out = ", ".join(f"{reason} ({rows:,})" for reason, rows in found.left_out.items())
    facts = [
        ("Shape", f"{found.shape}: {found.reason}"),
        ("Columns", columns),
        ("Encoding", found.encoding),
        ("Rows", f"{found.rows:,} read, {found.used:,} used"),
        ("Left out", left_out),
        ("Tokens", f"{found.tokens:,}, {found.trained_tokens:,} of them trained on ({share})"),
        ("Cut off", f"{count(found.cut_rows, 'row')} at {config.model.max_seq_length:,} tokens"),
        ("End token", f"trained on in {count(found.ends_trained, 'row')}"),
        ("Tokenizer", config.model.model_name),
    ]
    lines = [f"{name:<10} {value}" for name, value in facts if value]
    lines += [f"Note:      {note}" for note in found.notes]
    lines += [f"Warning:   {warning}" for warning in found.warnings]
    for number, text in enumerate(found.preview, 1):
        lines += ["", f"Text {number}", cut(text, PREVIEW_CHARACTERS)]
    return lines
