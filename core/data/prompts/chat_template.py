"""The text of a conversation in the model's own chat template, and which parts of it are trained on.

The text before an answer is the same in training as in the prompt for an answer. The rendered text is checked: no part
of the conversation may be missing or changed.
"""

import json
from collections.abc import Callable
from typing import TypeVar

from jinja2 import TemplateError as JinjaError

from core.data.prompts.messages import Message, Pieces, Tools, check_messages, is_trained_on, uses_tools, written_out
from core.data.prompts.system_prompts import MARK, SYSTEM_MOVED, forms, has_moved, lacks_a_system_prompt
from core.problems import TemplateError, mark, tr

Span = tuple[int, int]  # start and end, in characters of a text
Say = Callable[[str], None]  # is told what had to be changed in a conversation, in words that complete "12 rows: "
Rendered = TypeVar("Rendered", str, Pieces)
MANY_MESSAGES = 48  # longer conversations are rendered in windows, because the time grows with the square
REWRITES = mark("the model's chat template rewrites earlier turns")


class _RewritesError(TemplateError):
    """The template renders turns differently once later ones follow."""


class _RefusedError(TemplateError):
    """The template does not take these messages, or leaves out a system prompt."""


def chat_prompt(messages: list[Message], tokenizer, say: Say = lambda change: None) -> str:
    """The text before the answer to these messages, as `chat_pieces` has it. Raises TemplateError."""

    def prompt(form: list[Message]) -> str:
        text = apply(tokenizer, form, add_generation_prompt=True)
        _check_system_prompts(form, text, None, tokenizer, add_generation_prompt=True)
        return text

    return _in_a_form_it_takes(messages, prompt, tokenizer, say)


def chat_pieces(messages, tokenizer, tools: Tools | None = None, say: Say = lambda change: None) -> Pieces:
    """The conversation in pieces: each answer with its end mark is trained on, the rest is only read.

    If the template does not support tools, they are written as JSON in the text; if it does not support system prompts,
    they are a part of the question. If it renders earlier turns differently once later ones follow, only the last
    answer is trained on. Raises TemplateError, also if the model has no chat template, or its template refuses the
    messages or leaves some of them out.
    """
    messages = check_messages(messages)
    if not tokenizer.chat_template:
        raise TemplateError("this model has no chat template; choose one, or the alpaca prompt")

    def pieces(messages: list[Message], tools: Tools | None) -> Pieces:
        return _in_a_form_it_takes(messages, lambda form: _pieces(form, tools, tokenizer), tokenizer, say)

    if not tools and not uses_tools(messages):
        return pieces(messages, None)
    if tools and next(message["role"] for message in messages if message["role"] != "system") != "user":
        raise TemplateError("tools in a conversation that does not begin with a question")
    if "tool_calls" in tokenizer.get_chat_template(tools=tools):
        return pieces(messages, tools)
    try:
        return pieces(written_out(messages, tools, "tool"), None)
    except TemplateError:  # the template does not have the role: the user gives the tools' results
        return pieces(written_out(messages, tools, "user"), None)


def _in_a_form_it_takes(
    messages: list[Message], render: Callable[[list[Message]], Rendered], tokenizer, say: Say
) -> Rendered:
    """What `render` makes of the conversation in the first of its `forms` that the template takes."""
    refusal = None
    for form in forms(messages, lambda: _takes_a_system_prompt(tokenizer)):
        try:
            rendered = render(form)
        except _RefusedError as error:
            refusal = error
            continue
        if has_moved(messages, form):
            say(tr(SYSTEM_MOVED))
        return rendered
    raise refusal


def _takes_a_system_prompt(tokenizer) -> bool:
    asked = [{"role": "system", "content": MARK}, {"role": "user", "content": "Hello"}]
    try:
        return MARK in apply(tokenizer, asked, add_generation_prompt=True)
    except _RefusedError:
        return False


def _pieces(messages: list[Message], tools: Tools | None, tokenizer) -> Pieces:
    try:
        every = _spans_of_many if len(messages) > MANY_MESSAGES else _spans
        text, spans = every(messages, tools, tokenizer)
    except _RewritesError:
        text, span = _answer(messages, len(messages) - 1, tools, tokenizer)
        _check_all_is_there(messages, text, 0, len(text), text[slice(*span)])
        if not is_trained_on(messages[-1]):
            raise
        spans = [span]
    _check_system_prompts(messages, text, tools, tokenizer, add_generation_prompt=False)
    if tools and any(tool["function"]["name"] not in text for tool in tools):
        raise TemplateError("the model's chat template leaves out the tools")
    pieces, at = [], 0
    for start, end in spans:
        pieces += [(text[at:start], False), (text[start:end], True)]
        at = end
    return [piece for piece in [*pieces, (text[at:], False)] if piece[0]]


def _spans(messages: list[Message], tools: Tools | None, tokenizer) -> tuple[str, list[Span]]:
    """The text of the messages, and the spans of the answers to train on. Raises TemplateError."""
    text, spans, first = "", [], 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or index == 0:
            continue
        answered, span = _answer(messages[: index + 1], index, tools, tokenizer)
        if not answered.startswith(text) or span[0] < len(text):
            raise _RewritesError(REWRITES)
        _check_all_is_there(messages[first : index + 1], answered, len(text), span[0], answered[slice(*span)])
        text, first = answered, index + 1
        if is_trained_on(message):
            spans.append(span)
    return text, spans


def _spans_of_many(messages: list[Message], tools: Tools | None, tokenizer) -> tuple[str, list[Span]]:
    """Like `_spans`, in windows: the beginning of the conversation with a part of the rest. Raises TemplateError."""
    ends = [index + 1 for index, message in enumerate(messages) if message["role"] == "assistant" and index]
    head = messages[: ends[0]]
    beginning, spans = _spans(head, tools, tokenizer)
    text, start = beginning, ends[0]
    for end in ends[1:]:
        if end - start < MANY_MESSAGES // 2 and end != ends[-1]:
            continue
        window, inside = _spans([*head, *messages[start:end]], tools, tokenizer)
        if not window.startswith(beginning):
            raise _RewritesError(REWRITES)
        shift = len(text) - len(beginning)
        spans += [(first + shift, last + shift) for first, last in inside if first >= len(beginning)]
        text, start = text + window[len(beginning) :], end
    if text != apply(tokenizer, messages, tools, add_generation_prompt=False):  # windows gave another text
        raise _RewritesError(REWRITES)
    return text, spans


def _answer(messages: list[Message], index: int, tools: Tools | None, tokenizer) -> tuple[str, Span]:
    """The text of the messages, and the span of the last one including its end mark. Raises TemplateError."""
    asked = apply(tokenizer, messages[:index], tools, add_generation_prompt=True)
    answered = apply(tokenizer, messages, tools, add_generation_prompt=False)
    if answered.startswith(asked):
        start = len(asked)
    else:
        start = _start_ignoring_spaces(messages[:index], tools, tokenizer, asked, answered)
    piece = answered[start:]
    said = _last_words(messages[index])
    # Almost always the piece begins with the answer; checking that first is much faster than searching.
    rest = piece[len(said) :] if piece.startswith(said) else piece.rpartition(said)[2]
    # A line end after the end mark, as in some templates, is not trained on: the model has stopped before it.
    return answered, (start, len(answered.rstrip()) if rest.strip() else len(answered))


def _last_words(message: Message) -> str:
    calls = message.get("tool_calls")
    return calls[-1]["function"]["name"] if calls else message["content"].strip()


def _start_ignoring_spaces(messages: list[Message], tools, tokenizer, asked: str, answered: str) -> int:
    """Where the answer begins if the text before it differs from the prompt in spaces and line ends only.

    Raises TemplateError.
    """
    plain = apply(tokenizer, messages, tools, add_generation_prompt=False)
    header = asked[len(plain) :]
    parting = next((at for at, (a, b) in enumerate(zip(asked, answered, strict=False)) if a != b), 0)
    at = answered.find(header, max(parting - len(header), 0)) + len(header)
    if not asked.startswith(plain) or "".join(asked.split()) != "".join(answered[:at].split()):
        raise _RewritesError(REWRITES)
    return at


def _check_all_is_there(messages: list[Message], text: str, start: int, end: int, piece: str) -> None:
    """Raises TemplateError if the text from start to end lacks a question, or the piece a part of the last message."""
    for message in messages[:-1]:
        if message["role"] not in ("user", "tool"):
            continue
        content = message["content"].strip()
        if text.find(content, start, end) >= 0:
            continue
        if message["role"] == "user":
            raise TemplateError("the model's chat template leaves out a question")
        if text.find(json.dumps(content, ensure_ascii=False)[1:-1], start, end) < 0:
            raise TemplateError("the model's chat template leaves out the result of a tool")
    answer = messages[-1]["content"].strip()
    if not piece.startswith(answer) and answer not in piece:
        raise TemplateError("the model's chat template leaves out a part of an answer")
    if any(call["function"]["name"] not in piece for call in messages[-1].get("tool_calls", ())):
        raise TemplateError("the model's chat template leaves out a tool call")


def _check_system_prompts(
    messages: list[Message], text: str, tools: Tools | None, tokenizer, *, add_generation_prompt: bool
) -> None:
    """Raises TemplateError if the text lacks a system prompt."""

    def render(messages: list[Message]) -> str:
        return apply(tokenizer, messages, tools, add_generation_prompt=add_generation_prompt)

    if lacks_a_system_prompt(messages, text, tokenizer.get_chat_template(tools=tools), render):
        raise _RefusedError("the model's chat template leaves out the system prompt")


def apply(tokenizer, messages: list[Message], tools: Tools | None = None, *, add_generation_prompt: bool) -> str:
    def render(tools):
        return tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
        )

    try:
        try:
            return render(tools)
        except TypeError:
            if tools:
                raise
            return render([])  # some templates loop over the tools without checking that there are any
    except MemoryError:
        raise TemplateError("the model's chat template needs more memory than there is") from None
    except (JinjaError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _RefusedError("the model's chat template says: {error}", error=str(error)) from None
