"""A tokenizer as the metadata of a GGUF file.

GGUF knows two kinds: byte-level BPE ("gpt2"), which splits text by one of llama.cpp's named patterns, and
SentencePiece's BPE ("llama"). What neither can hold is refused by name, because a file with it would cut text into
other tokens than the model learned.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.problems import ExportError, mark

# llama.cpp's names of the patterns that byte-level BPE splits text by; from tokenizer.json of the models themselves.
SPLITS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+": "llama-bpe",
}
SPACE = "\u2581"  # in place of a space, in SentencePiece's vocabularies
NORMALIZER = mark(
    "A GGUF file cannot hold this tokenizer: it changes text before splitting it ({what:.80}); export an adapter or a "
    "merged model instead."
)
OTHER_SPLIT = mark(
    "A GGUF file cannot hold this tokenizer: llama.cpp has no name for the way it splits text ({what:.80}); export an "
    "adapter or a merged model instead."
)
OTHER_KIND = mark(
    "A GGUF file cannot hold this tokenizer: it is of the kind {what:.80}, and only BPE can be exported; export an "
    "adapter or a merged model instead."
)


@dataclass(frozen=True)
class Vocabulary:
    """The tokens by id, with their kinds (gguf.TokenType), and what splits and merges text.

    `model` is "gpt2" or "llama". `pre` is the name of the pattern, and `merges` are pairs of tokens joined by a space,
    both for "gpt2"; `scores` are for "llama", where the highest is merged first.
    """

    model: str
    tokens: list[str]
    kinds: list[int]
    pre: str = "default"
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    add_space_prefix: bool = False
    add_bos: bool = False


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The vocabulary of the tokenizer.json in `folder`, filled up to the model's `size` embeddings.

    Raises ExportError if GGUF has no form for it.
    """
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = saved["model"]
    if model.get("type") != "BPE":
        raise ExportError(OTHER_KIND, what=model.get("type"))
    tokens, kinds = _tokens(saved, size)
    merges = tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])
    add_bos = any("SpecialToken" in step for step in _single(saved.get("post_processor") or {}))
    if model.get("byte_fallback"):
        return Vocabulary(
            "llama",
            tokens,
            kinds,
            scores=_scores(tokens, merges),
            add_space_prefix=_puts_a_space_first(saved),
            add_bos=add_bos,
        )
    if saved.get("normalizer"):
        raise ExportError(NORMALIZER, what=_kinds_in(saved["normalizer"]))
    return Vocabulary("gpt2", tokens, kinds, pre=_split(saved), merges=merges, add_bos=add_bos)


def _tokens(saved: dict, size: int) -> tuple[list[str], list[int]]:
    """Each token's text and kind by id; an id without a token is unused."""
    from gguf import TokenType

    tokens = [f"[PAD{number}]" for number in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    unknown, has_bytes = saved["model"].get("unk_token"), saved["model"].get("byte_fallback")
    for text, number in saved["model"]["vocab"].items():
        is_byte = has_bytes and len(text) == 6 and text.startswith("<0x")
        kind = TokenType.BYTE if is_byte else TokenType.UNKNOWN if text == unknown else TokenType.NORMAL
        tokens[number], kinds[number] = text, int(kind)
    for added in saved.get("added_tokens") or ():
        number, text = added["id"], added["content"]
        tokens[number] = text
        if kinds[number] != TokenType.UNKNOWN:
            kinds[number] = int(TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
    return tokens, kinds


def _scores(tokens: list[str], merges: tuple[str, ...]) -> tuple[float, ...]:
    """SentencePiece merges the pair with the highest score first: minus the place of its merge in tokenizer.json."""
    rank: dict[str, int] = {}
    for place, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        rank.setdefault(left + right, place)
    return tuple(-float(rank.get(token, len(merges))) for token in tokens)


def _puts_a_space_first(saved: dict) -> bool:
    """Whether text begins with a space, as far as the model sees. Raises ExportError for any other change of text."""
    found = False
    for step in (*_steps(saved.get("normalizer")), *_steps(saved.get("pre_tokenizer"))):
        if step["type"] == "Prepend" and step["prepend"] == SPACE:
            found = True
        elif step["type"] == "Metaspace" and step.get("replacement", SPACE) == SPACE:
            found = found or step.get("prepend_scheme", "always") != "never"
        elif step["type"] == "Split" and step["pattern"] == {"String": " "}:
            continue  # there are no spaces any more
        elif step["type"] != "Replace" or step["pattern"] != {"String": " "} or step["content"] != SPACE:
            raise ExportError(NORMALIZER, what=step["type"])
    return found


def _split(saved: dict) -> str:
    """llama.cpp's name of the pattern. Raises ExportError if it has none."""
    steps = _steps(saved.get("pre_tokenizer"))
    patterns = [step["pattern"].get("Regex", "") for step in steps if step["type"] == "Split"]
    if len(steps) == 2 and steps[1]["type"] == "ByteLevel" and patterns and patterns[0] in SPLITS:
        return SPLITS[patterns[0]]
    raise ExportError(OTHER_SPLIT, what=" ".join(patterns) or _kinds_in(saved.get("pre_tokenizer")))


def _steps(part: dict | None) -> list[dict]:
    """The steps of a normalizer or pre-tokenizer, in order."""
    if not part:
        return []
    return part.get("normalizers") or part.get("pretokenizers") or [part]


def _single(part: dict) -> Iterator[dict]:
    """What a post-processor puts around one text, in order."""
    for step in part.get("processors") or [part]:
        yield from step.get("single") or ()


def _kinds_in(part: dict | None) -> str:
    return ", ".join(dict.fromkeys(step["type"] for step in _steps(part)))
