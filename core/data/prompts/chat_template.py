"""By a model's own chat template: the text of a conversation, and which parts of it are trained on.

Knows nothing of files, models or gradio. What the template shows before an answer in training is what it shows when it
asks for one; that nothing of a conversation is lost or shown in another way is checked on the text itself.
"""

import json

from jinja2 import TemplateError as JinjaError

from core.data.prompts.messages import Message, Pieces, Tools, check_messages, is_learned, uses_tools, written_out
from core.problems import TemplateError

Span = tuple[int, int]  # from and to, in characters of a text
MANY_MESSAGES = 48  # beyond this a conversation is rendered in windows, or its cost would grow with its square
REWRITES = "the model's chat template rewrites earlier turns"


class _RewritesError(TemplateError):
    """Turns that the template shows in another way once later ones follow."""


def chat_pieces(messages, tokenizer, tools: Tools | None = None) -> Pieces:
    """By the model's own chat template: each answer with its end mark is trained on, all else is only read.

    A template that knows no tools gets them written out as JSON. Where a template shows earlier turns in another way
    once later ones follow, only the last answer is trained on. Raises TemplateError, also when the model has no
    template, or when its template refuses the messages or leaves some of them out.
    """
    messages = check_messages(messages)
    if not tokenizer.chat_template:
        raise TemplateError("this model has no chat template, so choose the alpaca prompt")
    if not tools and not uses_tools(messages):
        return _pieces(messages, None, tokenizer)
    if tools and next(message["role"] for message in messages if message["role"] != "system") != "user":
        raise TemplateError("tools in a conversation that does not begin with a question")
    if "tool_calls" in tokenizer.get_chat_template(tools=tools):
        return _pieces(messages, tools, tokenizer)
    try:
        return _pieces(written_out(messages, tools, "tool"), None, tokenizer)
    except TemplateError:  # no such role there: what a tool found is then told by the user
        return _pieces(written_out(messages, tools, "user"), None, tokenizer)


def _pieces(messages: list[Message], tools: Tools | None, tokenizer) -> Pieces:
    try:
        every = _spans_of_many if len(messages) > MANY_MESSAGES else _spans
        text, spans = every(messages, tools, tokenizer)
    except _RewritesError:
        text, span = _answer(messages, len(messages) - 1, tools, tokenizer)
        _check_all_is_there(messages, text, 0, len(text), text[slice(*span)])
        if not is_learned(messages[-1]):
            raise
        spans = [span]
    if any(message["role"] == "system" and message["content"].strip() not in text for message in messages):
        raise TemplateError("the model's chat template leaves out the system prompt")
    if tools and any(tool["function"]["name"] not in text for tool in tools):
        raise TemplateError("the model's chat template leaves out the tools")
    pieces, at = [], 0
    for start, end in spans:
        pieces += [(text[at:start], False), (text[start:end], True)]
        at = end
    return [piece for piece in [*pieces, (text[at:], False)] if piece[0]]


def _spans(messages: list[Message], tools: Tools | None, tokenizer) -> tuple[str, list[Span]]:
    """The text of the messages, and where the answers to be learned stand in it. Raises TemplateError."""
    text, spans, first = "", [], 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or index == 0:
            continue
        answered, span = _answer(messages[: index + 1], index, tools, tokenizer)
        if not answered.startswith(text) or span[0] < len(text):
            raise _RewritesError(REWRITES)
        _check_all_is_there(messages[first : index + 1], answered, len(text), span[0], answered[slice(*span)])
        text, first = answered, index + 1
        if is_learned(message):
            spans.append(span)
    return text, spans


def _spans_of_many(messages: list[Message], tools: Tools | None, tokenizer) -> tuple[str, list[Span]]:
    """The same in windows: the beginning of the conversation with a part of what follows. Raises TemplateError."""
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
        spans += [(a + shift, b + shift) for a, b in inside if a >= len(beginning)]
        text, start = text + window[len(beginning) :], end
    if text != apply(tokenizer, messages, tools, add_generation_prompt=False):  # the proof that windows may be used
        raise _RewritesError(REWRITES)
    return text, spans


def _answer(messages: list[Message], index: int, tools: Tools | None, tokenizer) -> tuple[str, Span]:
    """The text of the messages, and where the last of them stands in it, end mark included. Raises TemplateError."""
    asked = apply(tokenizer, messages[:index], tools, add_generation_prompt=True)
    answered = apply(tokenizer, messages, tools, add_generation_prompt=False)
    if answered.startswith(asked):
        start = len(asked)
    else:
        start = _start_beside_spaces(messages[:index], tools, tokenizer, asked, answered)
    piece = answered[start:]
    said = _last_words(messages[index])
    # Nearly always the piece begins with the answer, which is seen much faster than it is found.
    rest = piece[len(said) :] if piece.startswith(said) else piece.rpartition(said)[2]
    # The line end that some templates put after the end mark is read, not learned: there the model has stopped.
    return answered, (start, len(answered.rstrip()) if rest.strip() else len(answered))


def _last_words(message: Message) -> str:
    calls = message.get("tool_calls")
    return calls[-1]["function"]["name"] if calls else message["content"].strip()


def _start_beside_spaces(messages: list[Message], tools, tokenizer, asked: str, answered: str) -> int:
    """Where the answer begins although its question is not shown quite the same, in spaces and line ends alone.

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
    """That what was asked stands in the text between start and end, and the last message in its piece.

    Raises TemplateError.
    """
    for message in messages[:-1]:
        if message["role"] not in ("user", "tool"):
            continue
        content = message["content"].strip()
        if text.find(content, start, end) >= 0:
            continue
        if message["role"] == "user":
            raise TemplateError("the model's chat template leaves out a question")
        if text.find(json.dumps(content, ensure_ascii=False)[1:-1], start, end) < 0:
            raise TemplateError("the model's chat template leaves out what a tool found")
    answer = messages[-1]["content"].strip()
    if not piece.startswith(answer) and answer not in piece:
        raise TemplateError("the model's chat template leaves out a part of an answer")
    if any(call["function"]["name"] not in piece for call in messages[-1].get("tool_calls", ())):
        raise TemplateError("the model's chat template leaves out a tool call")


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
            return render([])  # a template that goes through the tools without asking whether there are any
    except MemoryError:
        raise TemplateError("the model's chat template asks for more memory than there is") from None
    except (JinjaError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise TemplateError(f"the model's chat template says: {error}") from None
