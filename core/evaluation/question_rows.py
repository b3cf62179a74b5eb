"""The rows to measure on: the tokens of the question, and the reference answer."""

from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core.answering.thinking import spoken
from core.data.prepared.tokens import UNTRAINED, Example
from core.data.prompts.prompt_templates import prompt_text

QUESTION_MARK = "\ue000"  # in place of a question; no template contains it


@dataclass(frozen=True)
class Row:
    """A row as tokens, packed so that ten thousand take little memory.

    `labels` are -100 where there is no loss. The first `asked` tokens are the question; 0 when the row is plain text
    with nothing to answer. `wanted` is the length of the reference answer in tokens, `reference` its text or None.
    """

    input_ids: array
    labels: array
    asked: int
    wanted: int = 0
    reference: str | None = None

    @property
    def question(self) -> list[int]:
        return self.input_ids[: self.asked].tolist()


def row_of(example: Example, tokenizer, end_ids: Collection[int] = ()) -> Row:
    """The last stretch of trained tokens is the reference answer; everything before it is the question.

    `end_ids` are the tokens that end an answer; the reference's text is without them, and without thinking.
    """
    ids, labels = array("i", example.input_ids), array("i", example.labels)
    if example.labels[0] != UNTRAINED or not example.trained:
        return Row(ids, labels, 0)
    asked, answer = split(example)
    return Row(ids, labels, len(asked), len(answer), spoken(plain(tokenizer, until_end(answer, end_ids))))


def row_of_prompt(text: str, tokenizer) -> Row:
    """A question without a reference; `text` is what the model sees, template included."""
    ids = array("i", tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    return Row(ids, array("i", [UNTRAINED] * len(ids)), len(ids))


def split(example: Example) -> tuple[list[int], list[int]]:
    """The tokens of the question, and the tokens of the last answer."""
    ends = max(place for place, label in enumerate(example.labels) if label != UNTRAINED) + 1
    begins = ends
    while begins and example.labels[begins - 1] != UNTRAINED:
        begins -= 1
    return example.input_ids[:begins], example.input_ids[begins:ends]


def until_end(answer: list[int], end_ids: Collection[int]) -> list[int]:
    """The tokens before the first that ends the answer."""
    return answer[: next((place for place, token in enumerate(answer) if token in end_ids), None)]


def plain(tokenizer, ids: Sequence[int]) -> str:
    """The text of these tokens, without special tokens and surrounding space."""
    return tokenizer.decode(ids, skip_special_tokens=True).strip()


def frame_of(prompt_template: str, tokenizer) -> tuple[str, str]:
    """What the prompt template puts before and after a question, without special tokens."""
    text = prompt_text([{"role": "user", "content": QUESTION_MARK}], prompt_template, tokenizer)
    before, _, after = text.partition(QUESTION_MARK)
    return tuple(plain(tokenizer, tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (before, after))
