"""Private parts of transformers' trainer, Accelerate and bitsandbytes' optimizers; see `core.model.library_patches`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def with_own_checkpoints(
    trainer_class: type,
    save: Callable[[], None] | None,
    load_adapter: Callable,
    load_optimizer: Callable,
    load_scaler: Callable,
    load_random_state: Callable,
) -> type:
    """A subclass of the trainer that saves and loads checkpoints with these functions.

    `save()` writes a checkpoint. The others get its folder as a Path and then the model (`load_adapter`), the trainer
    (`load_optimizer`, `load_scaler`) or nothing. For transformers 5.17.0, whose own checkpoints contain pickles.
    """

    class CheckpointedTrainer(trainer_class):
        def _save_checkpoint(self, model, trial):
            save()

        def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
            load_adapter(Path(resume_from_checkpoint), self.model)

        def _load_optimizer_and_scheduler(self, checkpoint):
            if checkpoint is not None:
                load_optimizer(Path(checkpoint), self)

        def _load_scaler(self, checkpoint):
            if checkpoint is not None:
                load_scaler(Path(checkpoint), self)

        def _load_rng_state(self, checkpoint):
            if checkpoint is not None:
                load_random_state(Path(checkpoint))

    return CheckpointedTrainer


def end_callbacks(trainer) -> None:
    """Calls every callback's `on_train_end`.

    For transformers 5.17.0, whose Trainer does not when an exception leaves its loop; trackers would stay open.
    """
    trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)


def by_epoch(sampler, seed: int):
    """The trainer's sampler, whose order of an epoch depends on the seed and the epoch's number alone.

    For transformers 5.17.0, whose LengthGroupedSampler takes the random state of the moment: a run that is resumed
    within an epoch would train on other rows. Its Trainer calls `set_epoch` of samplers that have it.
    """
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    if isinstance(sampler, LengthGroupedSampler):
        sampler.set_epoch = lambda epoch: setattr(sampler, "generator", torch.Generator().manual_seed(seed + epoch))
    return sampler


def remove_noise(trainer) -> None:
    """Removes what adds NEFTune's noise to the embeddings; nothing if there is none.

    For transformers 5.17.0, whose Trainer leaves it on the model when an exception leaves its loop.
    """
    if (handle := getattr(trainer, "neftune_hook_handle", None)) is not None:
        handle.remove()


def release_memory_of(trainer) -> None:
    """Frees the optimizer's states. The trainer cannot be used afterwards.

    For transformers 5.17.0, whose callback handler, optimizer and trainer refer to each other in a circle.
    """
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.callback_handler.callbacks.clear()


def unwrapped_optimizer(optimizer):
    """The optimizer inside Accelerate's wrapper. For accelerate 1.15.0."""
    return getattr(optimizer, "optimizer", optimizer)


def loss_scaler(trainer):
    """The loss scaler of float16, None in other precisions. For accelerate 1.15.0, where it is not documented."""
    return getattr(trainer.accelerator, "scaler", None)


def has_8bit_states(optimizer, weight) -> bool | None:
    """Whether an optimizer of bitsandbytes will keep its two states of this weight in 8 bits; None for any other kind.

    For bitsandbytes 0.50.2, which decides that at the first step only (Optimizer2State.init_state).
    """
    from bitsandbytes.optim.optimizer import Optimizer2State

    if not isinstance(optimizer, Optimizer2State):
        return None
    optimizer.check_overrides()
    for at, group in enumerate(optimizer.param_groups):
        for place, other in enumerate(group["params"]):
            if other is weight:
                config = optimizer.get_config(at, place, group)
                return config["optim_bits"] == 8 and weight.numel() >= config["min_8bit_size"]
    raise LookupError("the optimizer does not have this weight")


def forget_embeddings() -> None:
    """Makes bitsandbytes forget the embeddings of earlier models.

    For transformers 5.17.0, which registers every embedding for good when the optimizer is an 8-bit one: they would
    stay in memory, and weights of the next run would be mistaken for them by their positions.
    """
    if bitsandbytes := sys.modules.get("bitsandbytes"):
        bitsandbytes.optim.GlobalOptimManager.get_instance().initialize()


@contextmanager
def modules_restored(model) -> Iterator[None]:
    """Puts back the attributes and hooks of every module afterwards; not the values of weights.

    For accelerate 1.15.0 and transformers 5.17.0, which do not undo what a trainer does to its model: Accelerate marks
    a model that it has wrapped in autocast, and the next trainer would skip that; transformers adds one more hook with
    each trainer, for gradients to reach the embeddings. Module hooks have no public list (torch 2.13.0).
    """
    before = [
        (module, dict(vars(module)), set(module._forward_hooks), set(module._forward_pre_hooks))
        for module in model.modules()
    ]
    try:
        yield
    finally:
        for module, attributes, hooks, pre_hooks in before:
            vars(module).clear()
            vars(module).update(attributes)
            for key in set(module._forward_hooks) - hooks:
                del module._forward_hooks[key]
            for key in set(module._forward_pre_hooks) - pre_hooks:
                del module._forward_pre_hooks[key]
