"""The prompts a conversation can be put in: the model's own chat template, or a plain one such as Alpaca's.

Knows nothing of files, models or gradio. A plain prompt is for base models, which have no chat template.
"""

from dataclasses import dataclass

from core.data.prompts.chat_template import apply, chat_pieces
from core.data.prompts.messages import Message, Pieces, Tools, check_messages, is_learned, written_out
from core.problems import TemplateError

__all__ = ["TEMPLATES", "Message", "PlainTemplate", "TemplateError", "chat_pieces", "check_messages", "prompt_text"]


def prompt_text(messages: list[Message], prompt_template: str, tokenizer) -> str:
    """The text that asks for an answer to these messages, as the model met such questions in training.

    A model trained on plain text, or one without a chat template, is given the last message to go on from.
    Raises TemplateError when the chat template refuses the messages.
    """
    if prompt_template in TEMPLATES:
        return TEMPLATES[prompt_template].prompt(messages, tokenizer)
    if prompt_template == "chat" and tokenizer.chat_template:
        return apply(tokenizer, messages, add_generation_prompt=True)
    return (tokenizer.bos_token or "") + messages[-1]["content"]


@dataclass(frozen=True)
class PlainTemplate:
    """A prompt with headings above each question and each answer. `intro` stands first, or the system prompt."""

    intro: str
    question: str
    answer: str

    def prompt(self, messages: list[Message], tokenizer) -> str:
        """The text up to where the answer begins; earlier turns stand above it in the same form."""
        return "".join(text for text, _ in self._turns(messages, tokenizer)) + self._heading(self.answer)

    def pieces(self, messages, tokenizer, tools: Tools | None = None) -> Pieces:
        """Each answer with the end mark is trained on. Raises TemplateError."""
        pieces, read = [], ""
        for text, is_answer in self._turns(written_out(check_messages(messages), tools, "user"), tokenizer):
            if is_answer:
                pieces += [(read, False), (text, True)]
                read = ""
            else:
                read += text
        return pieces

    def _turns(self, messages: list[Message], tokenizer) -> Pieces:
        """The text in order, and whether it is an answer to be learned."""
        end = tokenizer.eos_token or ""
        has_system = bool(messages) and messages[0]["role"] == "system"
        intro = messages[0]["content"] if has_system else self.intro
        turns = [((tokenizer.bos_token or "") + intro + "\n\n", False)]
        for message in messages[has_system:]:
            content = message["content"].strip()
            if message["role"] == "assistant":
                turns += [(self._heading(self.answer), False), (content + end, is_learned(message)), ("\n\n", False)]
            else:
                heading = "" if message["role"] == "system" else self._heading(self.question)
                turns.append((f"{heading}{content}\n\n", False))
        return turns

    def _heading(self, words: str) -> str:
        return f"### {words}:\n"


# The prompts that published Alpaca-style models were trained with, word for word, because a tuned model only
# answers well to the words it knows: Stanford Alpaca's short form (github.com/tatsu-lab/stanford_alpaca, Apache-2.0)
# and the Korean form of Unsloth's continued-pretraining notebook.
TEMPLATES = {
    "alpaca": PlainTemplate(
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
        "Instruction",
        "Response",
    ),
    "alpaca_korean": PlainTemplate(
        "다음은 작업을 설명하는 명령입니다. 요청을 적절하게 완료하는 응답을 작성하세요.", "지침", "응답"
    ),
}
