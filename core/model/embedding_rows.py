"""Training single rows of the embeddings: which ones, and where they are on a model. Knows nothing of runs or threads.

PEFT keeps such rows as tensors of their own (`trainable_token_indices`) and puts them into a copy of the matrix at each
pass, so that the base's own matrix is never touched.
"""

from collections import Counter
from collections.abc import Iterator

from core.data.prepared.prepared_data import PreparedData
from core.memory.embeddings_cost import ON_A_GPU
from core.model.loaded_model import LoadedModel
from core.problems import ModelError
from core.settings.sections import AdapterConfig

ROWS = ".trainable_tokens_delta."  # in the names of weights that hold trained rows
BATCH = 1000  # examples looked at in one go
BLOCK = 4096  # rows of a matrix looked at in one go
NEAR = 0.01  # of the typical row's length
GOES_ON_ON_A_GPU = (
    "On a GPU Unsloth does not train single rows of the embeddings, which the adapter to go on from has: go on without "
    "a GPU, or start a new run."
)
NO_NEW = (
    "None of the tokens of {name} is new, as the base has learned them all: set Embedding rows to train to seen, "
    "which takes the tokens of your rows, or to all."
)


def rows_to_train(config: AdapterConfig, loaded: LoadedModel, data: PreparedData) -> list[int] | None:
    """The ids of the tokens whose rows train, in order; None where the settings do not ask for single rows.

    Raises ModelError when there are none, and where they cannot be trained.
    """
    if not config.trains_rows:
        return None
    if loaded.device.type != "cpu":
        raise ModelError(ON_A_GPU)
    return seen_tokens(data) if config.trainable_tokens == "seen" else new_tokens(loaded)


def check_going_on(loaded: LoadedModel) -> None:
    """Raises ModelError when the adapter that is on the model has single rows, and the backend would not train them."""
    if loaded.device.type != "cpu" and rows_on(loaded.model) is not None:
        raise ModelError(GOES_ON_ON_A_GPU)


def seen_tokens(data: PreparedData) -> list[int]:
    """The ids of all tokens that occur in the training rows, prompts and answers, in order.

    Reads a thousand rows at a time; beside them only one value for each word of the vocabulary is in memory.
    """
    import numpy as np

    seen = np.zeros(0, dtype=bool)
    for table in data.train.as_dataset().with_format("arrow").iter(BATCH):
        ids = table["input_ids"].combine_chunks().flatten().to_numpy()
        if len(ids) and int(ids.max()) >= len(seen):
            seen = np.pad(seen, (0, int(ids.max()) + 1 - len(seen)))
        seen[ids] = True
    return np.flatnonzero(seen).tolist()


def new_tokens(loaded: LoadedModel) -> list[int]:
    """The ids of the tokenizer's tokens whose rows of embed_tokens the base never learned, in order.

    A row counts as not learned when it is as good as zero, as good as the mean of all rows, or to the bit the same as
    another one: so begin the rows of tokens that are added to a tokenizer, and of those kept in reserve (transformers,
    modeling_utils.py, resize_token_embeddings draws them around the mean). "As good as" is nearer than a hundredth of
    the typical row's length. Of tokens that begin otherwise it cannot be told. Raises ModelError when there are none.
    """
    import torch

    with torch.inference_mode():
        weight = _whole(loaded.model.get_input_embeddings())[: len(loaded.tokenizer)].detach()
        mean = weight.mean(0, dtype=torch.float32)
        lengths, from_mean = _lengths(weight, torch.zeros_like(mean)), _lengths(weight, mean)
        near = NEAR * lengths.median()
        is_new = ((lengths < near) | (from_mean < near)).tolist()
        kinds = [hash(row.tobytes()) for block in weight.split(BLOCK) for row in block.cpu().view(torch.uint8).numpy()]
    counts = Counter(kinds)
    found = [id for id, kind in enumerate(kinds) if is_new[id] or counts[kind] > 1]
    if not found:
        raise ModelError(NO_NEW.format(name=loaded.report.name))
    return found


def _lengths(weight, origin):
    """Of each row, from `origin`: in 32-bit, a block at a time."""
    import torch

    return torch.cat([(block.float() - origin).norm(dim=1) for block in weight.split(BLOCK)])


def _whole(embeddings):
    """The base's own matrix, whatever is on it."""
    return getattr(embeddings, "original_module", embeddings).weight


def token_layers(model) -> Iterator[tuple[str, object]]:
    """Each PEFT layer with trained rows of its own, with the name of its module; a tied one has none of its own."""
    from peft.utils.other import TrainableTokensWrapper

    for name, module in model.named_modules():
        if isinstance(module, TrainableTokensWrapper) and module.token_adapter.tied_adapter is None:
            yield name.rpartition(".")[2], module.token_adapter


def trained_layers(loaded: LoadedModel) -> tuple[str, ...]:
    """Names of the layers that have a trained copy or trained rows, read from the model itself, in its order."""
    kinds = ("ModulesToSaveWrapper", "TrainableTokensWrapper")
    modules = loaded.model.named_modules()
    return tuple(name.rpartition(".")[2] for name, module in modules if type(module).__name__ in kinds)


def rows_on(model, adapter: str = "default") -> list[int] | None:
    """The ids of the rows that the adapter of that PEFT name trains or has trained; None when it has none."""
    indices = model.peft_config[adapter].trainable_token_indices
    return None if not indices else sorted({id for ids in indices.values() for id in ids})


def give_rows_their_own_group(optimizer, model, learning_rate: float) -> None:
    """Moves trained rows out of the adapter's group of the optimizer into one that learns at `learning_rate`.

    Unsloth gives that rate to whole copies alone, by their names. To be called before the schedule is made.
    """
    rows = {id(weight): weight for name, weight in model.named_parameters() if ROWS in name and weight.requires_grad}
    if not rows:
        return
    group = next(group for group in optimizer.param_groups if any(id(weight) in rows for weight in group["params"]))
    if len(group["params"]) == len(rows):  # done before
        return
    group["params"] = [weight for weight in group["params"] if id(weight) not in rows]
    same = {key: value for key, value in group.items() if key not in ("params", "initial_lr")}
    optimizer.add_param_group(same | {"params": list(rows.values()), "lr": learning_rate})
