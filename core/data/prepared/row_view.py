"""One row as the trainer gets it, token by token. Knows nothing of files, models or gradio.

Made from the very `input_ids` and `labels` that are trained on: tokens are decoded, never made anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from core.data.prepared.examples_on_disk import Examples
from core.data.prepared.tokens import UNTRAINED, Example

MARKS = frozenset(map(chr, range(0x0E, 0x20)))  # control characters that no text has
SHOWN_TOKENS = 4000  # a page with more of them is slow, and nobody reads on


@dataclass(frozen=True)
class Token:
    """`text` is empty for a token that holds only a part of a character; its last part has it."""

    id: int
    text: str
    is_trained: bool
    is_special: bool
    is_cut: bool


@dataclass(frozen=True)
class RowView:
    """A row's `tokens`, the first of them when it is very long; `length` counts all before the cut, `kept` after it.

    `end_name` is the end mark: the one that is trained on, or the one that is missing when `end_is_trained` is False.
    """

    row: int
    tokens: tuple[Token, ...]
    length: int
    kept: int
    trained: int
    end_name: str
    end_is_trained: bool
    is_validation: bool


def view(examples: Examples, place: int, tokenizer, end_ids: Iterable[int], is_validation: bool) -> RowView:
    """The example at this place."""
    example = examples[place]
    end = example.end_id(frozenset(end_ids))
    return RowView(
        row=example.row,
        tokens=tuple(_tokens(example, tokenizer)),
        length=len(example.input_ids) + len(example.cut_ids),
        kept=len(example.input_ids),
        trained=example.trained,
        end_name=end_mark(tokenizer, end_ids) if end is None else tokenizer.convert_ids_to_tokens(end),
        end_is_trained=end is not None,
        is_validation=is_validation,
    )


def end_mark(tokenizer, end_ids: Iterable[int]) -> str:
    """The token by which an answer ends with this tokenizer, by name."""
    ends = frozenset(end_ids) | {tokenizer.eos_token_id}
    # A chat model ends a turn with another token than a text, and that is the one to look for.
    named = [tokenizer.convert_ids_to_tokens(token) for token in sorted(ends) if token is not None]
    return next((name for name in named if name in (tokenizer.chat_template or "")), tokenizer.eos_token or "")


def _tokens(example: Example, tokenizer):
    special = set(tokenizer.all_special_ids)
    labels = example.labels + [UNTRAINED] * len(example.cut_ids)
    ids = example.input_ids + example.cut_ids
    for place, (token, text) in enumerate(zip(ids[:SHOWN_TOKENS], _texts(ids[:SHOWN_TOKENS], tokenizer), strict=True)):
        yield Token(token, text, labels[place] != UNTRAINED, token in special, place >= len(example.input_ids))


def _texts(ids: list[int], tokenizer):
    """The text that each token adds to those before it."""

    def decode(tokens: list[int]) -> str:
        return tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    before, pending = [], []
    for token in ids:
        pending.append(token)
        # With the tokens before it: on its own, many a tokenizer drops the space a token begins with.
        start, text = decode(before), decode(before + pending)
        # A part of a character, which has four bytes at most; or, as the demo has one for capitals, a mark for the next.
        if (text.endswith("\ufffd") or text[-1:] in MARKS) and len(pending) < 4:
            yield ""
            continue
        yield text.removeprefix(start) if text.startswith(start) else decode(pending)
        before, pending = pending, []
