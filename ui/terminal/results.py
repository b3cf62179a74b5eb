from pathlib import Path

from core.runs.snapshot import Snapshot


def result_values(snapshot: Snapshot, folder: Path) -> dict:
    """What `train --json` prints; what a run did not come to is null."""
    done, held = snapshot.finished, snapshot.heldout
    return {
        "run_id": snapshot.run_id,
        "run_dir": str(folder),
        "status": snapshot.status,
        "message": snapshot.message,
        "steps": done.steps if done else snapshot.step,
        "train_loss": done and done.train_loss,
        "eval_loss": done and done.eval_loss,
        "runtime_s": done and done.runtime_s,
        "tokens_per_s": done and done.tokens_per_s,
        "peak_memory_gib": done and done.peak_memory_gib,
        "adapter_dir": done and done.adapter_dir,
        "heldout": held and held.model_dump(exclude={"time", "type"}),
    }


def closing_words(snapshot: Snapshot, folder: Path) -> str:
    lines = [f"{snapshot.message} The run is in {folder}"]
    if held := snapshot.heldout:
        lines.append(f"On {held.rows} rows it never saw: loss {held.base_loss:.2f} → {held.tuned_loss:.2f}")
        if held.base_exact is not None:
            lines[-1] += f", right to the letter {held.base_exact:.0%} → {held.tuned_exact:.0%}"
    return "\n".join(lines)
