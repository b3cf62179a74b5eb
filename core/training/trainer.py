"""The trainer: Unsloth's, given every argument that matters, with checkpoints of our own kind.

Knows nothing of threads or gradio.
"""

from collections.abc import Callable
from pathlib import Path

from core.data.prepared.prepared_data import PreparedData
from core.model.embedding_rows import give_rows_their_own_group, token_layers
from core.model.library_patches import forget_embeddings
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth
from core.settings.run_config import RunConfig
from core.training.checkpoint_files import restore_adapter, restore_optimizer, restore_random_state, restore_scaler

EVAL_ROWS = 256  # of the validation rows, checked in between: more would cost more than the training they check


def build_trainer(
    loaded: LoadedModel, config: RunConfig, data: PreparedData, output_dir: Path, save: Callable[[], None] | None
):
    """The trainer, and the arguments it was asked for. `save` writes a checkpoint; None: there are to be none.

    The batch is a number by now. Of `data` only the examples are used.
    """
    import torch
    from transformers import DataCollatorForSeq2Seq, PrinterCallback

    unsloth = import_unsloth()
    settings = config.training
    on_gpu = loaded.device.type == "cuda"
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


def take_apart(trainer, loaded: LoadedModel) -> None:
    """Leaves the model as it is to be used, and nothing of the trainer in memory."""
    # Trainer and optimizer hold each other in a circle; the optimizer's states would stay in memory.
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.callback_handler.callbacks.clear()
    loaded.model.zero_grad(set_to_none=True)
    forget_embeddings()
    # Accelerate wraps forward in autocast, and would leave it so for the answers that follow.
    trainer.accelerator.unwrap_model(loaded.model, keep_fp32_wrapper=False)
    _restore_precision(loaded)


def _restore_precision(loaded: LoadedModel) -> None:
    """Trained embeddings go back to the precision of the base, as they will be when loaded from disk."""
    for module in loaded.model.modules():
        if type(module).__name__ == "ModulesToSaveWrapper":
            for trained in module.modules_to_save.values():
                trained.to(module.original_module.weight.dtype)
    for _, layer in token_layers(loaded.model):
        for rows in layer.trainable_tokens_delta.values():
            rows.data = rows.data.to(layer.get_base_layer().weight.dtype)


def _kind_of_trainer(unsloth, save: Callable[[], None] | None) -> type:
    """Unsloth's trainer with the saving and restoring of `core.training.checkpoint_files` in place of the library's pickles."""

    class CheckpointedTrainer(unsloth.UnslothTrainer):
        def create_optimizer(self, *args, **kwargs):
            optimizer = super().create_optimizer(*args, **kwargs)
            if self.args.embedding_learning_rate is not None:
                give_rows_their_own_group(optimizer, self.model, self.args.embedding_learning_rate)
            return optimizer

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
