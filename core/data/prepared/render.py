"""The text that the model sees of a row, in pieces that are trained on or only read.

    pieces = render(row.values, shape, config, tokenizer)

The pieces joined are the whole text, including special tokens.
"""

from typing import Any

from core.data.columns.chosen_columns import template_parts
from core.data.columns.column_names import CHOSEN, plain
from core.data.columns.field_values import MISSING, as_text, lookup
from core.data.columns.open_questions import columns_by_later_roles
from core.data.columns.shape import Shape
from core.data.prepared.conversations import answered, messages_of, tools_of
from core.data.prompts.chat_template import Say, chat_pieces
from core.data.prompts.fill_in import filled_in
from core.data.prompts.marks import ends, with_bos, with_eos, within_a_text, without_bos, without_doubled_ends
from core.data.prompts.messages import Message, Pieces
from core.data.prompts.prompt_templates import TEMPLATES
from core.problems import TemplateError
from core.settings.sections import DataConfig


def render(
    values: dict[str, Any], shape: Shape, config: DataConfig, tokenizer, say: Say = lambda change: None
) -> Pieces:
    """The text of a row in pieces, each with whether it is trained on.

    An answer is one piece including its end mark, or two if only what follows certain words is trained on. `say` is
    told what the chat template made necessary to change. Raises TemplateError if there is nothing to train on.
    """
    columns, words = shape.columns, config.words_for_placeholders
    if shape.later and not values.keys() <= shape.known:
        columns = {**columns, **columns_by_later_roles(tuple(values), shape.later, tuple(columns.values()))}
    if shape.name in ("text", "columns"):
        if shape.name == "text":
            text = filled_in(_plain_text(values, columns, tokenizer), words)
        else:
            text = _filled(values, config.prompt_template, tokenizer, words)
        pieces = [(with_eos(with_bos(text, tokenizer), tokenizer), True)]
    else:
        messages, tools = within_a_text(filled_in(_messages(values, columns), words), tokenizer), None
        if "tools" in columns:
            tools = tools_of(lookup(values, columns["tools"]))
        if config.prompt_template == "chat":
            pieces = chat_pieces(messages, tokenizer, tools, say)
            if (changed := without_doubled_ends(messages, pieces)) is not None:
                pieces = chat_pieces(changed, tokenizer, tools, say)
        else:
            pieces = TEMPLATES[config.prompt_template].pieces(messages, tokenizer, tools)
    return _after_words(pieces, config.response_starts_after) if config.response_starts_after else pieces


def _plain_text(values: dict[str, Any], columns: dict[str, str], tokenizer) -> str:
    text = _field(values, columns["text"])
    if not text.strip():
        raise TemplateError("no text")
    title = _optional(values, columns, "title")
    return f"{title}\n\n{without_bos(text, tokenizer)}" if title else text


def _filled(values: dict[str, Any], template: str, tokenizer, words: dict[str, str]) -> str:
    """The template with the row's fields, in which `words` are filled in; a missing field is empty.

    Raises TemplateError if all of them are.
    """
    filled, is_empty = "", True
    for literal, column in template_parts(template):
        text = "" if column is None else filled_in(as_text(lookup(values, column)), words)
        filled += literal
        is_within = filled.strip() and not ends(filled, tokenizer)  # after an end, another text may begin
        filled += without_bos(text, tokenizer) if is_within else text
        is_empty = is_empty and not text.strip()
    if is_empty:
        raise TemplateError("no text")
    return filled


def _messages(values: dict[str, Any], columns: dict[str, str]) -> list[Message]:
    if "messages" not in columns:
        return _question_and_answer(values, columns)
    answer = _given(values, columns["messages"])
    if "prompt" in columns:
        messages = answered(_given(values, columns["prompt"]), answer, _is_chosen(columns))
    elif "instruction" in columns:
        messages = answered(_question(values, columns), answer, _is_chosen(columns))
    else:
        messages = messages_of(answer)
    if system := _optional(values, columns, "system"):
        if messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}, *messages]
        elif messages[0]["content"].strip() != system:
            messages = [{"role": "system", "content": f"{system}\n\n{messages[0]['content']}"}, *messages[1:]]
    return messages


def _is_chosen(columns: dict[str, str]) -> bool:
    return plain(columns["messages"].rpartition(".")[2]) == CHOSEN


def _question(values: dict[str, Any], columns: dict[str, str]) -> str:
    asked = [_optional(values, columns, role) for role in ("instruction", "input")]
    if not any(asked):
        _given(values, columns["instruction" if "instruction" in columns else "input"])
        raise TemplateError("no instruction")
    return "\n\n".join(part for part in asked if part)


def _question_and_answer(values: dict[str, Any], columns: dict[str, str]) -> list[Message]:
    system, question = _optional(values, columns, "system"), _question(values, columns)
    answer = _field(values, columns["answer"])
    if not answer.strip():
        raise TemplateError("no answer")
    return [
        *([{"role": "system", "content": system}] if system else []),
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]


def _given(values: dict[str, Any], column: str) -> Any:
    value = lookup(values, column)
    if value is MISSING:
        raise TemplateError("a field is missing: {column}", column=column)
    return value


def _field(values: dict[str, Any], column: str) -> str:
    return as_text(_given(values, column))


def _optional(values: dict[str, Any], columns: dict[str, str], role: str) -> str:
    return as_text(lookup(values, columns[role])).strip() if role in columns else ""


def _after_words(pieces: Pieces, words: str) -> Pieces:
    """Trains only on what follows the last occurrence of these words in each answer. Raises TemplateError."""
    made: Pieces = []
    for text, is_trained in pieces:
        head, found, tail = text.rpartition(words) if is_trained else (text, "", "")
        made += [(head + found, False), (tail, True)] if found else [(text, False)]
    if not any(is_trained and text for text, is_trained in made):
        raise TemplateError(
            'the answer does not contain the words that the response starts after: "{words}"', words=words
        )
    return [piece for piece in _joined(made) if piece[0]]


def _joined(pieces: Pieces) -> Pieces:
    """Joins neighbouring pieces that are only read."""
    joined: Pieces = []
    for text, is_trained in pieces:
        if joined and not is_trained and not joined[-1][1]:
            joined[-1] = (joined[-1][0] + text, False)
        else:
            joined.append((text, is_trained))
    return joined
