"""One row as the trainer gets it, token by token.

It shows the same `input_ids` and `labels` that are trained on; nothing is tokenised again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from core.data.prepared.examples_on_disk import Examples
from core.data.prepared.tokens import UNTRAINED, Example
from core.data.prompts.answer_ends import template_end

CASE_MARKS = frozenset(map(chr, range(0x0E, 0x20)))  # control characters that a tokenizer may use for capitals
MAX_TOKENS = 4000  # the page would be slow with more


@dataclass(frozen=True)
class Token:
    """`text` is empty if the token is only a part of a character; the last part has the character."""

    id: int
    text: str
    is_trained: bool
    is_special: bool
    is_cut: bool


@dataclass(frozen=True)
class RowView:
    """A row's first MAX_TOKENS `tokens`. `length` counts its tokens before cutting, `kept` after.

    `end_name` is the end mark: the one that is trained on, or, if `end_is_trained` is False, the one that is missing,
    empty if the tokenizer has none.
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
    """The example at this position."""
    example = examples[place]
    end = example.end_id(frozenset(end_ids))
    return RowView(
        row=example.row,
        tokens=tuple(_tokens(example, tokenizer)),
        length=len(example.input_ids) + len(example.cut_ids),
        kept=len(example.input_ids),
        trained=example.trained,
        end_name=end_mark(tokenizer, end_ids) if end is None else _name(end, tokenizer),
        end_is_trained=end is not None,
        is_validation=is_validation,
    )


def end_mark(tokenizer, end_ids: Iterable[int]) -> str:
    """The name of the token that ends an answer with this tokenizer; empty if it has none."""
    # A chat model has one token to end a turn and another to end a text; the chat template has the former.
    end = template_end(tokenizer)
    if end is not None:
        return _name(end, tokenizer)
    # A template may write one only between turns, and a model can name an end that its tokenizer does not have.
    ends = frozenset(end_ids) | {tokenizer.eos_token_id}
    named = [_name(token, tokenizer) for token in sorted(ends - {None})]
    return next((name for name in named if name and name in (tokenizer.chat_template or "")), tokenizer.eos_token or "")


def _name(token: int, tokenizer) -> str:
    return tokenizer.decode([token]).strip()  # the vocabulary may have it with a mark for a space


def _tokens(example: Example, tokenizer):
    special = set(tokenizer.all_special_ids)
    labels = example.labels + [UNTRAINED] * len(example.cut_ids)
    ids = example.input_ids + example.cut_ids
    for place, (token, text) in enumerate(zip(ids[:MAX_TOKENS], _texts(ids[:MAX_TOKENS], tokenizer), strict=True)):
        yield Token(token, text, labels[place] != UNTRAINED, token in special, place >= len(example.input_ids))


def _texts(ids: list[int], tokenizer):
    """The text that each token adds to the ones before it."""

    def decode(tokens: list[int]) -> str:
        return tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    before, pending = [], []
    for token in ids:
        pending.append(token)
        # Decoded with the tokens before it, because many tokenizers drop the space at the beginning of a text.
        start, text = decode(before), decode(before + pending)
        # An incomplete character, which has at most four bytes, or a mark that belongs to the next character.
        if (text.endswith("\ufffd") or text[-1:] in CASE_MARKS) and len(pending) < 4:
            yield ""
            continue
        yield text.removeprefix(start) if text.startswith(start) else decode(pending)
        before, pending = pending, []
