"""The trainer: Unsloth's, given every argument that matters, with checkpoints of our own kind.

Knows nothing of threads or gradio.
"""

from collections.abc import Callable
from pathlib import Path

from core.checkpoints import restore_adapter, restore_optimizer, restore_random_state, restore_scaler
from core.config import RunConfig
from core.dataset import PreparedData
from core.model import LoadedModel, import_unsloth

EVAL_ROWS = 256  # of the validation rows, checked in between: more would cost more than the training they check


def build_trainer(
    loaded: LoadedModel, config: RunConfig, data: PreparedData, output_dir: Path, save: Callable[[], None] | None
):
    """The trainer, and the arguments it was asked for. `save` writes a checkpoint; None: there are to be none."""
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
    trainer = _kind_of_trainer(unsloth, save)(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        train_dataset=data.train.as_dataset(),
        eval_dataset=data.validation.as_dataset(EVAL_ROWS) if data.validation else None,
        # A collator of one's own switches packing off; rows of one sequence each need one that pads the labels.
        data_collator=None if packs else DataCollatorForSeq2Seq(loaded.tokenizer),
        args=unsloth.UnslothTrainingArguments(
            **asked,
            output_dir=str(output_dir),
            save_strategy="steps" if save else "no",
            save_steps=settings.save_steps or 1,
            eval_strategy="steps" if data.validation and settings.eval_steps else "no",
            eval_steps=settings.eval_steps or None,
            per_device_eval_batch_size=settings.per_device_train_batch_size,
            # The model has its checkpointing from get_peft_model; TRL must not switch it on again by its default.
            gradient_checkpointing=bool(settings.use_gradient_checkpointing),
            logging_steps=1,
            logging_nan_inf_filter=False,  # it would show a loss that is no number as 0
            include_num_input_tokens_seen="non_padding",
            report_to=settings.report_to,
            run_name=output_dir.resolve().name,
            project="HearthTune",
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


def _kind_of_trainer(unsloth, save: Callable[[], None] | None) -> type:
    """Unsloth's trainer with the saving and restoring of `core.checkpoints` in place of the library's pickles."""

    class CheckpointedTrainer(unsloth.UnslothTrainer):
        def _save_checkpoint(self, model, trial):
            save()

        def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
            restore_adapter(Path(resume_from_checkpoint), self.model)

        def _load_optimizer_and_scheduler(self, checkpoint):
            if checkpoint is not None:
                restore_optimizer(Path(checkpoint), self)

        def _load_scaler(self, checkpoint):
            if checkpoint is not None:
                restore_scaler(Path(checkpoint), self)

        def _load_rng_state(self, checkpoint):
            if checkpoint is not None:
                restore_random_state(Path(checkpoint))

    return CheckpointedTrainer
