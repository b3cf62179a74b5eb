import sys
from contextlib import contextmanager


@contextmanager
def made_up_weights():
    """A list that is no longer empty once transformers has reported that weights were missing and it made them up."""
    import logging

    class Reports(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "MISSING:" in record.getMessage():
                found.append(record)

    found: list = []
    logger, handler = logging.getLogger("transformers.modeling_utils"), Reports()
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def show_bias(model) -> None:
    """TRL's check reads the head's bias, of which Llamas have none; PEFT's wrapper of trained rows shows the weight alone."""
    for module in model.modules():
        if type(module).__name__ == "TrainableTokensWrapper" and getattr(module.original_module, "bias", None) is None:
            module.bias = None


@contextmanager
def kernels_aside(model):
    """Every adapted layer is computed by PEFT meanwhile, as in a base that never had an adapter.

    On a card Unsloth puts kernels of its own in the place of adapted layers, which round otherwise. Those leave a layer
    to PEFT where more than one adapter is active; the same one twice is that, and changes nothing else.
    """
    from peft.tuners.lora import LoraLayer

    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    before = [layer._active_adapter for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = layer.active_adapters[:1] * 2
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


def gather_original_embeddings(model, moved: list[tuple]) -> None:
    """Brings the untrained embeddings to the device of the trained ones; adds each weight and what it was to `moved`.

    Unsloth's offloading checkpointing leaves the originals of trained embeddings in the computer's memory, where
    the base pass cannot use them.
    """
    for module in model.modules():
        if type(module).__name__ == "ModulesToSaveWrapper":
            weight, device = module.original_module.weight, module.weight.device
            if weight.device != device:
                moved.append((weight, weight.data))
                weight.data = weight.data.to(device)


@contextmanager
def hooks_restored(model):
    """PEFT leaves its hooks for `adapter_names` on the layers when a pass fails; every later pass would fail too."""
    before = [(module, set(module._forward_pre_hooks)) for module in model.modules()]
    try:
        yield
    except BaseException:
        for module, known in before:
            for key in set(module._forward_pre_hooks) - known:
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
        raise


def forget_embeddings() -> None:
    """With an 8-bit optimizer transformers has bitsandbytes note every embedding of the model, for good: they would stay in
    memory, and weights of the next run would be taken for them by their places."""
    if bitsandbytes := sys.modules.get("bitsandbytes"):
        bitsandbytes.optim.GlobalOptimManager.get_instance().initialize()
