"""Conversations in the many forms of published datasets, converted to messages with role and content, and tools.

A row that cannot be converted raises TemplateError, with a few words that complete "left out:".
"""

from typing import Any

from core.data.columns.field_values import (
    CONTENT_KEYS,
    MISSING,
    as_answer,
    as_json,
    as_text,
    as_turns,
    parsed,
    speaker_key,
)
from core.data.prompts.messages import Message
from core.problems import TemplateError, mark

# The names that datasets give to the speakers; case, spaces and hyphens are ignored.
ROLE_NAMES = {
    name: role
    for role, names in {
        "system": "system developer system_prompt system_message",
        "user": "user human prompter person customer client questioner instruction question usuario 사용자 用户",
        "assistant": "assistant gpt chatgpt gpt4 gpt_4 gpt_3.5_turbo bot chatbot model ai llm bing bard "
        "claude gemini llama answer response agent asistente 어시스턴트 助手",
        "call": "function_call tool_call tool_calls",
        "tool": "tool function ipython observation function_response function_result function_output "
        "tool_response tool_result tool_results tool_output",
    }.items()
    for name in names.split()
}  # fmt: skip
OTHER_PARTS = {  # of a message, besides text; why the row is left out
    "image": mark("a message with an image"),
    "audio": mark("a message with audio"),
    "video": mark("a message with a video"),
    "file": mark("a message with a file"),
}
# The keys by which training programs mark a turn that is not trained on: with 0 or false, or else with true.
WEIGHT_KEYS = ("weight", "loss", "loss_weight", "loss_scale", "loss_mask", "train", "training", "trainable")
MASKED = "masked"


def messages_of(value: Any) -> list[Message]:
    """The messages of a conversation, each with role and content, and tool_calls if there are any.

    An assistant's message that the row excludes from training has `weight` 0. Raises TemplateError.
    """
    turns = as_turns(value)
    if turns is None:
        raise TemplateError("no messages")
    return [_message(turn) for turn in turns]


def answered(prompt: Any, answer: Any, is_chosen: bool) -> list[Message]:
    """The conversation of a prompt, which is turns or a text, and its answer, which may repeat the prompt.

    An answer that `is_chosen` takes the place of one that the prompt ends with. Raises TemplateError.
    """
    turns = as_answer(answer)
    if turns is None and not as_text(answer).strip():
        raise TemplateError("no answer")
    answer = messages_of(turns)
    first = next((message["role"] for message in answer if message["role"] != "system"), "system")
    if as_turns(prompt) is None:
        if first == "user":
            return answer
        if not as_text(prompt).strip():
            raise TemplateError("no instruction")
        return [{"role": "user", "content": as_text(prompt)}, *answer]
    asked = messages_of(prompt)
    if repeated := _repeated(asked, answer):
        return [*asked[:-repeated], *answer]
    if first == "user":  # the whole conversation in other words, perhaps without its system prompt
        return answer if answer[0]["role"] == "system" else [*_system(asked), *answer]
    while is_chosen and asked and asked[-1]["role"] == "assistant":
        asked = asked[:-1]
    return [*asked, *answer]


def _repeated(asked: list[Message], answer: list[Message]) -> int:
    """How many of the messages that end `asked` are those that begin `answer`."""

    def said(messages: list[Message]) -> list[tuple]:
        return [(message["role"], message["content"].strip(), message.get("tool_calls")) for message in messages]

    sizes = range(min(len(asked), len(answer)), 0, -1)
    return next((size for size in sizes if said(asked[-size:]) == said(answer[:size])), 0)


def _system(messages: list[Message]) -> list[Message]:
    return messages[:1] if messages[0]["role"] == "system" else []


def tools_of(value: Any) -> list[dict[str, Any]] | None:
    """The row's tools, each as {"type": "function", "function": {…}}; None if there are none.

    Raises TemplateError.
    """
    if value is MISSING or not as_text(value).strip():
        return None
    tools = parsed(value)
    tools = [tools] if isinstance(tools, dict) else tools
    if not isinstance(tools, list):
        raise TemplateError("tools that are not a list of functions")
    return [_tool(parsed(tool)) for tool in tools] or None


def _tool(tool: Any) -> dict[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise TemplateError("tools that are not a list of functions")
    # Some chat templates fail if a function does not have these two.
    filled = {"description": "", "parameters": {"type": "object", "properties": {}}}
    given = {
        key: parsed(value) if key == "parameters" else value for key, value in function.items() if value is not None
    }
    return {"type": "function", "function": {"name": given["name"], **filled, **given}}


def _message(turn: Any) -> Message:
    key = speaker_key(turn) if isinstance(turn, dict) else None
    name = turn[key] if key else None
    role = ROLE_NAMES.get(name.strip().lower().replace("-", "_").replace(" ", "_")) if isinstance(name, str) else None
    if role is None:
        raise TemplateError("a message without a known role")
    content = _content(next((turn[key] for key in CONTENT_KEYS if turn.get(key) is not None), None))
    if role == "call":
        calls = _calls(content)
        message = {"role": "assistant", "content": "" if calls else content}
    else:
        calls = _calls(turn.get("tool_calls")) or _calls(turn.get("function_call"))
        message = {"role": role, "content": content}
        if content is None and not calls and role != "assistant":
            raise TemplateError("a message whose content is not text")
        message["content"] = content or ""
    if calls:
        message["tool_calls"] = calls
    if message["role"] == "assistant" and _is_excluded(turn):
        message["weight"] = 0
    return message


def _is_excluded(turn: dict[str, Any]) -> bool:
    return any(_switch(turn.get(key)) is False for key in WEIGHT_KEYS) or _switch(turn.get(MASKED)) is True


def _switch(value: Any) -> bool | None:
    """Whether a mark is 0 or 1, false or true, also when written as text; None for anything else."""
    word = str(value).strip().lower() if isinstance(value, bool | int | float | str) else ""
    return {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}.get(word)


def _content(content: Any) -> str | None:
    """The text of a message, its parts joined. Raises TemplateError."""
    if not isinstance(content, list) or not all(isinstance(part, str | dict) for part in content):
        if isinstance(content, list):
            raise TemplateError("a message whose content is not text")
        return None if content is None else as_text(content)
    if not any(isinstance(part, dict) and ("type" in part or "text" in part) for part in content):
        return as_json(content)  # the result of a tool, as a list
    return "".join(part if isinstance(part, str) else _part(part) for part in content)


def _part(part: dict[str, Any]) -> str:
    text = next((part[key] for key in ("text", "value", "content") if isinstance(part.get(key), str)), None)
    kind = part.get("type") or "text"
    if kind not in ("text", "input_text", "output_text"):
        name = str(kind).removesuffix("_url").removeprefix("input_")
        if name in OTHER_PARTS:
            raise TemplateError(OTHER_PARTS[name])
        raise TemplateError("a message with a part that is not text: {part}", part=name)
    if text is None:
        raise TemplateError("a message whose content is not text")
    return text


def _calls(value: Any) -> list[dict[str, Any]]:
    """Tool calls as {"type": "function", "function": {"name", "arguments"}}, or [] if there are none."""
    calls = parsed(value)
    calls = [calls] if isinstance(calls, dict) else calls
    if not calls or not isinstance(calls, list):
        return []
    made = []
    for call in map(parsed, calls):
        function = (call.get("function") or call) if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
            raise TemplateError("a tool call without a name")
        arguments = next((function[key] for key in ("arguments", "parameters", "args") if key in function), {})
        arguments = parsed(arguments)  # chat templates convert them to JSON, which must not happen twice
        identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
        made.append(
            {**identity, "type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}
        )
    return made
