"""Gives a tokenizer a chat template by name, and the tokens for its marks.

The embeddings of the model stay as they are: the marks take rows that it has to spare, those of tokens kept in reserve
or those behind the last token. So adapters fit onto the same base as before.
"""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from core.data.prompts.named_templates import NAMED
from core.problems import ModelError, mark
from core.settings.sections import ModelConfig

RESERVED = re.compile(r"<\|?(reserved_special_token|reserved|unused|placeholder)_?\d+\|?>")
NO_ROOM = mark(
    "{model} has no embeddings to spare for the tokens {tokens} of the chat template {name}: choose zephyr, which "
    "needs none, or a model with a chat template of its own."
)


def give_chat_template(tokenizer, config: ModelConfig, rows: int):
    """(tokenizer, ids of the tokens that are new): with the chat template that the settings name, if they name one.

    `rows` is the number of the model's embeddings. The tokenizer is changed, or replaced by another one. Raises
    ModelError if the model has no room for the template's marks.
    """
    if not config.chat_template:
        return tokenizer, ()
    template = NAMED[config.chat_template]
    missing = [token for token in template.marks if token not in tokenizer.get_vocab()]
    kept = [str(token) for _, token in sorted(tokenizer.added_tokens_decoder.items()) if _is_reserved(token)]
    if missing and len(kept) >= len(missing):
        tokenizer = _renamed(tokenizer, dict(zip(kept, missing, strict=False)))
    elif missing and len(tokenizer) + len(missing) <= rows:
        tokenizer.add_tokens(missing, special_tokens=True)
    elif missing:
        raise ModelError(
            NO_ROOM, model=config.model_name, tokens=", ".join(missing), name=config.chat_template
        )  # fmt: skip
    tokenizer.chat_template = template.jinja
    return tokenizer, tuple(tokenizer.convert_tokens_to_ids(missing))


def _is_reserved(token) -> bool:
    return token.special and RESERVED.fullmatch(token.content) is not None


def _renamed(tokenizer, names: dict[str, str]):
    """A copy in which these tokens have other names and the same ids, by way of its files."""
    with TemporaryDirectory(prefix="hearthtune-", ignore_cleanup_errors=True) as folder:
        tokenizer.save_pretrained(folder)
        for file in Path(folder).glob("*.json"):
            text = file.read_text(encoding="utf-8")
            for old, new in names.items():
                text = text.replace(json.dumps(old), json.dumps(new))
            file.write_text(text, encoding="utf-8")
        renamed = type(tokenizer).from_pretrained(folder)
    renamed.name_or_path, renamed.model_max_length = tokenizer.name_or_path, tokenizer.model_max_length
    renamed.padding_side, renamed.pad_token = tokenizer.padding_side, tokenizer.pad_token
    return renamed
