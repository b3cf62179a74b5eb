"""One run from the loaded model and the prepared rows to its summary."""

import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress

from core.data.prepared.prepared_data import PreparedData
from core.evaluation.heldout import measure_heldout
from core.memory.cards import this_machine
from core.memory.estimate import estimate
from core.memory.hardware import MemoryMonitor, MemoryStats, detect_machine, sample_memory
from core.memory.model_shape import shape_of
from core.memory.probe_log import exact_probe, latest_probe, measured_here
from core.model.cpu_threads import threads_restored
from core.model.device_memory import free_memory, is_out_of_memory
from core.model.embedding_rows import check_going_on, rows_to_train
from core.model.loaded_model import LoadedModel
from core.model.new_adapter import attach_adapter
from core.problems import ModelError, first_line, mark, tr, trn
from core.runs.checkpoint_list import Checkpoint
from core.runs.events import (
    BatchChosen,
    Change,
    Estimated,
    Event,
    Finished,
    HeldOut,
    MemorySampled,
    Probed,
    StatusChanged,
)
from core.runs.run_folder import Run
from core.settings.run_config import RunConfig
from core.settings.steps import check_schedule, steps_of
from core.threads import ShouldStop, forget_frames
from core.training.largest_batch import Tried, find_batch, words_of_trying
from core.training.out_of_memory import out_of_memory_error
from core.training.step_probe import Measured, full_length
from core.training.train import TrainResult, train
from core.training.work_reporter import WorkReporter

Emit = Callable[[Event], None]
FINISHED = mark("Finished.")  # is kept with the run in English, unless there is more to say
MEASURING = {  # by the side, as `measure_heldout` names it
    "the base": mark("Measuring the base on the validation rows"),
    "the tuned model": mark("Measuring the tuned model on the validation rows"),
}


@threads_restored()
def perform(
    run: Run,
    asked: RunConfig,
    loaded: LoadedModel,
    data: PreparedData,
    emit: Emit,
    should_stop: ShouldStop,
    resume_from: Checkpoint | None = None,
    chosen: BatchChosen | None = None,
) -> tuple[str, str]:
    """Trains, evaluates base and tuned on the validation rows, and writes the summary.

    With `resume_from`, training continues from that checkpoint. An automatic batch size is that of `chosen` if the run
    has already chosen one, otherwise the largest that fits. Returns the status the run ends with, and a sentence.
    Raises ConfigError, ModelError, TrainingError and Stopped.
    """

    def sampled(stats: MemoryStats) -> None:
        emit(MemorySampled(**stats.model_dump(), used_by_us_gib=stats.used_by_us_gib))

    check_schedule(asked.training, steps_of(asked, len(data.train)))
    before = sample_memory()
    with memory_in_words(loaded, asked, data):
        if not loaded.has_adapter:
            begin_adapter(loaded, asked, data)
        check_going_on(loaded)
        if asked.training.per_device_train_batch_size == "auto" and chosen is None:
            chosen = _choose_batch(run, asked, loaded, data, emit, should_stop)
    config, changes = _with_batch(asked, chosen)
    estimated, probed, note = _expected(run, config, loaded, data)
    for event in filter(None, (estimated, probed)):
        emit(event)
    emit(StatusChanged(status="training", message=note))
    with MemoryMonitor(sampled) as monitor, memory_in_words(loaded, config, data):
        result = train(loaded, config, data, run.adapter_dir, emit, should_stop, resume_from, changes)
    heldout, failure = None, ""
    if not result.was_stopped and data.validation:
        heldout, failure = _evaluate(loaded, data, emit, should_stop)
    finished = _figures(result, run, before, monitor.peak_gib)
    emit(finished)
    memory = {
        "estimate": estimated.by_itself_gib if estimated else None,
        "probe": probed.peak_gib if probed else None,
        "reality": finished.peak_memory_gib,
    }
    return _ending(result, run, (note, failure, _write_summary(run, finished, heldout, memory)))


def begin_adapter(loaded: LoadedModel, config: RunConfig, data: PreparedData | None) -> None:
    """Puts a new adapter on the base. `data` may be None unless the adapter depends on it (`rows_decide`).

    Raises ModelError.
    """
    training, token_ids = config.training, rows_to_train(config.adapter, loaded, data)
    attach_adapter(loaded, config.adapter, training.use_gradient_checkpointing, training.seed, token_ids)


def rows_decide(config: RunConfig) -> bool:
    """Whether what a new adapter trains depends on the tokens in the rows."""
    return config.adapter.trains_rows and config.adapter.trainable_tokens == "seen"


def _choose_batch(
    run: Run, config: RunConfig, loaded: LoadedModel, data: PreparedData, emit: Emit, should_stop: ShouldStop
) -> BatchChosen:
    """Finds the batch size and emits it. What it measures is saved like any other probe."""

    def trying(batch: int, tried: Tried) -> None:
        emit(StatusChanged(status="preparing", message=words_of_trying(batch)))

    def measured(sized: RunConfig, found: Measured) -> None:
        with suppress(ModelError):  # no estimate to compare with; the run itself says so
            measured_here(run.folder.parent, sized, rows=len(data.train), **found.model_dump())

    found = find_batch(loaded, config, data, should_stop=should_stop, trying=trying, measured=measured)
    chosen = BatchChosen(batch=found.batch, accumulation=found.accumulation, tried=found.tried)
    emit(chosen)
    return chosen


def _with_batch(asked: RunConfig, chosen: BatchChosen | None) -> tuple[RunConfig, tuple[Change, ...]]:
    """The settings with the batch size as a number, and how that differs from what was asked for."""
    if asked.training.per_device_train_batch_size != "auto":
        return asked, ()
    runs = f"{chosen.batch} × {chosen.accumulation}"
    rows = asked.training.effective_batch
    reason = trn(
        "the largest batch that fits, with {count:,} row per step",
        "the largest batch that fits, with {count:,} rows per step",
        rows,
    )
    change = Change(setting="per_device_train_batch_size", asked="auto", runs=runs, reason=reason)
    return asked.with_batch(chosen.batch, chosen.accumulation), (change,)


def _expected(
    run: Run, config: RunConfig, loaded: LoadedModel, data: PreparedData
) -> tuple[Estimated | None, Probed | None, str]:
    """What the run should need: the estimate, corrected by the newest probe, and a probe of exactly these settings.

    Third is a sentence that says why there is no estimate, if there is none: that does not stop the run.
    """
    machine, runs_dir, longest = detect_machine(), run.folder.parent, full_length(loaded, config, data)
    exact = exact_probe(runs_dir, machine, config, longest)
    probed = exact and Probed(peak_gib=exact.peak_gib, seconds_per_step=exact.seconds_per_step, length=exact.length)
    try:
        shape = shape_of(config.model, fetch=False)
    except ModelError as error:
        return None, probed, str(error)
    card, probe = this_machine(machine), exact or latest_probe(runs_dir, machine, config)
    found = estimate(config, shape, card, probe, longest)
    estimated = Estimated(
        total_gib=found.total_gib,
        comparable_gib=found.comparable_gib,
        before_probe_gib=estimate(config, shape, card, longest=longest).comparable_gib,
        parts=found.parts,
    )
    return estimated, probed, ""


def _evaluate(
    loaded: LoadedModel, data: PreparedData, emit: Emit, should_stop: ShouldStop
) -> tuple[HeldOut | None, str]:
    """Measures base and tuned on the validation rows and emits it. Returns it, and a sentence if it failed."""
    work = WorkReporter(emit)

    def report(side: str, done: int, total: int) -> None:
        work.show(MEASURING[side], done, total)

    try:
        heldout = measure_heldout(loaded, data.validation, should_stop, report)
    except Exception as error:  # the adapter is trained and saved; a failing evaluation must not undo that
        traceback.print_exc()
        forget_frames(error)
        free_memory()
        return None, tr("The evaluation on the validation rows failed: {reason}.", reason=first_line(error))
    if heldout:
        emit(heldout)
    return heldout, ""


@contextmanager
def memory_in_words(loaded: LoadedModel, config: RunConfig, data: PreparedData | None):
    """Turns running out of memory into a TrainingError that says what would help."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(loaded, config, data) from None


def _figures(result: TrainResult, run: Run, before: MemoryStats, peak_gib: float) -> Finished:
    return Finished(
        steps=result.steps,
        train_loss=result.train_loss,
        eval_loss=result.eval_loss,
        runtime_s=result.seconds,
        tokens_per_s=result.tokens / result.seconds if result.seconds else 0.0,
        peak_memory_gib=peak_gib,
        peak_memory_for_training_gib=max(peak_gib - before.used_by_us_gib, 0.0),
        total_memory_gib=before.total_gib,
        adapter_dir=str(run.adapter_dir) if run.has_adapter else None,
    )


def _write_summary(run: Run, finished: Finished, heldout: HeldOut | None, memory: dict[str, float | None]) -> str:
    """`memory` is in GiB. Returns a sentence if the summary cannot be written; the run itself is still complete."""
    try:
        run.write_summary(
            finished.model_dump() | {"heldout": heldout.model_dump() if heldout else None, "memory": memory}
        )
    except OSError as error:
        return tr("Its summary could not be written: {reason}.", reason=error.strerror)
    return ""


def _ending(result: TrainResult, run: Run, notes: tuple[str, ...]) -> tuple[str, str]:
    """The run's final status, and the sentence for it, followed by those of the notes that are not empty."""
    notes = tuple(filter(None, notes))
    if not result.was_stopped:
        ending = result.ending or (tr(FINISHED) if notes else FINISHED)
        return "completed", " ".join((ending, *notes))
    steps = result.steps
    if run.has_adapter:
        stopped = trn(
            "Stopped after {count} step; what was trained is kept as an adapter.",
            "Stopped after {count} steps; what was trained is kept as an adapter.",
            steps,
        )
    elif run.checkpoints():
        stopped = trn(
            "Stopped after {count} step; its checkpoints are kept.",
            "Stopped after {count} steps; its checkpoints are kept.",
            steps,
        )
    else:
        stopped = trn(
            "Stopped after {count} step; no step was finished, so nothing is kept.",
            "Stopped after {count} steps; no step was finished, so nothing is kept.",
            steps,
        )
    return "stopped", " ".join((stopped, *notes))
