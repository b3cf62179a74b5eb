"""The marks that begin a text and end an answer, added only where the row does not have them already.

Rows that were rendered before, or written by a model, often have them in their own text. Twice, they teach the model to
begin again or to go on after the end.
"""

from core.data.prompts.messages import Message, Pieces, says_something

MIN_MARK = 3  # characters; what is shorter, such as a quote, may be a part of the answer


def with_bos(text: str, tokenizer) -> str:
    """The text after the token that begins one, if the tokenizer has such a token."""
    return (tokenizer.bos_token or "") + without_bos(text, tokenizer)


def without_bos(text: str, tokenizer) -> str:
    bos = tokenizer.bos_token or ""
    begun = text.lstrip()
    return begun[len(bos) :] if bos and begun.startswith(bos) else text


def with_eos(text: str, tokenizer) -> str:
    """The text, ending in the tokenizer's end mark, if it has one."""
    return text.rstrip() if ends(text, tokenizer) else text + (tokenizer.eos_token or "")


def ends(text: str, tokenizer) -> bool:
    """Whether the text ends in the tokenizer's end mark, apart from white space."""
    return bool(tokenizer.eos_token) and text.rstrip().endswith(tokenizer.eos_token)


def within_a_text(messages: list[Message], tokenizer) -> list[Message]:
    """The messages without the tokens that begin a text."""
    return [{**message, "content": without_bos(message["content"], tokenizer)} for message in messages]


def without_doubled_ends(messages: list[Message], pieces: Pieces) -> list[Message] | None:
    """The messages without the end marks that the chat template adds as well; None if there are none.

    `pieces` are those of the messages in the chat template.
    """
    last = next((message for message in reversed(messages) if _is_answer(message)), None)
    if last is None or last.get("tool_calls"):
        return None
    text = "".join(text for text, _ in pieces)
    mark = text.rpartition(last["content"].strip())[2].strip()
    if len(mark) < MIN_MARK:
        return None
    changed = [_without(mark, message) if _is_doubled(mark, message, text) else message for message in messages]
    return changed if changed != messages else None


def _is_answer(message: Message) -> bool:
    return message["role"] == "assistant" and says_something(message)


def _is_doubled(mark: str, message: Message, text: str) -> bool:
    content = message["content"].strip()
    return content.endswith(mark) and text.partition(content)[2].lstrip().startswith(mark)


def _without(mark: str, message: Message) -> Message:
    content = message["content"].rstrip()
    while content.endswith(mark):
        content = content.removesuffix(mark).rstrip()
    return {**message, "content": content}
