"""What training and comparing print on the command line."""

from pathlib import Path

from core.runs.snapshot import Snapshot
from ui.train.run_state_text import pushed_text


def result_values(snapshot: Snapshot, folder: Path) -> dict:
    """What `train --json` prints. Figures that the run did not reach are null."""
    finished, held = snapshot.finished, snapshot.heldout
    return {
        "run_id": snapshot.run_id,
        "run_dir": str(folder),
        "status": snapshot.status,
        "message": snapshot.message,
        "steps": finished.steps if finished else snapshot.step,
        "train_loss": finished and finished.train_loss,
        "eval_loss": finished and finished.eval_loss,
        "runtime_s": finished and finished.runtime_s,
        "tokens_per_s": finished and finished.tokens_per_s,
        "peak_memory_gib": finished and finished.peak_memory_gib,
        "adapter_dir": finished and finished.adapter_dir,
        "heldout": held and held.model_dump(exclude={"time", "type"}),
    }


def closing_words(snapshot: Snapshot, folder: Path) -> str:
    """What `train` prints at the end for a person."""
    lines = [f"{snapshot.name}: {snapshot.message} The run is in {folder}"]
    if pushed := pushed_text(snapshot.pushed):
        lines.append(pushed)
    if held := snapshot.heldout:
        lines.append(f"On {held.rows} rows that it was not trained on: loss ")
        lines[-1] += f"{held.base_loss:.2f} → {held.tuned_loss:.2f}"
        if held.base_exact is not None:
            lines[-1] += f", exact match {held.base_exact:.0%} → {held.tuned_exact:.0%}"
    return "\n".join(lines)


def answer_lines(found: dict) -> list[str]:
    """What `compare` prints for one prompt, from the values that `compare --json` prints."""
    return [
        "",
        found["prompt"],
        f"  base:  {found['base']}",
        f"  tuned: {found['tuned']}",
        f"  largest logit difference: {found['max_logit_difference']:.2f}",
    ]
