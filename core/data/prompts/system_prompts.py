"""System prompts for chat templates that refuse or drop them: their text moves into the question, for all to see."""

from collections.abc import Callable, Iterator

from core.problems import mark

SYSTEM_MOVED = mark(
    "the model's chat template has no place for a system prompt, so its text becomes part of the question"
)
MARK = "\ue000"  # in no template, and in hardly any text


def forms(messages: list[dict], takes_one_first: Callable[[], bool]) -> Iterator[list[dict]]:
    """The same conversation in the ways that templates take system prompts, the one that changes least first.

    As it is; with a single system prompt, at the beginning; without any. `takes_one_first` says whether the template
    takes one at the beginning: if not, it has no place for later ones either, whatever it makes of them.
    """
    begins = next((at for at, message in enumerate(messages) if message["role"] != "system"), len(messages))
    has_later = any(message["role"] == "system" for message in messages[begins:])
    if not has_later or takes_one_first():
        yield messages
        if has_later or begins > 1:
            first = [{"role": "system", "content": _joined(messages[:begins])}] if begins else []
            yield [*first, *_without(messages[begins:])]
    if has_later or begins:
        yield _without(messages)


def has_moved(messages: list[dict], form: list[dict]) -> bool:
    """Whether a system prompt became a part of a question in this form."""
    return form is not messages and _joined(messages, "user") != _joined(form, "user")


def _without(messages: list[dict]) -> list[dict]:
    """The messages with each system prompt as a part of the user's turn next to it, or as a turn of its own.

    User turns around a system prompt become one, because many templates refuse two in a row.
    """
    made: list[dict] = []
    run: list[dict] = []  # neighbouring messages of system and user
    for message in [*messages, None]:
        if message is not None and message["role"] in ("system", "user"):
            run.append(message)
            continue
        if any(one["role"] == "system" for one in run):
            made.append({"role": "user", "content": _joined(run)})
        else:
            made += run
        run = []
        if message is not None:
            made.append(message)
    return made


def _joined(messages: list[dict], *roles: str) -> str:
    texts = [message["content"].strip() for message in messages if not roles or message["role"] in roles]
    return "\n\n".join(text for text in texts if text)


def lacks_a_system_prompt(messages: list[dict], text: str, template: str, render: Callable[[list[dict]], str]) -> bool:
    """Whether `text`, which `render` made of the messages with this template, is without one of their system prompts.

    A system prompt that the template or another message contains too is rendered once more, with a mark for its text.
    """
    marks = {}
    for place, message in enumerate(messages):
        if message["role"] != "system":
            continue
        content = message["content"].strip()
        if content not in text:
            return True
        others = (other["content"] for at, other in enumerate(messages) if at != place)
        if content and (content in template or any(content in other for other in others)):
            marks[place] = f"{MARK}{place}{MARK}"
    if not marks:
        return False
    marked = [{**message, "content": marks.get(place, message["content"])} for place, message in enumerate(messages)]
    again = render(marked)
    return any(mark not in again for mark in marks.values())
