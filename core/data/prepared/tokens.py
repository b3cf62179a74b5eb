"""Turns pieces of text into tokens and labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from core.data.prompts.messages import Pieces

UNTRAINED = -100  # torch's cross entropy ignores labels with this value


class Rendered(NamedTuple):
    """A row's number, the text that the model sees of it in pieces, and what had to be changed in it."""

    row: int
    pieces: Pieces
    changes: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        return "".join(piece for piece, _ in self.pieces)


@dataclass(frozen=True)
class Example:
    """A row as tokens: `input_ids` and `labels` of the same length, with label -100 where it is not trained on.

    `cut_ids` are the tokens beyond the maximum length, which the model never sees.
    """

    row: int
    input_ids: list[int]
    labels: list[int]
    cut_ids: list[int]

    @property
    def is_cut(self) -> bool:
        return bool(self.cut_ids)

    def end_id(self, end_ids: frozenset[int]) -> int | None:
        """The end mark at the end of the trained tokens; None if they do not end with one."""
        last: list[int] = []
        for label in reversed(self.labels):
            if label != UNTRAINED:
                last.append(label)
            if len(last) == 3:  # after the end mark some templates add a line break that is also trained on
                break
        return next((label for label in last if label in end_ids), None)

    @property
    def trained(self) -> int:
        """How many tokens are trained on."""
        return len(self.labels) - self.labels.count(UNTRAINED)


def tokenise(
    batch: list[Rendered], tokenizer, max_seq_length: int, completion_only_loss: bool, splits: bool = False
) -> list[list[Example]]:
    """Each row's examples: one, cut at `max_seq_length`; with `splits` as many as the row's tokens need.

    A token is trained on if most of its characters are in a piece that is.
    """
    texts = [rendered.text for rendered in batch]
    encoded = tokenizer(
        texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    found = []
    for index, rendered in enumerate(batch):
        ids = encoded["input_ids"][index]
        labels = ids
        if completion_only_loss:
            labels = _labels(rendered.pieces, ids, _FirstToken(encoded, index, texts[index]))
        size = max_seq_length if splits else len(ids) or 1
        parts = [(ids[at : at + size], labels[at : at + size]) for at in range(0, len(ids), size)]
        found.append(
            [
                Example(rendered.row, part[:max_seq_length], marks[:max_seq_length], part[max_seq_length:])
                for part, marks in parts
            ]
        )
    return found


def _labels(pieces: Pieces, ids: list[int], first_token: Callable[[int, int], int]) -> list[int]:
    labels = [UNTRAINED] * len(ids)
    begins, total = 0, sum(len(text) for text, _ in pieces)
    for text, trained in pieces:
        ends = begins + len(text)
        if trained and text:
            first = first_token(begins, total)
            last = len(ids) if ends == total else first_token(ends, total)
            labels[first:last] = ids[first:last]
        begins = ends
    return labels


class _FirstToken:
    """Finds the first token of the piece that begins at a character; the number of tokens if there is none."""

    def __init__(self, encoded, index: int, text: str):
        self._encoded, self._index, self._text = encoded, index, text
        self._count = len(encoded["input_ids"][index])

    def __call__(self, character: int, total: int) -> int:
        for place in range(character, total):
            token = self._encoded.char_to_token(self._index, place)
            if token is None:  # the tokenizer drops this character
                continue
            while token < self._count and self._begins_before(token, character):
                token += 1  # several tokens can share one character
            while token > 1 and self._is_inserted(token - 1, character):
                token -= 1
            return token
        return self._count

    def _begins_before(self, token: int, character: int) -> bool:
        span = self._encoded.token_to_chars(self._index, token)
        return character - span.start > span.end - character

    def _is_inserted(self, token: int, character: int) -> bool:
        """Whether the token is something that a normaliser inserted, whose position is that of the character before.

        It then shares that character with another token, which is otherwise impossible if the character is one byte.
        """
        span = self._encoded.token_to_chars(self._index, token)
        before = self._encoded.token_to_chars(self._index, token - 1)
        is_at_character_before = (span.start, span.end) == (character - 1, character)
        return is_at_character_before and span.start < before.end and self._text[character - 1].isascii()
