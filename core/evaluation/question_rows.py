"""Rows to be measured on: what is asked, and what was wanted. Knows nothing of models, threads or gradio."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from core.data.prepared.tokens import UNTRAINED, Example


@dataclass(frozen=True)
class Row:
    """A row as tokens, packed so that ten thousand take little memory.

    `labels` are -100 where no loss is taken. The first `asked` tokens are the question; 0 when the row is plain text
    with nothing to answer. `wanted` are the tokens of the answer, `reference` its text; None when there is none.
    """

    input_ids: array
    labels: array
    asked: int
    wanted: int = 0
    reference: str | None = None

    @property
    def question(self) -> list[int]:
        return self.input_ids[: self.asked].tolist()


def row_of(example: Example, tokenizer) -> Row:
    """The question is all up to the last run of trained tokens, and that run is the answer."""
    ids, labels = array("i", example.input_ids), array("i", example.labels)
    if example.labels[0] != UNTRAINED or not example.trained:
        return Row(ids, labels, 0)
    asked, answer = split(example)
    return Row(ids, labels, len(asked), len(answer), plain(tokenizer, answer))


def row_of_prompt(text: str, tokenizer) -> Row:
    """A question without a reference; `text` is as the model sees it."""
    ids = array("i", tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return Row(ids, array("i", [UNTRAINED] * len(ids)), len(ids))


def split(example: Example) -> tuple[list[int], list[int]]:
    """The tokens of the question, and those of the last answer."""
    ends = max(place for place, label in enumerate(example.labels) if label != UNTRAINED) + 1
    begins = ends
    while begins and example.labels[begins - 1] != UNTRAINED:
        begins -= 1
    return example.input_ids[:begins], example.input_ids[begins:ends]


def plain(tokenizer, ids: Sequence[int]) -> str:
    """Their text without special tokens and the space around it."""
    return tokenizer.decode(ids, skip_special_tokens=True).strip()
