"""What a run has reached so far: the numbers that a checkpoint keeps so that a resumed run can continue from them."""

from dataclasses import asdict, dataclass


@dataclass
class Progress:
    """Updated after every step and every check. `elapsed` is in seconds of training.

    `rows` identifies the prepared rows. `bad_checks` counts the checks since the best one. `ending` is the sentence
    that says why the run ended before its last step, empty until it does; `ended_early` means early stopping did it.
    """

    rows: str
    step: int = 0
    tokens: int = 0
    elapsed: float = 0.0
    loss_sum: float = 0.0
    losses: int = 0
    last_eval_loss: float | None = None
    checked_step: int = 0
    best_loss: float | None = None
    best_step: int = 0
    bad_checks: int = 0
    ending: str = ""
    ended_early: bool = False

    @classmethod
    def from_json(cls, saved: dict) -> "Progress":
        """The progress of a checkpoint, from the values that `read_progress` has checked."""
        return cls(**{name: saved[name] for name in cls.__dataclass_fields__ if name in saved})

    def to_json(self, is_due: bool) -> dict:
        """The values of progress.json. `is_due`: a check belongs to this step and has not been made yet."""
        return asdict(self) | {
            "eval_loss": self.last_eval_loss if self.is_checked else None,
            "is_due": is_due and not self.is_checked,
        }

    @property
    def is_checked(self) -> bool:
        """Whether the validation loss of the current step is known."""
        return self.checked_step == self.step

    @property
    def train_loss(self) -> float | None:
        """The mean over all steps so far; None before the first one."""
        return self.loss_sum / self.losses if self.losses else None

    def add_loss(self, loss: float) -> None:
        self.loss_sum, self.losses = self.loss_sum + loss, self.losses + 1

    def add_check(self, step: int, loss: float) -> bool:
        """Counts a check. Returns whether its loss is the lowest so far."""
        self.last_eval_loss, self.checked_step = loss, step
        is_best = self.best_loss is None or loss < self.best_loss
        if is_best:
            self.best_loss, self.best_step, self.bad_checks = loss, step, 0
        else:
            self.bad_checks += 1
        return is_best
