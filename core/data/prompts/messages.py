"""What a conversation is: messages with role and content, calls of tools, and what of it can be learned.

Knows nothing of templates, tokenizers, files or gradio.
"""

import json
from typing import Any

from core.problems import TemplateError

Message = dict[str, Any]  # role, content; tool_calls of an assistant; weight 0 of an answer that is not to be learned
Tools = list[dict[str, Any]]  # each {"type": "function", "function": {"name", "description", "parameters"}}
Pieces = list[tuple[str, bool]]  # text, and whether it is trained on
ROLES = ("system", "user", "assistant", "tool")


def check_messages(messages) -> list[Message]:
    """Messages up to the last answer, which is the last one that can teach anything. Raises TemplateError."""
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
    if not any(is_learned(message) for message in messages[:count]):
        raise TemplateError("no answer")
    if messages[0]["role"] == "assistant":  # a greeting that nobody asked for is only read
        messages = [{**messages[0], "weight": 0}, *messages[1:]]
        if not any(is_learned(message) for message in messages[:count]):
            raise TemplateError("an answer without a question")
    return messages[:count]


def says_something(message: Message) -> bool:
    return bool(message["content"].strip() or message.get("tool_calls"))


def is_learned(message: Message) -> bool:
    return message["role"] == "assistant" and says_something(message) and message.get("weight", 1) != 0


def uses_tools(messages: list[Message]) -> bool:
    return any(message["role"] == "tool" or "tool_calls" in message for message in messages)


def written_out(messages: list[Message], tools: Tools | None, tool_role: str) -> list[Message]:
    """The messages without tool_calls: tools, calls and what was found stand as JSON in the text.

    What a tool found is told by `tool_role`; where that is the user, findings that follow each other are one message.
    """
    made: list[Message] = []
    if tools:
        offer = "You can call these functions. To call one, answer with its name and arguments as JSON.\n\n"
        offer += "\n".join(json.dumps(tool["function"], ensure_ascii=False, default=str) for tool in tools)
        has_system = messages[0]["role"] == "system"
        made = [{"role": "system", "content": f"{messages[0]['content']}\n\n{offer}" if has_system else offer}]
        messages = messages[has_system:]
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
            made[-1] = {**made[-1], "content": f"{made[-1]['content']}\n\n{content}"}
        else:
            made.append({**kept, "role": tool_role if role == "tool" else role, "content": "\n".join(parts)})
        was_tool = role == "tool"
    return made
