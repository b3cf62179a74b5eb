"""Ollama's Modelfile for a GGUF file: the run's own prompt template and the tokens that end an answer."""

from collections.abc import Sequence

from core.data.prompts.prompt_templates import prompt_text
from core.export.chat_parts import ChatParts, chat_parts, go_template


def parts_of(tokenizer, prompt_template: str) -> ChatParts:
    """The table of the prompts that a run with this template wrote. Raises ExportError and TemplateError."""
    return chat_parts(
        lambda messages: prompt_text(messages, prompt_template, tokenizer), str(tokenizer.bos_token or "")
    )


def modelfile(file: str, parts: ChatParts, ends: Sequence[str]) -> str:
    """The text of the Modelfile for this GGUF file, which lies beside it. `ends` are the texts of the end tokens.

    BOS is not in the template, because Ollama writes it itself.
    """
    lines = [f"FROM ./{file}", f'TEMPLATE """{go_template(parts)}"""']
    lines += [f"PARAMETER stop {_quoted(end)}" for end in ends]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
