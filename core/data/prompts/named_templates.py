"""Chat templates by name, for models that have none of their own.

`NAMED` has the same names as the setting `model.chat_template`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class NamedTemplate:
    """A chat template as Jinja, and its `marks`, each of which must be one token of the tokenizer."""

    jinja: str
    marks: tuple[str, ...] = ()


def _turns(before_role: str, after_role: str, end: str) -> str:
    """Every turn as its role between two texts, what is said, and `end`, which is a Jinja expression."""
    return (
        "{{- bos_token }}\n"
        "{%- for message in messages %}\n"
        f"    {{{{- '{before_role}' + message['role'] + '{after_role}' }}}}\n"
        f"    {{{{- message['content'] | trim + {end} }}}}\n"
        "{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n"
        f"    {{{{- '{before_role}assistant{after_role}' }}}}\n"
        "{%- endif %}\n"
    )


# The forms that these names stand for everywhere: OpenAI's ChatML, Llama 3's headers, and Zephyr's, whose marks are
# ordinary text between the tokenizer's own end marks.
NAMED = {
    "chatml": NamedTemplate(
        _turns("<|im_start|>", "\\n", "'<|im_end|>\\n'"),
        ("<|im_start|>", "<|im_end|>"),
    ),
    "llama-3": NamedTemplate(
        _turns("<|start_header_id|>", "<|end_header_id|>\\n\\n", "'<|eot_id|>'"),
        ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
    "zephyr": NamedTemplate(_turns("<|", "|>\\n", "eos_token + '\\n'")),
}
