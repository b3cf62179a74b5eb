"""A prompt template as a table: what it writes between the messages of a conversation.

The table is read off conversations that the template renders, and checked on others. From it come the Go template of
Ollama's Modelfile, and a chat template for models that were trained with another prompt than their chat template.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from core.problems import ExportError, mark

# As a Go template: the last message as it stands.
LAST_MESSAGE = (
    "{{ range $place, $message := .Messages }}{{ if eq (len (slice $.Messages $place)) 1 }}{{ $message.Content }}"
    "{{ end }}{{ end }}"
)
Render = Callable[[list[dict]], str]  # the prompt for an answer to these messages, the last of which is a user's
SYSTEM, USER, ANSWER = "\ue000s\ue001", "\ue000u\ue001", "\ue000a\ue001"  # stand for contents; no template has them
NOT_A_TABLE = mark(
    "The prompts of this model cannot be written as an Ollama template, because what comes between messages depends on "
    "more than their roles; export GGUF and write a Modelfile by hand."
)
CHECKED = (
    ("user",),
    ("system", "user"),
    ("user", "assistant", "user"),
    ("system", "user", "assistant", "user"),
    ("user", "assistant", "user", "assistant", "user"),
    ("system", "user", "assistant", "user", "assistant", "user", "assistant", "user"),
)


@dataclass(frozen=True)
class ChatParts:
    """`before` has the text between two messages by their roles ("" for the start); `answer` begins the answer."""

    before: dict[tuple[str, str], str]
    answer: str

    def render(self, messages: list[dict]) -> str:
        """The prompt for an answer to these messages."""
        text, previous = "", ""
        for message in messages:
            text += self.before[previous, message["role"]] + message["content"]
            previous = message["role"]
        return text + self.answer


def chat_parts(render: Render, bos: str = "") -> ChatParts:
    """The table of the template behind `render`; the token `bos`, which a text begins with, is left out.

    Raises ExportError if the template is not of this form.
    """

    def said(*contents: str) -> str:
        roles = {SYSTEM: "system", USER: "user", ANSWER: "assistant"}
        return render([{"role": roles[content], "content": content} for content in contents]).removeprefix(bos)

    try:
        head, answer = said(USER).split(USER)
        system, after_system, _ = _cut(said(SYSTEM, USER), SYSTEM, USER)
        _, before_answer, before_question, _ = _cut(said(USER, ANSWER, USER), USER, ANSWER, USER)
    except ValueError:  # a content is missing, or there twice
        raise ExportError(NOT_A_TABLE) from None
    found = ChatParts(
        {
            ("", "system"): system,
            ("", "user"): head,
            ("system", "user"): after_system,
            ("user", "assistant"): before_answer,
            ("assistant", "user"): before_question,
        },
        answer,
    )
    for number, roles in enumerate(CHECKED):
        messages = [
            {"role": role, "content": f"Text {number}, {place}: {role}'s words."} for place, role in enumerate(roles)
        ]
        if found.render(messages) != render(messages).removeprefix(bos):
            raise ExportError(NOT_A_TABLE)
    return found


def _cut(text: str, *marks: str) -> list[str]:
    """The text between the marks, in order. Raises ValueError if one is missing, or there is more of the last."""
    parts = []
    for wanted in marks:
        part, found, text = text.partition(wanted)
        if not found:
            raise ValueError(wanted)
        parts.append(part)
    if marks[-1] in text:
        raise ValueError(marks[-1])
    return [*parts, text]


def go_template(parts: ChatParts) -> str:
    """The table as a template of Go's text/template over Ollama's `.Messages`."""
    cases = []
    for role in ("system", "user", "assistant"):
        texts = {previous: text for (previous, of), text in parts.before.items() if of == role}
        cases.append(f'eq .Role "{role}" }}}}{_choice(texts)}')
    body = "{{ if " + "{{ else if ".join(cases) + "{{ end }}"
    return (
        '{{ $previous := "" }}{{ range .Messages }}' + body + "{{ .Content }}{{ $previous = .Role }}{{ end }}"
        f"{_literal(parts.answer)}"
    )


def _choice(texts: dict[str, str]) -> str:
    """The text that belongs to the role of the message before."""
    if len(texts) == 1:
        return _literal(*texts.values())
    *others, last = texts.items()
    cases = "{{ else ".join(f'if eq $previous "{previous}" }}}}{_literal(text)}' for previous, text in others)
    return "{{ " + cases + "{{ else }}" + _literal(last[1]) + "{{ end }}"


def _literal(text: str) -> str:
    """A text in Go's quotes, so that neither its line breaks nor its braces are taken for the template's own."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""


def jinja_template(parts: ChatParts, end: str) -> str:
    """The table as a chat template of transformers; `end` is the token that ends an answer."""
    cases = "".join(
        f"{{%- {'el' if place else ''}if previous.role == {json.dumps(previous)} and message['role'] == "
        f"{json.dumps(role)} %}}{{{{- {_jinja(text)} }}}}"
        for place, ((previous, role), text) in enumerate(parts.before.items())
    )
    return (
        "{{- bos_token }}{%- set previous = namespace(role='') %}{%- for message in messages %}"
        f"{cases}{{%- endif %}}{{{{- message['content'] }}}}{{%- set previous.role = message['role'] %}}{{%- endfor %}}"
        f"{{%- if add_generation_prompt %}}{{{{- {_jinja(parts.answer)} }}}}"
        f"{{%- elif previous.role == 'assistant' %}}{{{{- {_jinja(end)} }}}}{{%- endif %}}"
    )


def _jinja(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
