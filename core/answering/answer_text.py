"""The text of an answer's tokens, which may be cut off, or still growing, in the middle of a character."""

from collections.abc import Sequence

from core.data.prepared.row_view import CASE_MARKS

UNREADABLE = "\ufffd"  # what decoding gives for bytes that are not a character, or not a whole one yet
# A model can also write U+FFFD itself. This is how tokenizers write its three bytes, or the character.
_WRITTEN = (UNREADABLE, "ï¿½", "<0xEF><0xBF><0xBD>")
_MARKS = "".join(CASE_MARKS)


def answer_text(tokenizer, ids: Sequence[int], ended: str = "") -> str:
    """The text of these tokens, without special tokens. `ended` is as in `Answer`.

    A character that is not complete is left out at the end: it is still being written, or the answer was cut off there.
    A U+FFFD that the model wrote stays once the answer has ended.
    """
    # Decoded from the start each time, because a character may need several tokens.
    text = tokenizer.decode(ids, skip_special_tokens=True)
    if not ended:
        return text.rstrip(UNREADABLE + _MARKS)
    text = text.rstrip(_MARKS)  # a mark for a capital letter that never came
    if ended == "itself" or not text.endswith(UNREADABLE):
        return text
    last = "".join(tokenizer.convert_ids_to_tokens(list(ids[-3:])))
    if last.endswith(_WRITTEN):
        return text
    # A byte-level tokenizer gives one U+FFFD for all bytes of a part, the others one for each byte.
    return text.rstrip(UNREADABLE) if last.endswith(">") else text.removesuffix(UNREADABLE)
