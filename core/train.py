"""Training: one function, and its one TrainerCallback. Knows nothing of threads or gradio.

`train` takes a loaded model and prepared rows, runs Unsloth's trainer, tells what happens through `emit`, and
leaves the adapter in a folder. With `core.model` the only place that imports unsloth.
"""

import time
from collections.abc import Callable
from math import isfinite
from pathlib import Path

from core.config import RunConfig
from core.dataset import PreparedData
from core.events import Evaluated, Event, StepDone
from core.model import LoadedModel, free_memory, import_unsloth
from core.receipt import make_receipt
from core.stopping import ShouldStop, Stopped, leave_if

EVAL_ROWS = 256  # of the validation rows, checked in between: more would cost more than the training they check


class TrainingError(RuntimeError):
    """A run that cannot go on; the message is one sentence with the way out."""


class TrainResult:
    """`train_loss` is the mean over all steps, `eval_loss` the last one; None where there was none."""

    def __init__(self, steps: int, was_stopped: bool, losses: list[float], eval_loss: float | None, seconds: float, tokens: int):
        self.steps = steps
        self.was_stopped = was_stopped
        self.train_loss = sum(losses) / len(losses) if losses else None
        self.eval_loss = eval_loss
        self.seconds = seconds
        self.tokens = tokens


def train(
    loaded: LoadedModel,
    config: RunConfig,
    data: PreparedData,
    adapter_dir: Path,
    emit: Callable[[Event], None],
    should_stop: ShouldStop,
) -> TrainResult:
    """Trains the adapter on `loaded` and saves it in `adapter_dir`, also when it was stopped.

    Emits a Receipt before the first step, then StepDone and Evaluated. Raises TrainingError when memory runs out,
    and when the loss is NaN: only then is nothing saved, because the weights are worth nothing.
    """
    import torch

    language_model = import_unsloth().FastLanguageModel
    language_model.for_training(loaded.model)
    trainer, asked = _build_trainer(loaded, config, data, adapter_dir.parent)
    callback = _make_callback(emit, should_stop, lambda optimizer: make_receipt(loaded, config, data, trainer, asked, optimizer))
    trainer.add_callback(callback)
    began = time.monotonic()
    was_stopped = False
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        trainer.train()
        if trainer.eval_dataset is not None and callback.last_evaluated != trainer.state.global_step:
            trainer.evaluate()
    except Stopped:
        was_stopped = True
    except torch.OutOfMemoryError:
        raise TrainingError(
            "The card's memory is full: halve the batch size and double the accumulation, shorten the length, or "
            "leave embed_tokens and lm_head untrained."
        ) from None
    finally:
        seconds = time.monotonic() - began
        # Trainer and optimizer hold each other in a circle; the optimizer's states would stay in memory.
        trainer.optimizer = trainer.lr_scheduler = None
        trainer.callback_handler.callbacks.clear()
        loaded.model.zero_grad(set_to_none=True)
        # Accelerate wraps forward in autocast, and would leave it so for the answers that follow.
        trainer.accelerator.unwrap_model(loaded.model, keep_fp32_wrapper=False)
        _restore_precision(loaded)
        if callback.losses and not callback.is_nan:
            save_adapter(loaded, adapter_dir)  # after a fault too: what was trained until then is kept
    free_memory()
    return TrainResult(
        trainer.state.global_step, was_stopped, callback.losses, callback.eval_loss, seconds, callback.tokens
    )


def save_adapter(loaded: LoadedModel, adapter_dir: Path) -> None:
    """Writes the adapter with its tokenizer, beside its place first, so that one that stands there is whole."""
    aside = adapter_dir.with_name(adapter_dir.name + ".part")
    # Trained embeddings are saved as such; False keeps PEFT from asking the hub whether to add untrained ones.
    loaded.model.save_pretrained(str(aside), save_embedding_layers=False)
    loaded.tokenizer.save_pretrained(str(aside))
    aside.rename(adapter_dir)


def _restore_precision(loaded: LoadedModel) -> None:
    """Trained embeddings go back to the precision of the base, as they will be when loaded from disk."""
    for module in loaded.model.modules():
        if type(module).__name__ == "ModulesToSaveWrapper":
            for trained in module.modules_to_save.values():
                trained.to(module.original_module.weight.dtype)


def _build_trainer(loaded: LoadedModel, config: RunConfig, data: PreparedData, output_dir: Path):
    """The trainer, and the arguments it was asked for."""
    import torch
    from transformers import DataCollatorForSeq2Seq, PrinterCallback

    unsloth = import_unsloth()
    settings = config.training
    on_gpu = loaded.model.device.type == "cuda"
    packs = settings.packing and on_gpu
    asked = {
        "max_length": loaded.report.max_seq_length,
        "per_device_train_batch_size": settings.per_device_train_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "num_train_epochs": settings.num_train_epochs,
        "max_steps": settings.max_steps,
        "learning_rate": settings.learning_rate,
        "embedding_learning_rate": settings.embedding_learning_rate if config.adapter.modules_to_save else None,
        "warmup_steps": settings.warmup_steps,
        "lr_scheduler_type": settings.lr_scheduler_type,
        "optim": settings.optim,
        "weight_decay": settings.weight_decay,
        "seed": settings.seed,
        "packing": settings.packing,
        "bf16": loaded.report.dtype == "bfloat16",
        "fp16": loaded.report.dtype == "float16",
    }
    trainer = unsloth.UnslothTrainer(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        train_dataset=data.train.as_dataset(),
        eval_dataset=data.validation.as_dataset(EVAL_ROWS) if data.validation else None,
        # A collator of one's own switches packing off; rows of one sequence each need one that pads the labels.
        data_collator=None if packs else DataCollatorForSeq2Seq(loaded.tokenizer),
        args=unsloth.UnslothTrainingArguments(
            **asked,
            output_dir=str(output_dir),
            save_strategy="no",
            eval_strategy="steps" if data.validation and settings.eval_steps else "no",
            eval_steps=settings.eval_steps or None,
            per_device_eval_batch_size=settings.per_device_train_batch_size,
            # The model has its checkpointing from get_peft_model; TRL must not switch it on again by its default.
            gradient_checkpointing=bool(settings.use_gradient_checkpointing),
            logging_steps=1,
            logging_nan_inf_filter=False,  # it would show a loss that is no number as 0
            include_num_input_tokens_seen="non_padding",
            report_to="none",
            disable_tqdm=True,
            dataset_num_proc=None,
            # The rows are tokens and labels already, cut to length; TRL would go through them twice more.
            dataset_kwargs={"skip_prepare_dataset": not packs},
            eval_packing=False,
        ),
    )
    trainer.remove_callback(PrinterCallback)
    if not on_gpu:
        # TRL makes trained weights of a 4-bit model bfloat16, which learns worse and breaks where a CPU has none.
        for weight in loaded.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.to(torch.float32)
    return trainer, asked


def _make_callback(emit: Callable[[Event], None], should_stop: ShouldStop, receipt: Callable):
    """The callback that turns the trainer's doings into events, and a wish to stop into leaving its loop."""
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        def __init__(self):
            self.began = 0.0
            self.tokens = 0
            self.losses: list[float] = []
            self.eval_loss: float | None = None
            self.last_evaluated = -1
            self.is_nan = False

        def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
            emit(receipt(optimizer))
            self.began = time.monotonic()

        def on_substep_end(self, args, state, control, **kwargs):
            self._leave_between_micro_batches()

        def on_step_end(self, args, state, control, **kwargs):
            self.tokens = int(state.num_input_tokens_seen)

        def on_step_begin(self, args, state, control, **kwargs):
            self._leave_between_micro_batches()

        def on_prediction_step(self, args, state, control, **kwargs):
            self._leave_between_micro_batches()

        def on_log(self, args, state, control, logs=None, **kwargs):
            if not logs or "loss" not in logs:
                return
            loss = float(logs["loss"])
            if not isfinite(loss):
                self.is_nan = True
                raise TrainingError(
                    f"The loss became {loss} at step {state.global_step}: lower the learning rates or lengthen the warm-up."
                )
            self.losses.append(loss)
            grad_norm = logs.get("grad_norm")
            emit(
                StepDone(
                    step=state.global_step,
                    max_steps=state.max_steps,
                    epoch=float(state.epoch or 0),
                    loss=loss,
                    learning_rate=float(logs.get("learning_rate", 0.0)),
                    grad_norm=None if grad_norm is None else float(grad_norm),
                    tokens=self.tokens,
                    elapsed=time.monotonic() - self.began,
                )
            )

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            self.eval_loss = float(metrics["eval_loss"])
            self.last_evaluated = state.global_step
            emit(Evaluated(step=state.global_step, eval_loss=self.eval_loss))

        def _leave_between_micro_batches(self):
            leave_if(should_stop)

    return Progress()
