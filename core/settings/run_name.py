"""What a run is called until a person gives it a name, and what it does in one line."""

import re

from core.problems import tr, trn
from core.settings.paths import last_part

PART_CHARACTERS = 40  # of the name of a model or of a file of rows; the rest is left out
# How the weights are stored is a setting, not a part of the model's name; and all Llamas are Meta's.
_NOT_SHOWN = re.compile(r"^Meta-(?=Llama)|(-unsloth)?-bnb-4bit$", re.IGNORECASE)
_SIZE = re.compile(r"[0-9.]+[bm]")


def run_name(model_name: str, path: str, steps: int, epochs: float) -> str:
    """A run's model, rows and length: "Llama 3.2 1B Instruct · reviews.csv · 60 steps".

    `path` is that of the rows; the `epochs` count if there are no `steps` (below 1). The name is kept with the run: it
    stays in the language of the program that started it.
    """
    name = " · ".join((_model(model_name), _rows(path), _length(steps, epochs)))
    return name.encode("utf-8", "replace").decode()  # a file's name may hold half of a surrogate pair


def run_summary(model_name: str, path: str, rank: int, steps: int, epochs: float) -> str:
    """What a run does, in the person's language: "Demo Llama on yoda.jsonl · rank 16 · 160 steps".

    The arguments are as for `run_name`.
    """
    values = {"model": _model(model_name), "rows": _rows(path), "rank": rank, "length": _length(steps, epochs)}
    return tr("{model} on {rows} · rank {rank:,} · {length}", **values)


def _model(name: str) -> str:
    """Llama 3.2 1B Instruct, of unsloth/Llama-3.2-1B-Instruct-bnb-4bit."""
    words = re.split(r"[-_\s]+", _NOT_SHOWN.sub("", last_part(name)))
    shown = " ".join(word.upper() if _SIZE.fullmatch(word) else word[:1].upper() + word[1:] for word in words)
    return _cut(shown.strip() or name)


def _rows(path: str) -> str:
    """reviews.csv, or the last part of a name on Hugging Face; and how many more files there are."""
    first, *others = [line.strip() for line in path.splitlines() if line.strip()]
    first = _cut(last_part(first) or first)
    return tr("{first} + {count} more", first=first, count=len(others)) if others else first


def _length(steps: int, epochs: float) -> str:
    if steps > 0:
        return trn("{count:,} step", "{count:,} steps", steps)
    return tr("{epochs:g} epoch", epochs=1) if epochs == 1 else tr("{epochs:g} epochs", epochs=epochs)


def _cut(text: str) -> str:
    return text if len(text) <= PART_CHARACTERS else f"{text[: PART_CHARACTERS - 1]}…"
