"""How a conversation becomes the text the model sees, in pieces that are trained on or only read.

Knows nothing of files, models or gradio. Two ways: the model's own chat template, or a plain prompt such as
Alpaca's for base models that have none.
"""

from dataclasses import dataclass

from jinja2 import TemplateError as JinjaError

Message = dict[str, str]
ROLES = ("system", "user", "assistant", "tool")


class TemplateError(ValueError):
    """A row that cannot be rendered; the message is a few words that complete "left out:"."""


def check_messages(messages) -> list[Message]:
    """Messages as role and text, the last of them by the assistant. Raises TemplateError."""
    if not isinstance(messages, list) or not messages:
        raise TemplateError("no messages")
    checked = []
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise TemplateError("a message without a known role")
        if not isinstance(message.get("content"), str):
            raise TemplateError("a message whose content is not text")
        checked.append({"role": message["role"], "content": message["content"]})
    while checked and checked[-1]["role"] != "assistant":
        checked.pop()  # a question at the end has nothing to learn after it
    if not any(message["role"] == "assistant" and message["content"].strip() for message in checked):
        raise TemplateError("no answer")
    return checked


def chat_pieces(messages, tokenizer) -> list[tuple[str, bool]]:
    """By the model's own chat template: each answer with its end mark is trained on, all else is only read.

    Raises TemplateError, also when the model has no template or its template refuses the messages.
    """
    messages = check_messages(messages)
    if not tokenizer.chat_template:
        raise TemplateError("this model has no chat template, so choose the alpaca prompt")
    pieces, done = [], ""
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = _apply(tokenizer, messages[:index], add_generation_prompt=True)
        answered = _apply(tokenizer, messages[: index + 1], add_generation_prompt=False)
        if not asked.startswith(done) or not answered.startswith(asked):
            raise TemplateError("the model's chat template rewrites earlier turns")
        pieces += [(asked[len(done) :], False), (answered[len(asked) :], True)]
        done = answered
    return pieces


def prompt_text(messages: list[Message], prompt_template: str, tokenizer) -> str:
    """The text that asks for an answer to these messages, as the model met such questions in training.

    A model trained on plain text, or one without a chat template, is given the last message to go on from.
    Raises TemplateError when the chat template refuses the messages.
    """
    if prompt_template in TEMPLATES:
        return TEMPLATES[prompt_template].prompt(messages, tokenizer)
    if prompt_template == "chat" and tokenizer.chat_template:
        return _apply(tokenizer, messages, add_generation_prompt=True)
    return (tokenizer.bos_token or "") + messages[-1]["content"]


def _apply(tokenizer, messages: list[Message], add_generation_prompt: bool) -> str:
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
    except (JinjaError, ValueError, TypeError) as error:
        raise TemplateError(f"the model's chat template says: {error}") from None


@dataclass(frozen=True)
class PlainTemplate:
    """A prompt with headings, for one question and one answer. `intro` stands first."""

    intro: str
    question: str
    answer: str

    def prompt(self, messages: list[Message], tokenizer) -> str:
        """The text up to where the answer begins; earlier turns stand above it in the same form."""
        text = tokenizer.bos_token or ""
        intro = next((m["content"] for m in messages if m["role"] == "system"), self.intro)
        text += intro + "\n\n"
        for message in messages:
            if message["role"] == "user":
                text += f"### {self.question}:\n{message['content'].strip()}\n\n### {self.answer}:\n"
            elif message["role"] == "assistant":
                text += message["content"].strip() + (tokenizer.eos_token or "") + "\n\n"
        return text

    def pieces(self, messages, tokenizer) -> list[tuple[str, bool]]:
        """Each answer with the end mark is trained on. Raises TemplateError."""
        messages = check_messages(messages)
        pieces, done = [], ""
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = self.prompt(messages[:index], tokenizer)
            answer = message["content"].strip() + (tokenizer.eos_token or "")
            pieces += [(asked[len(done) :], False), (answer, True)]
            done = asked + answer
        return pieces


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
