"""Unsloth's trainer, given every argument that matters, with checkpoints in a format of our own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.data.prepared.prepared_data import PreparedData
from core.model.embedding_rows import give_rows_their_own_group
from core.model.library_patches.peft_parts import token_layers, whole_copies
from core.model.library_patches.trainer_parts import (
    by_epoch,
    forget_embeddings,
    release_memory_of,
    remove_noise,
    with_own_checkpoints,
)
from core.model.loaded_model import LoadedModel
from core.model.unsloth_start import import_unsloth
from core.settings.run_config import RunConfig
from core.training.checkpoint_files import restore_adapter, restore_optimizer, restore_random_state, restore_scaler
from core.training.validation_loss import with_loss_per_token

MAX_EVAL_ROWS = 256  # validation rows per check; more could take longer than the training between two checks


def build_trainer(
    loaded: LoadedModel, config: RunConfig, data: PreparedData, output_dir: Path, save: Callable[[], None] | None
) -> tuple[Any, dict[str, Any]]:
    """Switches the model to training. Returns the trainer and the arguments asked for, which it may have changed.

    `save` writes a checkpoint; with None there are none. The batch size must be a number by now. Only the examples of
    `data` are used.
    """
    unsloth = import_unsloth()
    from transformers import DataCollatorForSeq2Seq

    unsloth.FastLanguageModel.for_training(loaded.model)
    packs = config.training.packing and loaded.device.type == "cuda"
    asked = _asked_arguments(loaded, config)
    trainer = _trainer_class(unsloth, save)(
        model=loaded.model,
        processing_class=loaded.tokenizer,
        train_dataset=data.train.as_dataset(),
        eval_dataset=data.validation.as_dataset(MAX_EVAL_ROWS) if data.validation else None,
        # Passing a collator turns packing off. Without packing, rows need one that pads the labels.
        data_collator=None if packs else DataCollatorForSeq2Seq(loaded.tokenizer),
        args=unsloth.UnslothTrainingArguments(
            **asked,
            **_fixed_arguments(output_dir, packs),
            **_checkpoint_and_check_arguments(
                config, has_checkpoints=save is not None, has_checks=bool(data.validation)
            ),
        ),
    )
    _correct_after_construction(trainer, loaded)
    return trainer, asked


def _asked_arguments(loaded: LoadedModel, config: RunConfig) -> dict[str, Any]:
    """The arguments that come from the settings, and that the receipt compares with what the trainer uses."""
    return {
        "max_length": loaded.report.max_seq_length,
        **training_arguments(config),
        "bf16": loaded.report.dtype == "bfloat16",
        "fp16": loaded.report.dtype == "float16",
    }


def training_arguments(config: RunConfig) -> dict[str, Any]:
    """The settings as arguments of `UnslothTrainingArguments`, for the trainer here and for the exported script."""
    settings = config.training
    restarts = settings.lr_scheduler_type == "cosine_with_restarts"
    return {
        "per_device_train_batch_size": settings.per_device_train_batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "num_train_epochs": settings.num_train_epochs,
        "max_steps": settings.max_steps,
        "learning_rate": settings.learning_rate,
        "embedding_learning_rate": settings.embedding_learning_rate if config.adapter.modules_to_save else None,
        "warmup_steps": settings.warmup_steps,
        "lr_scheduler_type": settings.lr_scheduler_type,
        "lr_scheduler_kwargs": {"num_cycles": settings.num_cycles} if restarts else None,
        "optim": settings.optim,
        "adam_beta2": settings.adam_beta2,
        "max_grad_norm": settings.max_grad_norm,
        "weight_decay": settings.weight_decay,
        "train_sampling_strategy": settings.train_sampling_strategy,
        "neftune_noise_alpha": settings.neftune_noise_alpha or None,
        "seed": settings.seed,
        "packing": settings.packing,
    }


def _checkpoint_and_check_arguments(config: RunConfig, has_checkpoints: bool, has_checks: bool) -> dict[str, Any]:
    settings = config.training
    return {
        "save_strategy": "steps" if has_checkpoints else "no",
        "save_steps": settings.save_steps or 1,
        "eval_strategy": "steps" if has_checks and settings.eval_steps else "no",
        "eval_steps": settings.eval_steps or None,
        "per_device_eval_batch_size": settings.per_device_train_batch_size,
        "eval_packing": False,
        # get_peft_model has set up checkpointing in the model; TRL's default would turn it on a second time.
        "gradient_checkpointing": bool(settings.use_gradient_checkpointing),
        "report_to": settings.report_to,
    }


def _fixed_arguments(output_dir: Path, packs: bool) -> dict[str, Any]:
    """The arguments that do not depend on the settings."""
    return {
        "output_dir": str(output_dir),
        "run_name": output_dir.resolve().name,
        "project": "HearthTune",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # otherwise a loss of NaN is logged as 0
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
        "dataset_num_proc": None,
        # The rows are already token ids and labels of the right length; TRL would go through them twice more.
        "dataset_kwargs": {"skip_prepare_dataset": not packs},
    }


def _correct_after_construction(trainer, loaded: LoadedModel) -> None:
    """Removes the callback that prints, and undoes TRL's change of precision on a CPU."""
    import torch
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    if loaded.device.type != "cuda":
        # TRL casts the trained weights of a 4-bit model to bfloat16: they learn worse, and a CPU without it fails.
        for weight in loaded.model.parameters():
            if weight.requires_grad:
                weight.data = weight.data.to(torch.float32)
    trainer.own_autocast = _own_autocast(trainer.args, loaded)


def _own_autocast(args, loaded: LoadedModel):
    """The precision of the base, if copies of embeddings train next to it in another one and Unsloth turned off
    autocast, which would bring the two together; else None.

    Without autocast, what such an embedding gives could not be multiplied with the base's weights. Unsloth turns it
    off on processors without fast bfloat16.
    """
    import torch

    dtype = getattr(torch, loaded.report.dtype)
    trained = (copy for _, wrapper in whole_copies(loaded.model) for copy in wrapper.modules_to_save.values())
    differs = any(weight.requires_grad and weight.dtype != dtype for copy in trained for weight in copy.parameters())
    return dtype if differs and not (args.bf16 or args.fp16) else None


def take_apart(trainer, loaded: LoadedModel) -> None:
    """Frees what the trainer keeps in memory, and makes the model ready to be used."""
    remove_noise(trainer)
    release_memory_of(trainer)
    loaded.model.zero_grad(set_to_none=True)
    forget_embeddings()
    # Accelerate has wrapped forward in autocast; without this, answers would be computed in it as well.
    trainer.accelerator.unwrap_model(loaded.model, keep_fp32_wrapper=False)
    _restore_precision(loaded)


def _restore_precision(loaded: LoadedModel) -> None:
    """Casts trained embeddings to the precision of the base, which they will have when loaded from disk."""
    for _, wrapper in whole_copies(loaded.model):
        for trained in wrapper.modules_to_save.values():
            trained.to(wrapper.original_module.weight.dtype)
    for _, layer in token_layers(loaded.model):
        for rows in layer.trainable_tokens_delta.values():
            rows.data = rows.data.to(layer.get_base_layer().weight.dtype)


def _trainer_class(unsloth, save: Callable[[], None] | None) -> type:
    """Unsloth's trainer, with a validation loss per token, and `core.training.checkpoint_files` instead of pickles.

    `own_autocast` is a precision to compute in that the trainer's arguments do not name, or None.
    """
    import torch

    checkpointed = with_own_checkpoints(
        unsloth.UnslothTrainer, save, restore_adapter, restore_optimizer, restore_scaler, restore_random_state
    )

    class CheckpointedTrainer(with_loss_per_token(checkpointed)):
        own_autocast = None

        def autocast_smart_context_manager(self, cache_enabled=True):
            if self.own_autocast is None:
                return super().autocast_smart_context_manager(cache_enabled)
            return torch.autocast(self.args.device.type, self.own_autocast, cache_enabled=cache_enabled)

        def answering(self):
            """The precision to answer in while the trainer keeps the trained weights in another one."""
            return self.accelerator.autocast() if self.own_autocast is None else self.compute_loss_context_manager()

        def _get_train_sampler(self, *args, **kwargs):
            return by_epoch(super()._get_train_sampler(*args, **kwargs), self.args.seed)

        def create_optimizer(self, *args, **kwargs):
            optimizer = super().create_optimizer(*args, **kwargs)
            if self.args.embedding_learning_rate is not None:
                give_rows_their_own_group(optimizer, self.model, self.args.embedding_learning_rate)
            return optimizer

    return CheckpointedTrainer
