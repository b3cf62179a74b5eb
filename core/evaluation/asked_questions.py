"""What the rows of a run ask: whether each asks once, and a few questions of its validation rows to try.

Read back from the prepared examples, so both are what the model really saw.
"""

import os
from collections.abc import Iterator

from core.data.prepared.prepared_data import PreparedData
from core.data.prepared.tokens import UNTRAINED, Example
from core.data.prompts.prompt_templates import prompt_text
from core.evaluation.question_rows import split
from core.problems import TemplateError

MOST_QUESTIONS = 3
LOOKED_AT = 64  # examples, at most
MAX_CHARACTERS = 300  # of a question; a longer one is left out
MARKS = ("\ue000", "\ue001", "\ue002")  # in place of messages; no template contains them


def asked_by_rows(data: PreparedData, prompt_template: str, tokenizer) -> tuple[bool | None, tuple[str, ...]]:
    """Whether each row asks once, judged by the first ones, and at most three different questions of validation rows.

    (None, ()) for plain text, which asks nothing.
    """
    if data.shape.name == "text":
        return None, ()
    try:
        frame = _Frame(prompt_template, tokenizer)
    except TemplateError:  # it takes no question by itself, such as one without a system prompt
        return None, ()
    is_single = data.shape.name not in ("messages", "sharegpt") or all(
        frame.asks_once(example) for example in data.train[:LOOKED_AT] if example.trained
    )
    found = dict.fromkeys(_questions(data.validation[:LOOKED_AT], frame))
    return is_single, tuple(found)[:MOST_QUESTIONS]


def _questions(examples: list[Example], frame: "_Frame") -> Iterator[str]:
    """Those that can be asked as they are: without turns before them, and short enough for a button."""
    for example in examples:
        has_question = example.trained and not example.is_cut and example.labels[0] == UNTRAINED
        question = frame.question(example) if has_question and frame.asks_once(example) else ""
        if 0 < len(question) <= MAX_CHARACTERS:
            yield question


class _Frame:
    """What a prompt template writes around a question: `_asks` just before it, `_answers` between it and the answer."""

    def __init__(self, prompt_template: str, tokenizer):
        self._tokenizer = tokenizer

        def written(*contents: str) -> str:
            """As it reads after it was cut into tokens: some tokenizers put spaces around special ones."""
            roles = ("user", "assistant", "user")
            messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
            prompt = prompt_text(messages, prompt_template, tokenizer)
            return self._text(tokenizer(prompt, add_special_tokens=False).input_ids)

        first, second, third = MARKS
        before, _, self._answers = written(first).partition(first)
        try:
            between = written(*MARKS).partition(third)[0].rpartition(second)[2]
        except TemplateError:  # it takes one question only
            between = before
        # What a first question and a later one both have before them: no intro, and no end of an answer.
        self._asks = os.path.commonprefix([before[::-1], between[::-1]])[::-1]

    def question(self, example: Example) -> str:
        """The question of an example as it was written; empty if it is not between these words."""
        asked, _ = split(example)
        text, answers = self._text(asked).rstrip(), self._answers.strip()
        _, found, question = text.rpartition(self._asks) if self._asks else ("", " ", text)
        return question.removesuffix(answers).strip() if found and question.endswith(answers) else ""

    def asks_once(self, example: Example) -> bool:
        """Whether there is one question with its answer, and no turn before it."""
        answers = self._answers.strip()
        return not answers or self._text(example.input_ids).count(answers) == 1

    def _text(self, ids: list[int]) -> str:
        """With special tokens, of which most of these words are made."""
        return self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
