"""Private parts of PEFT; see `core.model.library_patches`."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

EMBEDDINGS = frozenset({"embed_tokens", "lm_head"})  # peft.utils.constants.EMBEDDING_LAYER_NAMES
LORA_KINDS = frozenset({"LORA", "ADALORA"})  # the values of `peft_type` whose layers are LoraLayers
_INITS_THAT_CHANGE_THE_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")


def changes_base(init: object) -> bool:
    """Whether an adapter with this `init_lora_weights` is made by changing the weights of the base.

    For peft 0.21.2 (LoraLayer.update_layer). When such an adapter is read back, PEFT changes the base once more, or
    fails, or (LoRA-GA) leaves the base as it is, for which the adapter was not made.
    """
    return isinstance(init, str) and init.lower().startswith(_INITS_THAT_CHANGE_THE_BASE)


def has_mismatched_adapter(error: Exception) -> bool:
    """Whether an adapter's weights have other shapes than its settings say.

    For peft 0.21.2, which passes on torch's RuntimeError about its own classes; it has no class of its own.
    """
    return "loading state_dict for Peft" in str(error)


def has_no_such_layers(error: Exception) -> bool:
    """Whether a model has none of the layers that an adapter is for.

    For peft 0.21.2, whose two ValueErrors about that have no class of their own.
    """
    return "not found in the base model" in str(error) or "No modules were targeted" in str(error)


def whole_copies(model) -> Iterator[tuple[str, object]]:
    """(name of the layer, PEFT's wrapper) of each layer of which some adapter has trained a whole copy.

    For peft 0.21.2: of the wrapper `modules_to_save` (by adapter) and `original_module` are used.
    """
    from peft.utils.other import ModulesToSaveWrapper

    for name, module in model.named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            yield name.rpartition(".")[2], module


def token_layers(model) -> Iterator[tuple[str, object]]:
    """(name of the layer, PEFT's layer) for each layer with trained rows of its own; of a tied pair only the first.

    For peft 0.21.2: of the layer `token_indices` and `trainable_tokens_delta` (by adapter) are used.
    """
    from peft.utils.other import TrainableTokensWrapper

    for name, module in model.named_modules():
        if isinstance(module, TrainableTokensWrapper) and module.token_adapter.tied_adapter is None:
            yield name.rpartition(".")[2], module.token_adapter


def trained_layers(model) -> tuple[str, ...]:
    """Names of the layers of which a whole copy or single rows are trained, in the model's order. For peft 0.21.2."""
    from peft.utils.other import ModulesToSaveWrapper, TrainableTokensWrapper

    kinds = (ModulesToSaveWrapper, TrainableTokensWrapper)
    return tuple(name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, kinds))


def adapted_layers(model, adapter: str = "default") -> dict[str, int]:
    """How many layers of each name have low-rank matrices of this adapter, in the model's order. For peft 0.21.2."""
    from peft.tuners.lora import LoraLayer

    return dict(
        Counter(
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if isinstance(module, LoraLayer) and (adapter in module.lora_A or adapter in module.lora_embedding_A)
        )
    )


def original(layer):
    """The base's own layer inside PEFT's wrapper; a layer without a wrapper is returned as it is. For peft 0.21.2."""
    return getattr(layer, "original_module", layer)


def without_rows(layer):
    """The base's own layer where this one is PEFT's wrapper of single trained rows, else the layer. For peft 0.21.2."""
    from peft.utils.other import TrainableTokensWrapper

    return layer.original_module if isinstance(layer, TrainableTokensWrapper) else layer


def own_copy(layer, put: Callable, adapter: str, tied_to=None):
    """The adapter's own copy of a layer, without gradients; made, and wrapped by `put(wrapper)`, where there is none.

    With `tied_to`, another copy, both have one weight. For peft 0.21.2, which makes copies only when it attaches an
    adapter.
    """
    from peft.utils.other import ModulesToSaveWrapper

    if not isinstance(layer, ModulesToSaveWrapper):
        layer = ModulesToSaveWrapper(layer, adapter, tied_to)
        put(layer)
    layer.update(adapter, tied_to)
    return layer.modules_to_save[adapter].requires_grad_(False)


def share_original(wrapper, adapter: str) -> None:
    """An adapter that has no copy of this layer gets the base's own layer as its copy; that takes no memory.

    For peft 0.21.2: a pass with several `adapter_names` fails where one of them has no copy.
    """
    wrapper.modules_to_save[adapter] = wrapper.original_module
    wrapper._adapters.add(adapter)


def show_bias(model) -> None:
    """Gives layers with trained rows an attribute `bias`, None, if the base's layer has none.

    For trl 1.15.0, which reads the head's bias, and peft 0.21.2, whose wrapper of trained rows passes on only `weight`.
    """
    from peft.utils.other import TrainableTokensWrapper

    for module in model.modules():
        if isinstance(module, TrainableTokensWrapper) and getattr(module.original_module, "bias", None) is None:
            module.bias = None


@contextmanager
def hooks_restored(model) -> Iterator[None]:
    """Removes the hooks that a failed pass has left behind.

    For peft 0.21.2, which leaves its hooks for `adapter_names` on the layers when a pass fails
    (LoraModel._enable_peft_forward_hooks); every later pass would fail too.
    """
    before = [(module, set(module._forward_pre_hooks)) for module in model.modules()]
    try:
        yield
    except BaseException:
        for module, known in before:
            for key in set(module._forward_pre_hooks) - known:
                del module._forward_pre_hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
        raise


@contextmanager
def rows_apart(model, adapter_names: Sequence[str]) -> Iterator[None]:
    """For passes with these `adapter_names`, one for each row: each row's matrices are added to it where it lies.

    For peft 0.21.2 (LoraLayer._mixed_batch_forward), which copies the rows of each adapter out and back, in every layer
    for every token; on a CPU that takes longer than the products themselves. Kinds of LoRA with more than two matrices
    are left to PEFT.
    """
    from peft.tuners.lora import LoraLayer

    changed = []
    try:
        for layer in model.modules():
            if not isinstance(layer, LoraLayer):
                continue
            rows = [(row, name) for row, name in enumerate(adapter_names) if name in layer.lora_A]
            if rows and not any(name in layer.lora_variant or layer.lora_bias[name] for _, name in rows):
                layer._mixed_batch_forward = _with_rows(layer, rows)
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            del layer._mixed_batch_forward


def _with_rows(layer, rows: Sequence[tuple[int, str]]) -> Callable:
    matrices = [
        (row, layer.lora_A[name].weight.t(), layer.lora_B[name].weight.t(), layer.scaling[name]) for row, name in rows
    ]

    def forward(x, *, adapter_names, alora_offsets=None):
        """Takes and returns tensors of shape (rows, tokens, features)."""
        result = layer.base_layer(x)
        for row, down, up, scaling in matrices:
            low = x[row].to(down.dtype) @ down
            if result.dtype == up.dtype:
                result[row].addmm_(low, up, alpha=scaling)
            else:
                result[row] += (low @ up * scaling).to(result.dtype)
        return result

    return forward
