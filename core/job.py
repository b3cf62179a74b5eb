"""One run to its summary, once a model is loaded and the rows are prepared. Knows nothing of threads, locks or gradio."""

import traceback
from collections.abc import Callable
from contextlib import contextmanager

from core.checkpoint_list import Checkpoint
from core.config import RunConfig
from core.dataset import PreparedData
from core.events import Event, Finished, HeldOut, MemorySampled, StatusChanged
from core.hardware import MemoryMonitor, MemoryStats, sample_memory
from core.heldout import measure_heldout
from core.model import LoadedModel, attach_adapter, first_line, free_memory
from core.runs import Run
from core.keeping import TrainingError
from core.relief import is_out_of_memory, relief
from core.stopping import ShouldStop
from core.train import TrainResult, train

Emit = Callable[[Event], None]


def perform(
    run: Run,
    config: RunConfig,
    loaded: LoadedModel,
    data: PreparedData,
    emit: Emit,
    should_stop: ShouldStop,
    resume_from: Checkpoint | None = None,
) -> tuple[str, str]:
    """Trains on the rows, lets base and tuned answer rows that neither saw, and writes the summary.

    With `resume_from`, training goes on after that checkpoint. Returns the status that the run ends with, and a
    sentence. Raises ModelError, TrainingError and Stopped.
    """
    training = config.training

    def sampled(stats: MemoryStats) -> None:
        emit(MemorySampled(**stats.model_dump(), used_by_us_gib=stats.used_by_us_gib))

    before = sample_memory()
    emit(StatusChanged(status="training", message=""))
    with MemoryMonitor(sampled) as monitor, _memory_in_words(loaded, config, data):
        if not loaded.has_adapter:
            attach_adapter(loaded, config.adapter, training.use_gradient_checkpointing, training.seed)
        result = train(loaded, config, data, run.adapter_dir, emit, should_stop, resume_from)
    heldout, note = None, ""
    if not result.was_stopped and data.validation:
        emit(StatusChanged(status="training", message="Base and tuned answer the validation rows"))
        try:
            heldout = measure_heldout(loaded, data.validation, should_stop)
        except Exception as error:  # the adapter is trained and saved: a check that fails does not undo that
            note = f" The check on validation rows failed: {first_line(error)}."
            traceback.print_exc()
            error.with_traceback(None)
            free_memory()
    if heldout:
        emit(heldout)
    finished = _figures(result, run, before, monitor.peak_gib)
    emit(finished)
    return _ending(result, run, note + _write_summary(run, finished, heldout))


@contextmanager
def _memory_in_words(loaded: LoadedModel, config: RunConfig, data: PreparedData):
    """Memory that runs out becomes TrainingError, with what would help."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(relief(loaded, config, data)) from None


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


def _write_summary(run: Run, finished: Finished, heldout: HeldOut | None) -> str:
    """Returns a sentence when it could not be written: the run itself is none the worse."""
    try:
        run.write_summary(finished.model_dump() | {"heldout": heldout.model_dump() if heldout else None})
    except OSError as error:
        return f" Its summary could not be written: {error.strerror}."
    return ""


def _ending(result: TrainResult, run: Run, note: str) -> tuple[str, str]:
    if not result.was_stopped:
        return "completed", f"{result.ending or 'Finished.'}{note}"
    kept = "what was trained is kept as an adapter" if run.has_adapter else "no step was finished, so nothing is kept"
    if not run.has_adapter and run.checkpoints():
        kept = "its checkpoints are kept"
    steps = "1 step" if result.steps == 1 else f"{result.steps} steps"
    return "stopped", f"Stopped after {steps}; {kept}.{note}"
