"""Which weights training changed, and by how much.

All changes are relative and in the Frobenius norm: ‖what was added‖ / ‖what was there‖, for one tensor or for several
taken as one long vector. 0.01 is one percent of the base's own length.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from math import sqrt

from pydantic import BaseModel

from core.model.embedding_rows import rows_on
from core.model.library_patches.model_parts import weight_as_computed
from core.model.library_patches.peft_parts import token_layers, trained_layers, whole_copies
from core.model.loaded_model import LoadedModel
from core.problems import mark, tr

BLOCK_VALUES = 4 * 1024**2  # of a large weight processed at once: 16 MiB in float32, however large the vocabulary
TOKENS_PER_EMBEDDING = 24  # those whose rows changed most are listed
MAX_NAME_CHARACTERS = 40  # of a token
OUTSIDE = mark(
    "outside the layers"
)  # kept with the proof in English, as "layer 3" is, and translated where it is shown
SPACES = ("▁", "Ġ")  # how tokenizers write a space at the start of a token


class GroupMoved(BaseModel, frozen=True):
    """One kind of layer (`q_proj`, …) or one layer of the stack; `change` is relative, `tensors` counts its weights."""

    name: str
    change: float
    tensors: int


class TokenMoved(BaseModel, frozen=True):
    """A token's row: `change` is the length of what was added, divided by the length of the base's typical (rms) row.

    Not by that of its own row: rows of tokens that the base never learned are nearly zero and would lead every list.
    """

    id: int
    text: str
    change: float


class RowsMoved(BaseModel, frozen=True):
    """An embedding that was trained, whole or in some rows; two of them if they are tied.

    `rows_moved` of its `rows` differ; `change` is that of the whole matrix. `most` lists the rows that changed most.
    """

    name: str
    change: float
    rows: int
    rows_moved: int
    most: tuple[TokenMoved, ...]


class Moved(BaseModel, frozen=True):
    """Changes by kind of layer in the model's order, by layer from the first, and of the embeddings."""

    kinds: tuple[GroupMoved, ...] = ()
    layers: tuple[GroupMoved, ...] = ()
    embeddings: tuple[RowsMoved, ...] = ()

    @property
    def is_nothing(self) -> bool:
        return not any(part.change for part in (*self.kinds, *self.embeddings))


def moved(loaded: LoadedModel, adapter: str) -> Moved:
    """What the adapter of that PEFT name changes in the base. Other adapters on the model are ignored."""
    import torch
    from peft.tuners.lora import LoraLayer

    squares: list[tuple[str, str, float, float]] = []
    with torch.inference_mode():
        for name, module in loaded.model.named_modules():
            if isinstance(module, LoraLayer) and adapter in module.lora_A:
                layer = re.search(r"\.layers\.(\d+)\.", name)
                place = f"layer {layer[1]}" if layer else OUTSIDE
                squares.append(
                    (
                        name.rpartition(".")[2],
                        place,
                        _added(module, adapter),
                        _square(weight_as_computed(module.get_base_layer())),
                    )
                )
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
    """‖s·B·A‖², where s is the layer's own scale (rank-stabilised or not).

    ‖BA‖² = tr(AᵀBᵀBA) = tr((BᵀB)(AAᵀ)), because a trace does not change when factors are rotated. Both factors are
    rank by rank, so B·A, which is as large as the weight, is never computed (Golub and Van Loan, Matrix Computations,
    section 2.3 for the norm).
    """
    if adapter in module.lora_magnitude_vector:
        return _added_by_dora(module, adapter)
    a, b = module.lora_A[adapter].weight.double(), module.lora_B[adapter].weight.double()
    squared = float(((b.T @ b) * (a @ a.T)).sum())  # the trace of a product of two symmetric matrices
    return module.scaling[adapter] ** 2 * max(squared, 0.0)  # rounding can leave it just below zero


def _added_by_dora(module, adapter: str) -> float:
    """‖m·V/‖V‖ - W‖², where V = W + s·B·A, and m and the norm are by row (Liu et al. 2024, DoRA, arXiv:2402.09353)."""
    weight = weight_as_computed(module.get_base_layer())
    a, b = module.lora_A[adapter].weight.float(), module.lora_B[adapter].weight.float()
    magnitude, added, step = module.lora_magnitude_vector[adapter].weight.float(), 0.0, _rows_of_a_block(weight)
    for start in range(0, len(weight), step):
        before = weight[start : start + step].float()
        now = before + module.scaling[adapter] * (b[start : start + step] @ a)
        now = now * (magnitude[start : start + step] / now.norm(dim=1)).unsqueeze(1)
        added += _square(now - before)
    return added


def _rows_of_a_block(weight) -> int:
    return max(BLOCK_VALUES // weight.shape[1], 1)


def _square(weight) -> float:
    """‖weight‖². Rows are summed in float32, exact to seven digits and three times as fast; their sums in float64."""
    blocks = weight.split(_rows_of_a_block(weight))
    return sum(float(block.float().square().sum(1).double().sum()) for block in blocks)


def _embeddings(loaded: LoadedModel, adapter: str) -> tuple[RowsMoved, ...]:
    import torch

    found: list[tuple[list[str], object, object]] = []
    for name, module in whole_copies(loaded.model):
        if adapter not in module.modules_to_save:
            continue
        tuned = module.modules_to_save[adapter].weight
        # Tied ones are one tensor; read back from a file they may be two equal ones.
        same = (names for names, other, _ in found if other.shape == tuned.shape and torch.equal(other, tuned))
        if (names := next(same, None)) is not None:
            names.append(name)
        else:
            found.append(([name], tuned, module.original_module.weight))
    whole = (_rows_moved(" and ".join(names), tuned, base, loaded.tokenizer) for names, tuned, base in found)
    return (*whole, *_single_rows(loaded, adapter))


def _single_rows(loaded: LoadedModel, adapter: str) -> Iterator[RowsMoved]:
    """For an adapter that trained single rows; other adapters yield nothing."""
    if rows_on(loaded.model, adapter) is None:
        return
    for name, layer in token_layers(loaded.model):
        base, ids = layer.get_base_layer().weight, layer.token_indices[adapter]
        name = " and ".join(trained_layers(loaded.model)) if loaded.report.tied_embeddings else name
        # In the precision of the base, because the model computes with them in that.
        yield _rows_moved(name, layer.trainable_tokens_delta[adapter].to(base.dtype), base, loaded.tokenizer, ids)


def _rows_moved(name: str, tuned, base, tokenizer, ids: list[int] | None = None) -> RowsMoved:
    """`ids` are the rows of `base` that the rows of `tuned` replace; None: all, in order."""
    import torch

    rows, step, whole = len(base), _rows_of_a_block(base), _square(base)
    # Allocated first: results kept between the blocks would prevent that the memory of a block is used again.
    squares = torch.zeros(rows, dtype=torch.float64, device=tuned.device)
    for start in range(0, len(tuned), step):
        at = slice(start, start + step) if ids is None else ids[start : start + step]
        now, before = tuned[start : start + step].float(), base[at].to(tuned.device).float()
        squares[at] = (now - before).square().sum(1).double()
    highest = torch.topk(squares, min(TOKENS_PER_EMBEDDING, rows))
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
    """A token as readable text, at most 40 characters long.

    A space is ␣, and an invisible character is written as an escape. A token without text has the tokenizer's own name
    for it; so has a part of a character, with an ellipsis.
    """
    piece = tokenizer.convert_ids_to_tokens(id) if id < len(tokenizer) else None
    if not isinstance(piece, str):
        return tr("row {id:,}, no token", id=id)
    text = tokenizer.decode([id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if not text or "\ufffd" in text:
        text = f"{piece}…" if text else piece
    elif piece.startswith(SPACES) and not text.startswith(" "):  # a decoder drops the space at the start of a text
        text = f" {text}"
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text.replace(" ", "␣"))
    return seen if len(seen) <= MAX_NAME_CHARACTERS else seen[: MAX_NAME_CHARACTERS - 1] + "…"
