"""The tokens that end an answer, as far as the tokenizer and its chat template say.

They need not be the same: base models often end a text with one token, while their chat template ends a turn with
another, such as `<|endoftext|>` and `<|im_end|>`.
"""

from core.data.prompts.chat_template import chat_pieces
from core.problems import TemplateError

QUESTION, ANSWER = "Are you there?", "Yes, I am."


def answer_ends(tokenizer) -> list[int]:
    """The ids of the end mark of the chat template, if there is one, and of the tokenizer's own end of text."""
    ends = (template_end(tokenizer), tokenizer.eos_token_id)
    return list(dict.fromkeys(token for token in ends if token is not None))


def template_end(tokenizer) -> int | None:
    """The token that the chat template puts behind an answer.

    None if there is no chat template, or if what it puts there is ordinary text, which can also be part of an answer.
    """
    if not tokenizer.chat_template:
        return None
    try:
        pieces = chat_pieces(
            [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}], tokenizer
        )
    except TemplateError:  # rendering the rows reports what is wrong
        return None
    answer = next(text for text, is_trained in reversed(pieces) if is_trained)
    behind = tokenizer(answer.rpartition(ANSWER)[2], add_special_tokens=False)["input_ids"]
    marks = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    # Some tokenizers have added tokens for spaces and line ends.
    return next((token for token in behind if token in marks and tokenizer.decode([token]).strip()), None)
