"""What a run's curves say, in words. Pure functions of a `Snapshot`; knows nothing of anything else here."""

from math import isfinite
from statistics import mean, median

from core.runs.events import Evaluated
from core.runs.snapshot import Snapshot

CHECKS = 3  # above the best one after the other, before anything is said
SHARE = 0.01  # that they must lie above it, of the best
NOISE = 3  # and that many times what checks jump about from one to the next
WINDOW = 20  # steps whose mean is the training loss then and now


def overfitting(snapshot: Snapshot) -> str:
    """Sentences when validation loss has risen for long enough while training loss fell; else empty.

    That is: the last three checks or more lie clearly above the best one, the last above the first of them, and the
    mean training loss of the last steps is below that of as many steps up to the best check. "Clearly" is by 1%, and by
    three times the median second difference of the checks since the best, so that a flat curve that jumps about says
    nothing.
    """
    best = snapshot.best
    if best is None:
        return ""
    since = [e for e in snapshot.evaluations if e.step > best.step and isfinite(e.eval_loss)]
    losses = [best.eval_loss, *(e.eval_loss for e in since)]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)]
    bar = best.eval_loss + max(SHARE * abs(best.eval_loss), NOISE * median(bends or [0.0]))
    above = _last_above(since, bar)
    if len(above) < CHECKS or above[-1].eval_loss <= above[0].eval_loss:
        return ""
    before = [s.loss for s in snapshot.steps if s.step <= best.step and isfinite(s.loss)]
    after = [s.loss for s in snapshot.steps if s.step > best.step and isfinite(s.loss)]
    window = min(WINDOW, len(before), len(after))
    if not window or (now := mean(after[-window:])) >= (then := mean(before[-window:])):
        return ""
    todo = "Compare with the checkpoint of that step"
    if best.step not in snapshot.checkpoints:
        todo = "Save checkpoints as often as you check, to have the best one"
    return (
        f"This run begins to learn its rows by heart. Validation loss was best at step {best.step:,} "
        f"({best.eval_loss:.3f}); the last {len(above)} checks lie above that, now at {above[-1].eval_loss:.3f}, while "
        f"training loss fell from {then:.3f} to {now:.3f}. {todo}; next time train for about {best.step:,} steps, on more "
        "rows or at a lower rate."
    )


def _last_above(checks: list[Evaluated], bar: float) -> list[Evaluated]:
    """The checks at the end that all lie at or above the bar."""
    found = []
    for check in reversed(checks):
        if check.eval_loss < bar:
            break
        found.insert(0, check)
    return found
