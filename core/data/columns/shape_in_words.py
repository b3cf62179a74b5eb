"""What the columns are for, in words. Each is a clause of a shape's reason, which has commas between them."""

from core.data.columns.open_questions import MAX_NAMED_COLUMNS
from core.problems import tr, trn


def asks_and_answers(taken: dict[str, str]) -> str:
    """The question, the answer and the system prompt, if there is one. `taken` are the columns by role."""
    if "instruction" in taken and "input" in taken:
        question, below = taken["instruction"], taken["input"]
        asks = tr('"{question}" is the question, with "{input}" below it', question=question, input=below)
    else:
        question = taken["instruction"] if "instruction" in taken else taken["input"]
        asks = tr('"{question}" is the question', question=question)
    system = [is_system(taken["system"])] if "system" in taken else []
    return ", ".join((asks, is_answer(taken["answer"]), *system))


def is_answer(name: str) -> str:
    return tr('"{answer}" is the answer', answer=name)


def is_system(name: str) -> str:
    return tr('"{system}" is the system prompt', system=name)


def has_turns(name: str) -> str:
    return tr('"{messages}" has the turns of a chat', messages=name)


def not_used(names: list[str]) -> str:
    """The columns are named if they are few."""
    if len(names) > MAX_NAMED_COLUMNS:
        return tr("the columns are not used")
    return trn(
        "the column {columns} is not used", "the columns {columns} are not used", len(names), columns=", ".join(names)
    )
