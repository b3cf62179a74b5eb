"""Whether one pass can answer several prompts, each row with an adapter of its own or with none."""

from contextlib import contextmanager

from core.answering.logits import encode
from core.answering.own_settings import generate
from core.model.device_memory import is_out_of_memory
from core.model.library_patches.peft_parts import hooks_restored, rows_apart
from core.model.loaded_model import LoadedModel
from core.model.views import adapter_view
from core.threads import in_own_thread

BASE_ROW = "__base__"  # PEFT's name for "no adapter" in `adapter_names`


def supports_rows(loaded: LoadedModel) -> bool:
    """Whether a pass with several rows gives the same logits here as one pass for each row. Tried once per model.

    PEFT cannot do that with a DoRA adapter.
    """
    if any(settings.use_dora for settings in loaded.model.peft_config.values()):
        return False
    if loaded.supports_rows is None:
        loaded.supports_rows = in_own_thread(lambda: _try_rows(loaded))
    return loaded.supports_rows


def _try_rows(loaded: LoadedModel) -> bool:
    import torch

    adapters = (None, next(iter(loaded.model.peft_config)))
    prompts = ("The same words, for both.", "And fewer.")  # of different lengths, so one row is padded
    try:
        names = [name or BASE_ROW for name in adapters]
        with hooks_restored(loaded.model), rows_apart(loaded.model, names), _calls_of_layers(loaded.model) as calls:
            ids, logits = _first_steps(loaded, encode(loaded, prompts), adapter_names=names)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        if is_out_of_memory(error):
            raise
        return False  # kernels that do not support adapter_names: answers are then generated one after the other
    if min(calls.values()) < len(logits):
        # A kernel bypassed some layer, so all of its rows used the active adapter. The logits below would not show that
        # for a new adapter, which changes nothing yet.
        return False
    for row, (prompt, name) in enumerate(zip(prompts, adapters, strict=True)):
        with adapter_view(loaded, name):
            own_ids, own_logits = _first_steps(loaded, encode(loaded, [prompt]))
        # Steps count only as long as all tokens before were the same: two nearly equal logits may swap places.
        same = torch.cumprod((ids[row] == own_ids[0]).int(), 0).roll(1)
        same[0] = 1
        difference = (logits[:, row] - own_logits[:, 0]).abs().amax(-1)[same.bool()].max()
        # Not bit-equal, because a batch of two may sum in another order. A wrong row differs by far more.
        if difference > 0.02 * own_logits.abs().max():
            return False
    return True


def _first_steps(loaded: LoadedModel, inputs: dict, steps: int = 4, **kwargs):
    """Token ids (rows, steps) and logits (steps, rows, vocabulary) of the first steps of an answer.

    Generated rather than computed in one forward pass, because some kernels work differently once there is a KV cache.
    """
    import torch

    out = generate(
        loaded,
        inputs,
        settings={"max_new_tokens": steps, "output_logits": True, "return_dict_in_generate": True},
        ends=(),  # all steps, whatever the tokens are
        **kwargs,
    )
    return out.sequences[:, -steps:], torch.stack(out.logits).float()


@contextmanager
def _calls_of_layers(model):
    """Yields how often each adapted layer has been called meanwhile, by layer; those never called have 0."""
    from peft.tuners.lora import LoraLayer

    calls: dict = {module: 0 for module in model.modules() if isinstance(module, LoraLayer)}

    def count(module, inputs) -> None:
        calls[module] += 1

    handles = [layer.register_forward_pre_hook(count) for layer in calls]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
