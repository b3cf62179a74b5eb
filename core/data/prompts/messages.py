"""Conversations as messages with role and content, tool calls, and which messages are trained on."""

import json
from typing import Any

from core.problems import TemplateError

Message = dict[str, Any]  # role and content; an assistant's tool_calls; weight 0 if an answer is not trained on
Tools = list[dict[str, Any]]  # each {"type": "function", "function": {"name", "description", "parameters"}}
Pieces = list[tuple[str, bool]]  # text, and whether it is trained on
ROLES = ("system", "user", "assistant", "tool")


def check_messages(messages) -> list[Message]:
    """The messages up to the last answer, after which there is nothing to train on. Raises TemplateError."""
    if not isinstance(messages, list) or not messages:
        raise TemplateError("no messages")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise TemplateError("a message without a known role")
        if not isinstance(message.get("content"), str):
            raise TemplateError("a message whose content is not text")
    count = len(messages)
    while count and not (messages[count - 1]["role"] == "assistant" and says_something(messages[count - 1])):
        count -= 1
    if not any(is_trained_on(message) for message in messages[:count]):
        raise TemplateError("no answer")
    if messages[0]["role"] == "assistant":  # a greeting before any question is not trained on
        messages = [{**messages[0], "weight": 0}, *messages[1:]]
        if not any(is_trained_on(message) for message in messages[:count]):
            raise TemplateError("an answer without a question")
    return messages[:count]


def says_something(message: Message) -> bool:
    return bool(message["content"].strip() or message.get("tool_calls"))


def is_trained_on(message: Message) -> bool:
    return message["role"] == "assistant" and says_something(message) and message.get("weight", 1) != 0


def uses_tools(messages: list[Message]) -> bool:
    return any(message["role"] == "tool" or "tool_calls" in message for message in messages)


def written_out(messages: list[Message], tools: Tools | None, tool_role: str) -> list[Message]:
    """The messages without tool_calls: tools, calls and results are JSON in the text.

    Results of tools get the role `tool_role`; if that is the user, consecutive results become one message.
    """
    converted: list[Message] = []
    if tools:
        offer = "You can call these functions. To call one, answer with its name and arguments as JSON.\n\n"
        offer += "\n".join(json.dumps(tool["function"], ensure_ascii=False, default=str) for tool in tools)
        has_system = messages[0]["role"] == "system"
        converted = [{"role": "system", "content": f"{messages[0]['content']}\n\n{offer}" if has_system else offer}]
        messages = messages[1:] if has_system else messages
    was_tool = False
    for message in messages:
        role, content = message["role"], message["content"]
        calls = [call["function"] for call in message.get("tool_calls", ())]
        parts = [content] if content.strip() or not calls else []
        parts += [
            json.dumps({key: call[key] for key in ("name", "arguments")}, ensure_ascii=False, default=str)
            for call in calls
        ]
        kept = {key: value for key, value in message.items() if key != "tool_calls"}
        if role == "tool" and was_tool and tool_role == "user":
            converted[-1] = {**converted[-1], "content": f"{converted[-1]['content']}\n\n{content}"}
        else:
            converted.append({**kept, "role": tool_role if role == "tool" else role, "content": "\n".join(parts)})
        was_tool = role == "tool"
    return converted
