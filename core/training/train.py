"""Training: one function. Knows nothing of threads or gradio.

`train` takes a loaded model and prepared rows, runs Unsloth's trainer, tells what happens through `emit`, keeps
checkpoints, and leaves the adapter in a folder.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.rows_fingerprint import rows_fingerprint
from core.disk.atomic import put_in_place
from core.model.device_memory import free_memory
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth
from core.problems import TrainingError
from core.runs.checkpoint_list import Checkpoint
from core.runs.events import Change, Event, Receipt, Resumed
from core.settings.run_config import RunConfig
from core.stopping import Ended, ShouldStop, Stopped
from core.training.checkpoint_files import is_done, read_progress, restore_adapter
from core.training.checkpoint_keeper import Keeper, check_finite, is_finite
from core.training.receipt import make_receipt
from core.training.sample_answers import answer_samples
from core.training.trackers import end_tracker
from core.training.trainer import build_trainer, take_apart


@dataclass(frozen=True)
class TrainResult:
    """`train_loss` is the mean over all steps, `eval_loss` the last one; None where there was none.

    `ending` says in a sentence why it ended before its last step, when it did so by its own settings.
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
    """Trains the adapter on `loaded` and saves it in `adapter_dir`, also when it was stopped; checkpoints beside it.

    With `resume_from` it goes on after that checkpoint, as if it had never ended. Emits a Receipt before the first
    step, which also tells of the `changes` that were made before it, then StepDone, Evaluated, Sampled and
    CheckpointSaved. Raises TrainingError when the rows are no longer those of the checkpoint, and when the loss or a
    weight is no number: only then is no adapter saved, because its weights are worth nothing; the checkpoints before
    it stay.
    """
    language_model = import_unsloth().FastLanguageModel
    from core.training.callback import Progress

    settings, rows = config.training, rows_fingerprint(data)
    before = read_progress(resume_from.folder) if resume_from else {}
    if before and before["rows"] != rows:
        raise TrainingError(
            "The rows are not those that this run began with: bring the old ones back, or start a new run that "
            f"continues from its checkpoint ({adapter_dir.parent.name}/checkpoints/step-{before['step']})."
        )
    if resume_from:
        emit(Resumed(step=resume_from.step))
    if settings.sample_prompts and not resume_from:
        emit(answer_samples(loaded, config, 0, "base", should_stop))
    language_model.for_training(loaded.model)
    keeper = Keeper(adapter_dir.with_name("checkpoints"), settings.save_total_limit, emit, should_stop)

    def save() -> None:
        trainer.state.num_input_tokens_seen = callback.tokens
        keeper.save(trainer, lambda folder: write_adapter(loaded, folder), callback.random_state, callback.values())

    def sample(step: int) -> None:
        emit(answer_samples(loaded, config, step, "tuned", should_stop, trainer.accelerator.autocast()))

    trainer, asked = build_trainer(loaded, config, data, adapter_dir.parent, save if settings.save_steps else None)
    callback = Progress(
        settings, before, rows, emit, should_stop,
        lambda optimizer: _with_changes(make_receipt(loaded, config, data, trainer, asked, optimizer), changes),
        lambda: keeper.paused,
    )  # fmt: skip
    callback.checks = trainer.eval_dataset is not None
    callback.sample = sample if settings.sample_prompts else None
    callback.save = save if settings.save_steps else None
    trainer.add_callback(callback)
    was_stopped, ending, is_restored = False, "", False
    try:
        if resume_from and is_done(resume_from.folder, before):
            restore_adapter(resume_from.folder, loaded.model)
        else:
            # A check that was due after the checkpoint's step, and not done any more, is done first.
            trainer.args.eval_on_start = bool(before.get("is_due"))
            with suppress(Ended):  # by that check
                trainer.train(resume_from_checkpoint=str(resume_from.folder) if resume_from else None)
        is_restored = True
        check_finite(loaded.model, callback.step)
        ending = callback.ending
        if callback.ended_early:
            ending += _go_back_to_the_best(keeper.best(), loaded)
    except Stopped:
        was_stopped = True
        if callback.save and callback.random_state:
            with suppress(Stopped):  # no room on the disk, and no wish to wait: the older checkpoint stays
                save()
    finally:
        seconds = callback.seconds
        try:
            if not callback.has_ended:  # a tracker closes its record
                trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)
            end_tracker()
        finally:
            take_apart(trainer, loaded)
            # After a fault too what was trained until then is kept. But weights that are no numbers, or a checkpoint
            # that could not be read, must not cost the adapter that is there.
            if (callback.random_state or is_restored) and not callback.is_nan and is_finite(loaded.model):
                _keep_adapter(loaded, adapter_dir, keeper)
    free_memory()
    return TrainResult(
        callback.step, was_stopped, callback.train_loss, callback.eval_loss, seconds, callback.tokens, ending
    )


def _with_changes(receipt: Receipt, changes: tuple[Change, ...]) -> Receipt:
    return receipt.model_copy(update={"changes": (*changes, *receipt.changes)})


def _go_back_to_the_best(best: Checkpoint | None, loaded: LoadedModel) -> str:
    """Returns a sentence."""
    if best is None:
        return " The adapter is that of the last step, because no checkpoint of a check is kept."
    restore_adapter(best.folder, loaded.model)
    return f" The adapter is that of step {best.step:,}, the best."


def _keep_adapter(loaded: LoadedModel, adapter_dir: Path, keeper: Keeper) -> None:
    try:
        keeper.patiently(lambda: put_in_place(adapter_dir, lambda folder: write_adapter(loaded, folder)))
    except Stopped:
        newest = keeper.newest()
        kept = f"its checkpoint of step {newest.step:,} is kept" if newest else "it has no checkpoint to go on from"
        raise TrainingError(
            f"The disk is full, so the adapter could not be saved: make room and resume the run; {kept}."
        ) from None


def write_adapter(loaded: LoadedModel, folder: Path) -> None:
    """The adapter with its tokenizer, as PEFT keeps one."""
    # Trained embeddings are saved as such; False keeps PEFT from asking the hub whether to add untrained ones.
    loaded.model.save_pretrained(str(folder), save_embedding_layers=False)
    loaded.tokenizer.save_pretrained(str(folder))
