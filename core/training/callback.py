"""The trainer's one callback: it turns what the trainer does into events, and leaves the trainer's loop on a stop.

It imports transformers, so import it only after Unsloth.
"""

import time
from collections.abc import Callable
from math import isfinite

from transformers import TrainerCallback

from core.model.cpu_threads import StepThreads
from core.problems import TrainingError, mark, tr, trn
from core.runs.events import Evaluated, Event, Receipt, StepDone
from core.settings.training_section import TrainingConfig
from core.threads import Ended, ShouldStop, leave_if
from core.training.checkpoint_files import RandomState
from core.training.progress import Progress
from core.training.work_reporter import WorkReporter

LOSS_NOT_FINITE = mark("The loss became {loss} at step {step:,}: lower the learning rates or lengthen the warm-up.")
EVAL_LOSS_NOT_FINITE = mark(
    "The validation loss became {loss} at step {step:,}: lower the learning rates or lengthen the warm-up."
)

LOSS_REACHED = mark("Stopped at step {step:,}: its loss of {loss:.4g} reached {wanted:g}.")


class RunCallback(TrainerCallback):
    """Keeps `progress` up to date and emits Receipt, StepDone and Evaluated, and through `work` what happens between.

    `receipt(optimizer)` makes the receipt, `paused()` gives the seconds spent waiting for disk space, `sample(step)`
    answers the run's own prompts and `save()` saves a checkpoint; the last two are None when they are not wanted.
    `validation_rows` is how many rows there are to check on. `random_state` is the state of the random generators after
    the latest step of this training, None before it: checks and samples restore it, so a run with them ends like one
    without.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        progress: Progress,
        *,
        emit: Callable[[Event], None],
        work: WorkReporter,
        should_stop: ShouldStop,
        receipt: Callable[[object], Receipt],
        paused: Callable[[], float],
        sample: Callable[[int], None] | None,
        save: Callable[[], None] | None,
        validation_rows: int,
    ):
        self.progress = progress
        self.random_state: RandomState | None = None
        self.is_nan = False
        self.has_ended = False
        self._settings = settings
        self._emit, self._work, self._should_stop = emit, work, should_stop
        self._receipt, self._paused, self._sample, self._save = receipt, paused, sample, save
        self._has_validation = validation_rows > 0
        self._validation_rows, self._rows_checked = validation_rows, 0
        self._elapsed_before = progress.elapsed
        self._began: float | None = None
        self._groups: list[str] = []  # the receipt's names of the optimizer's groups
        self._embedding_rate: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including those before a resume, without waiting for disk space."""
        if self._began is None:
            return self._elapsed_before
        return self._elapsed_before + time.monotonic() - self._began - self._paused()

    @property
    def is_check_due(self) -> bool:
        """Whether `eval_steps` puts a check after the current step."""
        return self._has_validation and self._is_eval_step

    @property
    def _is_eval_step(self) -> bool:
        return bool(self._settings.eval_steps) and self.progress.step % self._settings.eval_steps == 0

    def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
        receipt = self._receipt(optimizer)
        self._emit(receipt)
        self._groups = [group.name for group in receipt.groups]
        self._began = time.monotonic()
        if args.eval_on_start:
            self._show_check(0)

    def on_step_begin(self, args, state, control, **kwargs):
        if self.progress.ending:
            raise Ended  # the check that was due ended the run; the trainer would only notice after one more step
        leave_if(self._should_stop)
        self._work.back_to_steps()

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        # The trainer logs the rate of the first group alone, as it was in this step.
        rates = [float(group["lr"]) for group in optimizer.param_groups if group["params"]]
        self._embedding_rate = dict(zip(self._groups, rates, strict=True)).get("embeddings")

    def on_substep_end(self, args, state, control, **kwargs):
        leave_if(self._should_stop)

    def on_prediction_step(self, args, state, control, **kwargs):
        leave_if(self._should_stop)
        self._show_check(self._rows_checked + args.eval_batch_size)

    def on_step_end(self, args, state, control, **kwargs):
        self.progress.step, self.progress.tokens = state.global_step, int(state.num_input_tokens_seen)
        self.random_state, self.progress.elapsed = RandomState(), self.seconds
        if self._has_validation and _is_last(state):
            control.should_evaluate = True  # before the last checkpoint is saved, so that it includes this loss

    def on_log(self, args, state, control, logs=None, **kwargs):
        state.log_history.clear()  # the events have it; otherwise every checkpoint would store all of it again
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        self._check_number(LOSS_NOT_FINITE, loss, state.global_step)
        self.progress.add_loss(loss)
        self._emit(self._step_done(state, loss, logs))
        wanted = self._settings.stop_at_loss
        if wanted is not None and loss <= wanted and not _is_last(state):
            self._end(control, tr(LOSS_REACHED, step=state.global_step, loss=loss, wanted=wanted))
            control.should_evaluate = self._has_validation
        ends = _is_last(state) or bool(self.progress.ending)
        if not self._has_validation and (ends or self._is_eval_step):
            self._answer_samples()
        if control.should_evaluate:
            self._show_check(0)

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        loss = float(metrics["eval_loss"])
        self._check_number(EVAL_LOSS_NOT_FINITE, loss, state.global_step)
        self._answer_samples()  # first, so that after a stop here the whole check is made again
        is_best = self.progress.add_check(state.global_step, loss)
        self._emit(Evaluated(step=state.global_step, eval_loss=loss))
        if is_best:
            control.should_save = control.should_save or self._save is not None
        elif self._is_out_of_patience() and not _is_last(state):
            self._end_early(control, state.global_step)
        if self._save and self.random_state is None:
            self._save()  # a check that was due on resume: no step follows that would save its result

    def on_train_end(self, args, state, control, **kwargs):
        self.has_ended = True

    def _show_check(self, rows: int) -> None:
        self._rows_checked = min(rows, self._validation_rows)
        self._work.show(mark("Computing the loss on the validation rows"), self._rows_checked, self._validation_rows)

    def _step_done(self, state, loss: float, logs: dict) -> StepDone:
        grad_norm = logs.get("grad_norm")
        return StepDone(
            step=state.global_step,
            max_steps=state.max_steps,
            epoch=float(state.epoch or 0),
            loss=loss,
            learning_rate=float(logs.get("learning_rate", 0.0)),
            embedding_learning_rate=self._embedding_rate,
            grad_norm=None if grad_norm is None else float(grad_norm),
            tokens=self.progress.tokens,
            elapsed=self.progress.elapsed,
        )

    def _answer_samples(self) -> None:
        if self._sample:
            self._sample(self.progress.step)
        if self.random_state is not None:
            self.random_state.restore()

    def _is_out_of_patience(self) -> bool:
        patience = self._settings.early_stopping_patience
        return bool(patience) and self.progress.bad_checks >= patience

    def _end_early(self, control, step: int) -> None:
        why = trn(
            "Stopped early at step {step:,}: {count} check without a lower validation loss than {loss:.4g} at step "
            "{best:,}.",
            "Stopped early at step {step:,}: {count} checks without a lower validation loss than {loss:.4g} at step "
            "{best:,}.",
            self._settings.early_stopping_patience,
            step=step,
            loss=self.progress.best_loss,
            best=self.progress.best_step,
        )
        self.progress.ended_early = True
        self._end(control, why)

    def _end(self, control, why: str) -> None:
        self.progress.ending = why
        control.should_training_stop = True
        control.should_save = self._save is not None

    def _check_number(self, template: str, loss: float, step: int) -> None:
        if not isfinite(loss):
            self.is_nan = True
            raise TrainingError(template, loss=loss, step=step)


class ThreadsCallback(TrainerCallback):
    """Finds the number of threads that a training on a CPU is fastest with."""

    def __init__(self):
        self._threads = StepThreads()
        self._tokens = 0

    def on_train_begin(self, args, state, control, **kwargs):
        self._tokens = int(state.num_input_tokens_seen)  # of a resumed run, those before

    def on_step_begin(self, args, state, control, **kwargs):
        self._threads.begin()

    def on_step_end(self, args, state, control, **kwargs):
        before, self._tokens = self._tokens, int(state.num_input_tokens_seen)
        self._threads.end(max(self._tokens - before, 1))


def _is_last(state) -> bool:
    return state.global_step >= state.max_steps
