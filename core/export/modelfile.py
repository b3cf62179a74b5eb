"""The prompts of a run for other programs: Ollama's Modelfile, and the chat template that goes with an export."""

from collections.abc import Sequence
from pathlib import Path

from core.data.prompts.answer_ends import answer_ends
from core.data.prompts.prompt_date import on_date
from core.data.prompts.prompt_templates import has_turns, prompt_text
from core.export.chat_parts import LAST_MESSAGE, ChatParts, chat_parts, go_template, jinja_template
from core.export.source import Source
from core.export.wanted import AS_OLLAMA_DOES, Chat
from core.problems import ExportError, mark

THREE_QUOTES = mark(
    "Ollama cannot read a system prompt with three quotation marks in a row; change it on the Compare tab, or export "
    "without it."
)


def parts_of(tokenizer, prompt_template: str) -> ChatParts:
    """The table of the prompts that a run with this template wrote. Raises ExportError and TemplateError."""
    return chat_parts(
        lambda messages: prompt_text(messages, prompt_template, tokenizer), str(tokenizer.bos_token or "")
    )


def ollama_template(tokenizer, prompt_template: str) -> str:
    """The template for Ollama that writes the prompts as a run with this template did. Raises as `parts_of` does."""
    return go_template(parts_of(tokenizer, prompt_template)) if has_turns(prompt_template, tokenizer) else LAST_MESSAGE


def chat_template(source: Source) -> str | None:
    """The chat template that makes the prompts of the run, also if it was trained with another prompt.

    None if there is none, as for a model that was trained on plain text.
    """
    tokenizer = _tokenizer(source)
    if source.config.data.prompt_template == "chat":
        return tokenizer.chat_template
    try:
        return jinja_template(parts_of(tokenizer, source.config.data.prompt_template), tokenizer.eos_token or "")
    except ExportError:
        return None


def write_modelfiles(folder: Path, source: Source, files: Sequence[Path], chat: Chat = AS_OLLAMA_DOES) -> None:
    """Writes a Modelfile for each of these GGUF files in `folder`. Raises ExportError, TemplateError and OSError.

    Its name is Modelfile, or with several files Modelfile- and the name of the file.
    """
    tokenizer = _tokenizer(source)
    template = ollama_template(tokenizer, source.config.data.prompt_template)
    ends = [tokenizer.decode([end]) for end in answer_ends(tokenizer)]
    for file in files:
        name = "Modelfile" if len(files) == 1 else f"Modelfile-{file.stem}"
        (folder / name).write_text(modelfile(file.name, template, ends, chat), encoding="utf-8")


def _tokenizer(source: Source):
    """The run's tokenizer, whose chat template takes the run's day for today."""
    from transformers import AutoTokenizer

    return on_date(AutoTokenizer.from_pretrained(source.adapter_dir), source.run.prompt_date)


def modelfile(file: str, template: str, ends: Sequence[str], chat: Chat = AS_OLLAMA_DOES) -> str:
    """The text of the Modelfile for this GGUF file, which lies beside it. `template` is a Go template, `ends` are the
    texts of the end tokens.

    BOS is not in the template, because Ollama writes it itself. Raises ExportError if Ollama cannot read the system
    prompt.
    """
    if '"""' in chat.system:
        raise ExportError(THREE_QUOTES)
    lines = [f"FROM ./{file}", f'TEMPLATE """{template}"""']
    lines += [f"PARAMETER stop {_quoted(end)}" for end in ends]
    if chat.system:
        lines.append(f'SYSTEM """{chat.system}"""')
    for name, value in (("temperature", chat.temperature), ("top_p", chat.top_p)):
        if value is not None:
            lines.append(f"PARAMETER {name} {value:g}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
