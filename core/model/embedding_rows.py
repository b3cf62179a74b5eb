"""Training single rows of the embeddings: which ones, and how the optimizer treats them.

PEFT keeps such rows as tensors of their own (`trainable_token_indices`) and puts them into a copy of the matrix in each
pass, so the base's own matrix never changes.
"""

from collections import Counter

from core.data.prepared.prepared_data import PreparedData
from core.model.library_patches.peft_parts import original
from core.model.loaded_model import LoadedModel
from core.problems import ModelError, mark
from core.settings.sections import AdapterConfig
from core.settings.unsloth_limits import NO_SINGLE_ROWS_ON_A_GPU

ROWS = ".trainable_tokens_delta."  # in the names of weights that are trained rows
EXAMPLES_AT_ONCE = 1000
MATRIX_ROWS_AT_ONCE = 4096
NEAR = 0.01  # in lengths of the typical row
NO_CONTINUING_ON_A_GPU = mark(
    "On a GPU Unsloth does not train single rows of the embeddings, which the adapter to continue from has: continue "
    "without a GPU, or start a new run."
)
NO_NEW_TOKENS = mark(
    "None of the tokens of {name} is new, because the base has learned them all: set Embedding rows to train to seen, "
    "which takes the tokens of your rows, or to all."
)


def rows_to_train(config: AdapterConfig, loaded: LoadedModel, data: PreparedData) -> list[int] | None:
    """The ids of the tokens whose rows train, sorted; None if whole matrices train, or nothing of the embeddings.

    Raises ModelError when there are no such tokens, and on a GPU.
    """
    if not config.trains_rows:
        return None
    if loaded.device.type != "cpu":
        raise ModelError(NO_SINGLE_ROWS_ON_A_GPU)
    return seen_tokens(data) if config.trainable_tokens == "seen" else new_tokens(loaded)


def check_going_on(loaded: LoadedModel) -> None:
    """Raises ModelError on a GPU when the adapter on the model has single rows, which would not train there."""
    if loaded.device.type != "cpu" and rows_on(loaded.model) is not None:
        raise ModelError(NO_CONTINUING_ON_A_GPU)


def seen_tokens(data: PreparedData) -> list[int]:
    """The ids of all tokens that occur in the training rows, in prompts and in answers, sorted.

    Reads a thousand rows at a time, and keeps one value per token of the vocabulary in memory.
    """
    import numpy as np

    seen = np.zeros(0, dtype=bool)
    for table in data.train.as_dataset().with_format("arrow").iter(EXAMPLES_AT_ONCE):
        ids = table["input_ids"].combine_chunks().flatten().to_numpy()
        if len(ids) and int(ids.max()) >= len(seen):
            seen = np.pad(seen, (0, int(ids.max()) + 1 - len(seen)))
        seen[ids] = True
    return np.flatnonzero(seen).tolist()


def new_tokens(loaded: LoadedModel) -> list[int]:
    """The ids of the tokenizer's tokens whose rows of embed_tokens the base never learned, sorted.

    A row counts as not learned when it is nearly zero, nearly the mean of all rows, or bit-equal to another row. That
    is how the rows of tokens begin that are added to a tokenizer or kept in reserve (transformers, modeling_utils.py:
    resize_token_embeddings samples them around the mean). "Nearly" means closer than a hundredth of the typical row's
    length. Tokens that begin in another way are not found, except those that the settings' chat template added. Raises
    ModelError when there are none.
    """
    import torch

    with torch.inference_mode():
        weight = original(loaded.model.get_input_embeddings()).weight[: len(loaded.tokenizer)].detach()
        mean = weight.mean(0, dtype=torch.float32)
        lengths, from_mean = _lengths(weight, torch.zeros_like(mean)), _lengths(weight, mean)
        near = NEAR * lengths.median()
        is_new = ((lengths < near) | (from_mean < near)).tolist()
        kinds = [
            hash(row.tobytes())
            for block in weight.split(MATRIX_ROWS_AT_ONCE)
            for row in block.cpu().view(torch.uint8).numpy()
        ]
    counts = Counter(kinds)
    added = {*loaded.new_ids}
    found = [id for id, kind in enumerate(kinds) if is_new[id] or counts[kind] > 1 or id in added]
    if not found:
        raise ModelError(NO_NEW_TOKENS, name=loaded.report.name)
    return found


def _lengths(weight, origin):
    """Distance of each row from `origin`, in 32-bit, computed in blocks."""
    import torch

    return torch.cat([(block.float() - origin).norm(dim=1) for block in weight.split(MATRIX_ROWS_AT_ONCE)])


def rows_on(model, adapter: str = "default") -> list[int] | None:
    """The ids of the single rows that the adapter of that PEFT name trains or trained, sorted; None if it has none."""
    indices = model.peft_config[adapter].trainable_token_indices
    if not indices:
        return None
    lists = [indices] if isinstance(indices, list) else indices.values()  # a list is for the input embeddings
    return sorted({id for ids in lists for id in ids})


def give_rows_their_own_group(optimizer, model, learning_rate: float) -> None:
    """Moves trained rows from the adapter's group of the optimizer into a new one that learns at `learning_rate`.

    Unsloth gives that rate only to whole copies, which it finds by name. Call this before the schedule is made.
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
