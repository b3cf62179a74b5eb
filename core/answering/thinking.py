"""What a model thinks aloud before its answer, as Qwen 3, SmolLM 3 and reasoning models do, apart from the answer."""

BEGINS, ENDS = "<think>", "</think>"


def split_thinking(text: str) -> tuple[str, str]:
    """(thinking, answer), both without the marks and the space around the thinking.

    A text without marks is all answer. While the thinking has not ended, there is no answer yet. Some chat templates
    write the first mark themselves, so that only the last one is in the text.
    """
    thinking, ended, answer = text.partition(ENDS)
    begun, mark, inside = thinking.partition(BEGINS)
    if ended:
        return (inside if mark and not begun.strip() else thinking).strip(), answer.lstrip()
    if mark and not begun.strip():
        return inside.strip(), ""
    return "", text


def spoken(text: str) -> str:
    """The answer without the thinking."""
    return split_thinking(text)[1]
