"""Training: `train` runs Unsloth's trainer on a loaded model and prepared rows, and saves the adapter.

It reports what happens through `emit` and saves checkpoints on the way.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.rows_fingerprint import are_the_rows_of, rows_fingerprint
from core.disk.atomic import put_in_place
from core.model.adapters_on_base import FIRST_ADAPTER
from core.model.device_memory import free_memory
from core.model.library_patches.model_parts import named
from core.model.library_patches.trainer_parts import end_callbacks
from core.model.loaded_model import LoadedModel
from core.problems import TrainingError, mark, tr
from core.runs.checkpoint_list import Checkpoint
from core.runs.events import Change, Event, Receipt, Resumed
from core.settings.run_config import RunConfig
from core.settings.steps import in_whole_steps
from core.threads import Ended, ShouldStop, Stopped
from core.training.checkpoint_files import is_done, read_progress, restore_adapter
from core.training.checkpoint_keeper import Keeper, check_finite, is_finite
from core.training.progress import Progress
from core.training.receipt import changed, make_receipt
from core.training.sample_answers import answer_samples
from core.training.trackers import end_tracker
from core.training.trainer import build_trainer, take_apart
from core.training.work_reporter import WorkReporter

OTHER_ROWS = mark(
    "The rows are not the ones this run was started with: restore them, or start a new run that continues from its "
    "checkpoint ({checkpoint})."
)
ADAPTER_NOT_SAVED = mark(
    "The disk is full, so the adapter could not be saved: free some space and resume the run; its checkpoint at step "
    "{step:,} is kept."
)
NOTHING_SAVED = mark(
    "The disk is full, so the adapter could not be saved, and there is no checkpoint to resume from: free some space "
    "and start the run again."
)


@dataclass(frozen=True)
class TrainResult:
    """`train_loss` is the mean over all steps, `eval_loss` the last one; None if there was none.

    `ending` is a sentence that says why the run ended before its last step, if its own settings ended it.
    """

    steps: int
    was_stopped: bool
    train_loss: float | None
    eval_loss: float | None
    seconds: float
    tokens: int
    ending: str


def train(
    loaded: LoadedModel,
    config: RunConfig,
    data: PreparedData,
    adapter_dir: Path,
    emit: Callable[[Event], None],
    should_stop: ShouldStop,
    resume_from: Checkpoint | None = None,
    changes: tuple[Change, ...] = (),
) -> TrainResult:
    """Trains the adapter on `loaded` and saves it in `adapter_dir`, also after a stop. Checkpoints go next to it.

    With `resume_from`, training continues from that checkpoint as if it had never ended. Emits a Receipt before the
    first step, which also lists the `changes` made before training, then StepDone, Evaluated, Sampled and
    CheckpointSaved. On a CPU, torch is left with the number of threads that was fastest (see `threads_restored`).
    Raises TrainingError if the rows differ from those of the checkpoint, or if the loss or a weight becomes NaN or
    infinite. In the latter case the adapter is not saved; earlier checkpoints are kept.
    """
    saved = read_progress(resume_from.folder) if resume_from else {"rows": rows_fingerprint(data)}
    if resume_from and not are_the_rows_of(saved["rows"], data):
        raise TrainingError(OTHER_ROWS, checkpoint=f"{adapter_dir.parent.name}/checkpoints/step-{saved['step']}")
    if resume_from:
        emit(Resumed(step=resume_from.step))
    elif config.training.sample_prompts:
        work = WorkReporter(emit)
        work.show(mark("The base answers your sample prompts"))
        emit(answer_samples(loaded, config, 0, "base", should_stop, prompt_date=data.prompt_date))
        work.back_to_steps()
    whole, shares = in_whole_steps(config, len(data.train))
    changes += tuple(changed(name, config, whole, reason) for name, reason in shares.items())
    session = TrainingSession(loaded, whole, data, adapter_dir, emit, should_stop, Progress.from_json(saved), changes)
    return session.run(resume_from, saved)


class TrainingSession:
    """One training: its model, its trainer and what it has reached. Build it, then call `run` once."""

    def __init__(
        self,
        loaded: LoadedModel,
        config: RunConfig,
        data: PreparedData,
        adapter_dir: Path,
        emit: Callable[[Event], None],
        should_stop: ShouldStop,
        progress: Progress,
        changes: tuple[Change, ...],
    ):
        settings = config.training
        save = self.save if settings.save_steps else None
        self._loaded, self._config, self._data = loaded, config, data
        self._adapter_dir, self._emit, self._should_stop = adapter_dir, emit, should_stop
        self._progress, self._changes = progress, changes
        self._was_stopped = False
        self._work = WorkReporter(emit)
        self._ending = ""
        self._has_final_weights = False
        self._keeper = Keeper(adapter_dir.with_name("checkpoints"), settings.save_total_limit, emit, should_stop)
        self._trainer, self._asked = build_trainer(loaded, config, data, adapter_dir.parent, save)
        from core.training.callback import RunCallback, ThreadsCallback  # imports transformers, so only after Unsloth

        self._callback = RunCallback(
            settings,
            progress,
            emit=emit,
            work=self._work,
            should_stop=should_stop,
            receipt=self.receipt,
            paused=lambda: self._keeper.paused,
            sample=self.sample if settings.sample_prompts else None,
            save=save,
            validation_rows=len(self._trainer.eval_dataset or ()),
        )
        if loaded.device.type == "cpu":
            self._trainer.add_callback(ThreadsCallback())
        self._trainer.add_callback(self._callback)

    def run(self, resume_from: Checkpoint | None, saved: dict) -> TrainResult:
        """Trains to the end or to a stop. `saved` is the content of the checkpoint's progress.json."""
        try:
            self._train(resume_from, saved)
        except Stopped:
            self._was_stopped = True
            self._save_where_it_stopped()
        finally:
            seconds = self._callback.seconds
            self.finish()
        free_memory()
        return TrainResult(
            steps=self._progress.step,
            was_stopped=self._was_stopped,
            train_loss=self._progress.train_loss,
            eval_loss=self._progress.last_eval_loss,
            seconds=seconds,
            tokens=self._progress.tokens,
            ending=self._ending,
        )

    def receipt(self, optimizer) -> Receipt:
        """What really trains, once the trainer has made its optimizer."""
        receipt = make_receipt(self._loaded, self._config, self._data, self._trainer, self._asked, optimizer)
        return receipt.model_copy(update={"changes": (*self._changes, *receipt.changes)})

    def save(self) -> None:
        """Saves a checkpoint of the latest step. Raises Stopped if the disk is full and a stop is requested."""
        self._work.show(mark("Saving a checkpoint"))
        self._trainer.state.num_input_tokens_seen = self._progress.tokens
        self._keeper.save(
            self._trainer,
            lambda folder: write_adapter(self._loaded, folder),
            self._callback.random_state,
            self._progress.to_json(self._callback.is_check_due),
        )

    def sample(self, step: int) -> None:
        """Lets the tuned model answer the run's own prompts."""
        self._work.show(mark("The tuned model answers your sample prompts"))
        autocast, day = self._trainer.answering(), self._data.prompt_date
        self._emit(answer_samples(self._loaded, self._config, step, "tuned", self._should_stop, autocast, day))

    def finish(self) -> None:
        """Closes the trackers, takes the trainer apart and saves the adapter: also after a stop or an error."""
        trainer = self._trainer
        try:
            if self._config.training.report_to != "none":
                self._work.show(mark("Closing the tracker"))
            if not self._callback.has_ended:  # trackers close their record on this
                end_callbacks(trainer)
            end_tracker()
        finally:
            take_apart(trainer, self._loaded)
            self._work.show(mark("Checking the trained weights"))
            # Weights that are NaN, or those of a checkpoint that could not be read, must not replace an older adapter.
            has_trained = self._callback.random_state is not None or self._has_final_weights
            if has_trained and not self._callback.is_nan and is_finite(self._loaded.model):
                self._save_adapter()

    def _train(self, resume_from: Checkpoint | None, saved: dict) -> None:
        if resume_from and is_done(resume_from.folder, saved):
            self._work.show(mark("Loading the last checkpoint"))
            restore_adapter(resume_from.folder, self._loaded.model)
        else:
            # If a check was due after the checkpoint's step but never made, it comes first.
            self._trainer.args.eval_on_start = bool(saved.get("is_due"))
            with suppress(Ended):  # that check may end the run
                self._trainer.train(resume_from_checkpoint=str(resume_from.folder) if resume_from else None)
        self._has_final_weights = True
        self._work.show(mark("Checking the trained weights"))
        check_finite(self._loaded.model, self._progress.step)
        self._ending = self._progress.ending
        if self._progress.ended_early:
            self._ending = f"{self._ending} {self._return_to_the_best()}"

    def _return_to_the_best(self) -> str:
        """Restores the adapter of the best checkpoint. Returns a sentence to append to the ending."""
        best = self._keeper.best()
        if best is None:
            return tr("The adapter is from the last step, because no checkpoint with a validation loss was kept.")
        self._work.show(tr("Going back to the best checkpoint, at step {step:,}", step=best.step))
        restore_adapter(best.folder, self._loaded.model)
        return tr("The adapter is from step {step:,}, the best one.", step=best.step)

    def _save_where_it_stopped(self) -> None:
        if self._config.training.save_steps and self._callback.random_state is not None:
            with suppress(Stopped):  # the disk is full and nobody wants to wait: the older checkpoint is kept
                self.save()

    def _save_adapter(self) -> None:
        """Raises TrainingError if the disk is full and a stop is requested."""
        self._work.show(mark("Saving the adapter"))
        try:
            self._keeper.retry_while_full(
                lambda: put_in_place(self._adapter_dir, lambda folder: write_adapter(self._loaded, folder))
            )
        except Stopped:
            newest = self._keeper.newest()
            if newest is None:
                raise TrainingError(NOTHING_SAVED) from None
            raise TrainingError(ADAPTER_NOT_SAVED, step=newest.step) from None


def write_adapter(loaded: LoadedModel, folder: Path) -> None:
    """Writes the adapter in PEFT's format, and the tokenizer. It names its base as the settings do."""
    # The name, not the folder on this machine that the base was loaded from: a run can be moved to another.
    loaded.model.peft_config[FIRST_ADAPTER].base_model_name_or_path = loaded.report.name
    with named(loaded.model.get_base_model(), loaded.report.name):  # for PEFT's README.md
        # Trained embeddings are saved because they are in modules_to_save; with its default PEFT would ask the Hub
        # whether to add untrained ones.
        loaded.model.save_pretrained(str(folder), save_embedding_layers=False)
    loaded.tokenizer.save_pretrained(str(folder))
