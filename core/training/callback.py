"""The trainer's one callback: its doings become events, and wishes to stop become leaving its loop.

Imports transformers, so it is imported only once Unsloth has been. Knows nothing of threads or gradio.
"""

import time
from collections.abc import Callable
from math import isfinite

from transformers import TrainerCallback

from core.problems import TrainingError
from core.runs.events import Evaluated, Event, Receipt, StepDone
from core.settings.sections import TrainingConfig
from core.stopping import Ended, ShouldStop, leave_if
from core.training.checkpoint_files import RandomState
from core.training.checkpoint_keeper import no_number


class Progress(TrainerCallback):
    """What the run has come to. `before` is a checkpoint's progress that it goes on from, else empty.

    `receipt(optimizer)` makes the receipt, `sample(step)` answers the run's own prompts, `save()` saves a checkpoint;
    the two last are None where none are wanted. After each step `random_state` is that of the generators: checks and
    samples leave it as it was, so that a run with them ends as one without.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        before: dict,
        rows: str,
        emit: Callable[[Event], None],
        should_stop: ShouldStop,
        receipt: Callable[[object], Receipt],
        paused: Callable[[], float],
    ):
        self._settings, self._emit, self._should_stop, self._receipt = settings, emit, should_stop, receipt
        self._paused = paused
        self.rows = rows
        self.step: int = before.get("step", 0)
        self.tokens: int = before.get("tokens", 0)
        self.eval_loss: float | None = before.get("last_eval_loss")
        self.best_loss: float | None = before.get("best_loss")
        self.best_step: int = before.get("best_step", 0)
        self.ending: str = before.get("ending", "")
        self.ended_early: bool = before.get("ended_early", False)
        self._loss_sum, self._losses = before.get("loss_sum", 0.0), before.get("losses", 0)
        self._bad_checks: int = before.get("bad_checks", 0)
        self._checked_step: int = before.get("checked_step", 0)
        self._elapsed_before: float = before.get("elapsed", 0.0)
        self._elapsed = self._elapsed_before
        self._began: float | None = None
        self.random_state: RandomState | None = None
        self.is_nan = False
        self.has_ended = False
        self.checks = False
        self.sample: Callable[[int], None] | None = None
        self.save: Callable[[], None] | None = None

    def values(self) -> dict:
        """The progress to save with a checkpoint of this step."""
        is_checked = self._checked_step == self.step
        return {
            "step": self.step,
            "eval_loss": self.eval_loss if is_checked else None,
            "is_due": self.checks and not is_checked and self._is_check(self.step),
            "last_eval_loss": self.eval_loss,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "bad_checks": self._bad_checks,
            "checked_step": self._checked_step,
            "loss_sum": self._loss_sum,
            "losses": self._losses,
            "tokens": self.tokens,
            "elapsed": self._elapsed,
            "ending": self.ending,
            "ended_early": self.ended_early,
            "rows": self.rows,
        }

    @property
    def train_loss(self) -> float | None:
        """The mean over all steps so far."""
        return self._loss_sum / self._losses if self._losses else None

    @property
    def seconds(self) -> float:
        """Of training so far, without the waiting for room on the disk."""
        if self._began is None:
            return self._elapsed_before
        return self._elapsed_before + time.monotonic() - self._began - self._paused()

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        self._emit(self._receipt(optimizer))
        self._began = time.monotonic()

    def on_step_begin(self, args, state, control, **kwargs):
        if self.ending:
            raise Ended  # by the check that was due; the trainer would look only after one more step
        leave_if(self._should_stop)

    def on_substep_end(self, args, state, control, **kwargs):
        leave_if(self._should_stop)

    def on_prediction_step(self, args, state, control, **kwargs):
        leave_if(self._should_stop)

    def on_step_end(self, args, state, control, **kwargs):
        self.step, self.tokens = state.global_step, int(state.num_input_tokens_seen)
        self.random_state, self._elapsed = RandomState(), self.seconds
        is_last = state.global_step >= state.max_steps
        if self.checks and is_last:
            control.should_evaluate = True  # before the last checkpoint is saved, so that it knows its loss

    def on_log(self, args, state, control, logs=None, **kwargs):
        state.log_history.clear()  # the events tell it; every checkpoint would hold all of it again
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not isfinite(loss):
            self._turned(f"The loss became {loss}", state.global_step)
        self._loss_sum, self._losses = self._loss_sum + loss, self._losses + 1
        grad_norm = logs.get("grad_norm")
        self._emit(
            StepDone(
                step=state.global_step,
                max_steps=state.max_steps,
                epoch=float(state.epoch or 0),
                loss=loss,
                learning_rate=float(logs.get("learning_rate", 0.0)),
                grad_norm=None if grad_norm is None else float(grad_norm),
                tokens=self.tokens,
                elapsed=self._elapsed,
            )
        )
        wanted = self._settings.stop_at_loss
        if wanted is not None and loss <= wanted and state.global_step < state.max_steps:
            self._end(
                control, f"Ended at step {state.global_step:,}, whose loss of {loss:.4g} is not above {wanted:g}."
            )
            control.should_evaluate = self.checks
        is_last = state.global_step >= state.max_steps or bool(self.ending)
        if not self.checks and (is_last or self._is_check(self.step)):
            self._answer()

    def on_train_end(self, args, state, control, **kwargs):
        self.has_ended = True

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        loss = float(metrics["eval_loss"])
        if not isfinite(loss):
            self._turned(f"The validation loss became {loss}", state.global_step)
        self._answer()  # first, so that a stop meanwhile leaves the whole check to be done again
        self.eval_loss, self._checked_step = loss, state.global_step
        self._emit(Evaluated(step=state.global_step, eval_loss=loss))
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_step, self._bad_checks = loss, state.global_step, 0
            control.should_save = control.should_save or self.save is not None
        else:
            self._bad_checks += 1
            patience = self._settings.early_stopping_patience
            if patience and self._bad_checks >= patience and state.global_step < state.max_steps:
                checks = "1 check" if patience == 1 else f"{patience} checks"
                self.ended_early = True
                self._end(
                    control,
                    f"Ended early at step {state.global_step:,}: {checks} brought no lower validation loss than "
                    f"{self.best_loss:.4g} at step {self.best_step:,}.",
                )

        if self.save and self.random_state is None:
            self.save()  # of the check that was due no step tells the checkpoint

    def _answer(self) -> None:
        if self.sample:
            self.sample(self.step)
        if self.random_state is not None:
            self.random_state.restore()

    def _is_check(self, step: int) -> bool:
        return bool(self._settings.eval_steps) and step % self._settings.eval_steps == 0

    def _end(self, control, why: str) -> None:
        self.ending = why
        control.should_training_stop = True
        control.should_save = self.save is not None

    def _turned(self, what: str, step: int) -> None:
        self.is_nan = True
        raise TrainingError(no_number(what, step))
