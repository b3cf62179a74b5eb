"""The prompts for conversations: the model's own chat template, or a plain one such as Alpaca's.

Plain prompts are for base models, which have no chat template.
"""

from dataclasses import dataclass

from core.data.prompts.chat_template import Say, chat_prompt
from core.data.prompts.marks import with_bos, with_eos, within_a_text
from core.data.prompts.messages import Message, Pieces, Tools, check_messages, is_trained_on, written_out


def prompt_text(messages: list[Message], prompt_template: str, tokenizer, say: Say = lambda change: None) -> str:
    """The prompt for an answer to these messages, in the form that the model was trained on.

    `say` is told what the chat template made necessary to change.
    A model trained on plain text, or one without a chat template, gets the last message to continue.
    Raises TemplateError if the chat template refuses the messages.
    """
    messages = within_a_text(messages, tokenizer)
    if not has_turns(prompt_template, tokenizer):
        return with_bos(messages[-1]["content"], tokenizer)
    if prompt_template in TEMPLATES:
        return TEMPLATES[prompt_template].prompt(messages, tokenizer)
    return chat_prompt(messages, tokenizer, say)


def has_turns(prompt_template: str, tokenizer) -> bool:
    """Whether a prompt has all messages. Otherwise it is the last one as it stands, for the model to continue."""
    return prompt_template in TEMPLATES or (prompt_template == "chat" and bool(tokenizer.chat_template))


@dataclass(frozen=True)
class PlainTemplate:
    """A prompt with headings above questions and answers. It begins with the system prompt, or `intro` without one."""

    intro: str
    question: str
    answer: str

    def prompt(self, messages: list[Message], tokenizer) -> str:
        """The text before the answer, with the earlier turns in the same form."""
        return "".join(text for text, _ in self._turns(messages, tokenizer)) + self._heading(self.answer)

    def pieces(self, messages, tokenizer, tools: Tools | None = None) -> Pieces:
        """The text in pieces; each answer with its end mark is trained on. Raises TemplateError."""
        pieces, read = [], ""
        for text, is_answer in self._turns(written_out(check_messages(messages), tools, "user"), tokenizer):
            if is_answer:
                pieces += [(read, False), (text, True)]
                read = ""
            else:
                read += text
        return pieces

    def _turns(self, messages: list[Message], tokenizer) -> Pieces:
        """The text in order, each part with whether it is an answer to train on."""
        has_system = bool(messages) and messages[0]["role"] == "system"
        intro = messages[0]["content"] if has_system else self.intro
        turns = [(with_bos(intro, tokenizer) + "\n\n", False)]
        for message in messages[1:] if has_system else messages:
            content = message["content"].strip()
            if message["role"] == "assistant":
                answer = with_eos(content, tokenizer)
                turns += [(self._heading(self.answer), False), (answer, is_trained_on(message)), ("\n\n", False)]
            else:
                heading = "" if message["role"] == "system" else self._heading(self.question)
                turns.append((f"{heading}{content}\n\n", False))
        return turns

    def _heading(self, title: str) -> str:
        return f"### {title}:\n"


# The exact prompts of published Alpaca-style models, because a tuned model only answers well in the prompt that it was
# trained with: Stanford Alpaca's short form (github.com/tatsu-lab/stanford_alpaca, Apache-2.0)
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
