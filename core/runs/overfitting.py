"""Detects overfitting from a run's loss curves."""

from math import isfinite
from statistics import mean, median

from core.problems import mark, tr
from core.runs.events import Evaluated
from core.runs.snapshot import Snapshot

MIN_CHECKS_ABOVE = 3  # checks in a row above the best one before anything is said
MIN_RISE = 0.01  # they must be above the best loss by this share of it
NOISE_FACTOR = 3  # and by this many times the usual noise between checks
WINDOW = 20  # steps that the training losses are averaged over
BEST_IS_KEPT = mark(
    "This run is starting to overfit. Validation loss was best at step {best:,} ({lowest:.3f}); the last {checks} "
    "checks are above that, now at {last:.3f}, while training loss fell from {then:.3f} to {now:.3f}. Compare it with "
    "the checkpoint from that step; next time train for about {best:,} steps, on more rows, or at a lower learning "
    "rate."
)
BEST_IS_GONE = mark(
    "This run is starting to overfit. Validation loss was best at step {best:,} ({lowest:.3f}); the last {checks} "
    "checks are above that, now at {last:.3f}, while training loss fell from {then:.3f} to {now:.3f}. Save checkpoints "
    "as often as you check, so that the best one is kept; next time train for about {best:,} steps, on more rows, or "
    "at a lower learning rate."
)


def overfitting(snapshot: Snapshot) -> str:
    """A warning if validation loss has been rising while training loss fell; else an empty string.

    Warns if at least the last three checks are clearly above the best one, the last of them is above the first, and the
    mean training loss of the last steps is below that of as many steps up to the best check. "Clearly" means by 1%, and
    by three times the median second difference of the checks since the best, so that a noisy flat curve gives no
    warning.
    """
    best = snapshot.best
    if best is None:
        return ""
    since = [e for e in snapshot.evaluations if e.step > best.step and isfinite(e.eval_loss)]
    losses = [best.eval_loss, *(e.eval_loss for e in since)]
    bends = [abs(a - 2 * b + c) for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)]
    bar = best.eval_loss + max(MIN_RISE * abs(best.eval_loss), NOISE_FACTOR * median(bends or [0.0]))
    above = _last_above(since, bar)
    if len(above) < MIN_CHECKS_ABOVE or above[-1].eval_loss <= above[0].eval_loss:
        return ""
    before = [s.loss for s in snapshot.steps if s.step <= best.step and isfinite(s.loss)]
    after = [s.loss for s in snapshot.steps if s.step > best.step and isfinite(s.loss)]
    window = min(WINDOW, len(before), len(after))
    if not window or (now := mean(after[-window:])) >= (then := mean(before[-window:])):
        return ""
    return tr(
        BEST_IS_KEPT if best.step in snapshot.checkpoints else BEST_IS_GONE,
        best=best.step,
        lowest=best.eval_loss,
        checks=len(above),
        last=above[-1].eval_loss,
        then=then,
        now=now,
    )


def _last_above(checks: list[Evaluated], bar: float) -> list[Evaluated]:
    """The checks at the end that are all at or above the bar, in order."""
    found = []
    for check in reversed(checks):
        if check.eval_loss < bar:
            break
        found.insert(0, check)
    return found
