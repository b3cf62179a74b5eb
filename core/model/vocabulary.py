"""Tokens that a tokenizer has and its model has not.

Tokens that were added to a tokenizer, but not to the embeddings of the model, have no row there.
"""

from collections.abc import Iterable

from core.model.loaded_model import LoadedModel, embedding_rows
from core.problems import ModelError, mark

NO_EMBEDDING = mark(
    "The prompt has the token {token:.40} ({id:,}), but {model} has only {rows:,} embeddings: leave the token out, or "
    "add it to the model as well (resize_token_embeddings)."
)


def check_prompts(loaded: LoadedModel, prompts: Iterable[Iterable[int]]) -> None:
    """Raises ModelError when one of the prompts, given as token ids, has a token without an embedding."""
    rows = loaded.embeddings
    for ids in prompts:
        highest = max(ids, default=0)
        if highest >= rows:
            tokenizer = loaded.tokenizer
            token = tokenizer.decode([highest]).strip() or str(tokenizer.convert_ids_to_tokens(highest))
            raise ModelError(NO_EMBEDDING, token=token, id=highest, model=loaded.report.name, rows=rows)


def make_padding_usable(model, tokenizer) -> None:
    """Gives the tokenizer another token for padding, which is never looked at, if it has none that the model knows."""
    rows = embedding_rows(model)
    known = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id, 0)
    usable = next(id for id in known if id is not None and id < rows)
    if usable != tokenizer.pad_token_id:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(usable)
