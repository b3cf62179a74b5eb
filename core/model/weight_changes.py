"""Which weights training moved, and by how much. Looks at tensors only; knows nothing of runs, threads or answers.

All changes are relative and in the Frobenius norm: ‖what was added‖ / ‖what was there‖, for one tensor or for several
taken as one long vector. 0.01 is one percent of the base's own length.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from math import sqrt

from pydantic import BaseModel

from core.model.embedding_rows import rows_on, token_layers, trained_layers
from core.model.loaded_model import LoadedModel

BLOCK_VALUES = 4 * 1024**2  # of a big weight looked at in one go: 16 MiB in float32, however large the vocabulary
MOST_TOKENS = 24  # named of each embedding
NAME_CHARACTERS = 40  # of a token
SPACES = ("▁", "Ġ")  # how tokenizers write that a token begins with a space


class GroupMoved(BaseModel, frozen=True):
    """One kind of layer (`q_proj`, …) or one layer of the stack; `change` is relative, `tensors` counts its weights."""

    name: str
    change: float
    tensors: int


class TokenMoved(BaseModel, frozen=True):
    """A token's row: `change` is the length of what was added, in lengths of the base's typical (rms) row.

    Not of its own row: those of tokens that the base never learned are nearly zero and would lead every list.
    """

    id: int
    text: str
    change: float


class RowsMoved(BaseModel, frozen=True):
    """An embedding that was trained, whole or in some rows, or two of them when they are one tensor.

    `rows_moved` of its `rows` differ; `change` is of the whole matrix.
    """

    name: str
    change: float
    rows: int
    rows_moved: int
    most: tuple[TokenMoved, ...]


class Moved(BaseModel, frozen=True):
    """By kind of layer in the order of the model, by layer from the first on, and the embeddings."""

    kinds: tuple[GroupMoved, ...] = ()
    layers: tuple[GroupMoved, ...] = ()
    embeddings: tuple[RowsMoved, ...] = ()

    @property
    def is_nothing(self) -> bool:
        return not any(part.change for part in (*self.kinds, *self.embeddings))


def moved(loaded: LoadedModel, adapter: str) -> Moved:
    """What the adapter of that PEFT name changes of the base; others on the model are not looked at."""
    import torch
    from peft.tuners.lora import LoraLayer

    squares: list[tuple[str, str, float, float]] = []
    with torch.inference_mode():
        for name, module in loaded.model.named_modules():
            if isinstance(module, LoraLayer) and adapter in module.lora_A:
                layer = re.search(r"\.layers\.(\d+)\.", name)
                place = f"layer {layer[1]}" if layer else "outside the layers"
                squares.append((name.rpartition(".")[2], place, _added(module, adapter), _square(_weight(module))))
        embeddings = _embeddings(loaded, adapter)
    return Moved(kinds=_groups(squares, 0), layers=_groups(squares, 1), embeddings=embeddings)


def _groups(squares: list[tuple[str, str, float, float]], by: int) -> tuple[GroupMoved, ...]:
    """From (kind, layer, square of what was added, square of the base) of each tensor, grouped by kind or by layer."""
    found = defaultdict(list)
    for entry in squares:
        found[entry[by]].append(entry)
    return tuple(
        GroupMoved(name=name, change=_ratio(sum(e[2] for e in own), sum(e[3] for e in own)), tensors=len(own))
        for name, own in found.items()
    )


def _ratio(added: float, base: float) -> float:
    return sqrt(added / base) if base else 0.0


def _added(module, adapter: str) -> float:
    """‖s·B·A‖² with the scale s as the layer itself holds it (rank-stabilised or not).

    ‖BA‖² = tr(AᵀBᵀBA) = tr((BᵀB)(AAᵀ)), the trace being the same under turns; both are only rank by rank, so B·A, as
    large as the weight, is never made (Golub and Van Loan, Matrix Computations, section 2.3 for the norm).
    """
    a, b = module.lora_A[adapter].weight.double(), module.lora_B[adapter].weight.double()
    squared = float(((b.T @ b) * (a @ a.T)).sum())  # the trace of a product of two symmetric matrices
    return module.scaling[adapter] ** 2 * max(squared, 0.0)  # rounding can leave it just below zero


def _weight(module):
    """The layer's own weight; of a 4-bit layer what its four bits stand for, which is what the model computes with."""
    weight = module.get_base_layer().weight
    if getattr(weight, "quant_state", None) is None:
        return weight
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state)


def _rows_of_a_block(weight) -> int:
    return max(BLOCK_VALUES // weight.shape[1], 1)


def _square(weight) -> float:
    """Row by row float32 is exact to seven digits and takes a third of the time of float64; rows are added in float64."""
    blocks = weight.split(_rows_of_a_block(weight))
    return sum(float(block.float().square().sum(1).double().sum()) for block in blocks)


def _embeddings(loaded: LoadedModel, adapter: str) -> tuple[RowsMoved, ...]:
    import torch
    from peft.utils.other import ModulesToSaveWrapper

    found: list[tuple[list[str], object, object]] = []
    for name, module in loaded.model.named_modules():
        if not isinstance(module, ModulesToSaveWrapper) or adapter not in module.modules_to_save:
            continue
        name, tuned = name.rpartition(".")[2], module.modules_to_save[adapter].weight
        # Tied ones are one tensor; read back from a file they may be two that hold the same.
        same = (names for names, other, _ in found if other.shape == tuned.shape and torch.equal(other, tuned))
        if (names := next(same, None)) is not None:
            names.append(name)
        else:
            found.append(([name], tuned, module.original_module.weight))
    whole = (_rows_moved(" and ".join(names), tuned, base, loaded.tokenizer) for names, tuned, base in found)
    return (*whole, *_single_rows(loaded, adapter))


def _single_rows(loaded: LoadedModel, adapter: str) -> Iterator[RowsMoved]:
    """Of an adapter that trained single rows; others have none, or one that is as the base's."""
    if rows_on(loaded.model, adapter) is None:
        return
    for name, layer in token_layers(loaded.model):
        base, ids = layer.get_base_layer().weight, layer.token_indices[adapter]
        name = " and ".join(trained_layers(loaded)) if loaded.report.tied_embeddings else name
        # In the precision of the base, which is how the model computes with them.
        yield _rows_moved(name, layer.trainable_tokens_delta[adapter].to(base.dtype), base, loaded.tokenizer, ids)


def _rows_moved(name: str, tuned, base, tokenizer, ids: list[int] | None = None) -> RowsMoved:
    """`ids` are the rows of `base` that those of `tuned` took the place of; None: all, in order."""
    import torch

    rows, step, whole = len(base), _rows_of_a_block(base), _square(base)
    # Made beforehand: what is kept between blocks would lie behind each of them, and no block's room be used again.
    squares = torch.zeros(rows, dtype=torch.float64, device=tuned.device)
    for start in range(0, len(tuned), step):
        at = slice(start, start + step) if ids is None else ids[start : start + step]
        now, before = tuned[start : start + step].float(), base[at].to(tuned.device).float()
        squares[at] = (now - before).square().sum(1).double()
    highest = torch.topk(squares, min(MOST_TOKENS, rows))
    most = zip(highest.indices.tolist(), highest.values.tolist(), strict=True)
    return RowsMoved(
        name=name,
        change=_ratio(float(squares.sum()), whole),
        rows=rows,
        rows_moved=int((squares > 0).sum()),
        most=tuple(
            TokenMoved(id=id, text=token_name(tokenizer, id), change=_ratio(square, whole / rows))
            for id, square in most
            if square > 0
        ),
    )


def token_name(tokenizer, id: int) -> str:
    """What a token stands for, to be read: a space at its start is ␣, characters without a look of their own are
    written as escapes, a token of none has the tokenizer's own name, and a part of a character has it with an ellipsis."""
    piece = tokenizer.convert_ids_to_tokens(id) if id < len(tokenizer) else None
    if not isinstance(piece, str):
        return f"row {id:,}, no token"
    text = tokenizer.decode([id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if not text or "\ufffd" in text:
        text = f"{piece}…" if text else piece
    elif piece.startswith(SPACES) and not text.startswith(" "):  # a decoder drops the space at the start of a text
        text = f" {text}"
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.replace(" ", "␣"))
    return seen if len(seen) <= NAME_CHARACTERS else seen[: NAME_CHARACTERS - 1] + "…"
