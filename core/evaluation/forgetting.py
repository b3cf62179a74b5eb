"""What the model forgot by being tuned: the loss on general questions that no run is trained on.

The questions are our own, in presets/data/general.jsonl: facts, sums, phrases to complete, everyday advice, a little
code and a few languages.
"""

import json
from collections.abc import Sequence

from core.data.prepared.tokens import Rendered, tokenise
from core.data.prompts.chat_template import chat_pieces
from core.data.prompts.messages import Pieces
from core.data.prompts.prompt_templates import TEMPLATES, prompt_text
from core.evaluation.batched_answers import row_losses
from core.evaluation.bootstrap import paired_bootstrap
from core.evaluation.question_rows import Row, row_of
from core.evaluation.record import Forgetting
from core.model.loaded_model import LoadedModel
from core.settings.paths import PROJECT_DIR

GENERAL_QUESTIONS = PROJECT_DIR / "presets" / "data" / "general.jsonl"
ROWS_PER_PASS = 8


def general_rows(loaded: LoadedModel, prompt_template: str) -> list[Row]:
    """The general questions with their answers, rendered as the run's rows were. Raises TemplateError."""
    lines = [json.loads(line) for line in GENERAL_QUESTIONS.read_text(encoding="utf-8").splitlines()]
    rendered = [
        Rendered(number, _pieces(line["instruction"], line["output"], prompt_template, loaded.tokenizer))
        for number, line in enumerate(lines, 1)
    ]
    found = tokenise(rendered, loaded.tokenizer, loaded.report.max_seq_length, True)
    return [row_of(example, loaded.tokenizer) for (example,) in found if not example.is_cut]


def _pieces(question: str, answer: str, prompt_template: str, tokenizer) -> Pieces:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if prompt_template in TEMPLATES:
        return TEMPLATES[prompt_template].pieces(messages, tokenizer)
    if prompt_template == "chat" and tokenizer.chat_template:
        return chat_pieces(messages, tokenizer)
    return [(prompt_text(messages[:1], prompt_template, tokenizer) + "\n", False), (answer, True)]


def general_losses(loaded: LoadedModel, rows: Sequence[Row]) -> list[tuple[float, int]]:
    """As `row_losses`, by the model with whatever adapter is active."""
    return [
        loss for at in range(0, len(rows), ROWS_PER_PASS) for loss in row_losses(loaded, rows[at : at + ROWS_PER_PASS])
    ]


def forgetting(loaded: LoadedModel, base: list[tuple[float, int]], tuned: list[tuple[float, int]]) -> Forgetting:
    """Compares the losses of both models on the general rows."""
    import math

    found = paired_bootstrap(base, tuned, lambda sums: sums[:, 0] / sums[:, 1])
    return Forgetting(
        prompts=len(base),
        base_loss=found.base,
        tuned_loss=found.tuned,
        low=found.low,
        high=found.high,
        random_loss=math.log(loaded.model.config.vocab_size),
    )
