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

    `path` is that of the rows; the `epochs` count if there are no `steps` (below 1). The name is kept with the run, so
    it is in English, whatever the person's language.
    """
    first, others = _rows(path)
    rows = f"{first} + {others} more" if others else first
    length = _plural(steps, f"{steps:,} step") if steps > 0 else _plural(epochs, f"{epochs:g} epoch")
    name = " · ".join((_model(model_name), rows, length))
    return name.encode("utf-8", "replace").decode()  # a file's name may hold half of a surrogate pair


def run_summary(model_name: str, path: str, rank: int, steps: int, epochs: float) -> str:
    """What a run does, in the person's language: "Demo Llama on yoda.jsonl · rank 16 · 160 steps".

    The arguments are as for `run_name`.
    """
    first, others = _rows(path)
    rows = tr("{first} + {count} more", first=first, count=others) if others else first
    if steps > 0:
        length = trn("{count:,} step", "{count:,} steps", steps)
    else:
        length = tr("{epochs:g} epoch", epochs=1) if epochs == 1 else tr("{epochs:g} epochs", epochs=epochs)
    values = {"model": _model(model_name), "rows": rows, "rank": rank, "length": length}
    return tr("{model} on {rows} · rank {rank:,} · {length}", **values)


def _model(name: str) -> str:
    """Llama 3.2 1B Instruct, of unsloth/Llama-3.2-1B-Instruct-bnb-4bit."""
    words = re.split(r"[-_\s]+", _NOT_SHOWN.sub("", last_part(name)))
    shown = " ".join(word.upper() if _SIZE.fullmatch(word) else word[:1].upper() + word[1:] for word in words)
    return _cut(shown.strip() or name)


def _rows(path: str) -> tuple[str, int]:
    """reviews.csv, or the last part of a name on Hugging Face; and how many more files there are."""
    first, *others = [line.strip() for line in path.splitlines() if line.strip()]
    return _cut(last_part(first) or first), len(others)


def _plural(number: float, words: str) -> str:
    return words if number == 1 else f"{words}s"


def _cut(text: str) -> str:
    return text if len(text) <= PART_CHARACTERS else f"{text[: PART_CHARACTERS - 1]}…"
