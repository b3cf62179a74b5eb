"""What a person wants exported: the kind, the precisions, and the folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from core.export.k_quants import MIXES
from core.problems import ConfigError, mark
from core.runs.run_folder import Run

Kind = Literal["adapter", "merged", "gguf", "lora-gguf", "ollama"]
Dtype = Literal["bfloat16", "float16", "float32"]
Base = Literal["trained", "original"]
PRECISIONS = ("f32", "f16", "bf16", "q8_0", *MIXES)  # of GGUF files
WORDS = {  # shown with `tr`
    "adapter": mark("the adapter"),
    "merged": mark("the merged model"),
    "gguf": "GGUF",
    "ollama": mark("GGUF for Ollama"),
    "lora-gguf": mark("the LoRA as GGUF"),
}


@dataclass(frozen=True)
class Chat:
    """How a person likes to talk to the model, for a Modelfile. None leaves a value to Ollama."""

    system: str = ""
    temperature: float | None = None
    top_p: float | None = None


AS_OLLAMA_DOES = Chat()


@dataclass(frozen=True)
class Wanted:
    """What to export, and the folder to write.

    `onto` is for all that is merged, `dtype` for a merged model, and `quant` for GGUF, a file for each;
    "ollama" is GGUF with a Modelfile beside it, which has what `chat` says.
    """

    to: Kind
    out: Path
    dtype: Dtype = "bfloat16"
    onto: Base = "trained"
    quant: tuple[str, ...] = ("q8_0",)
    chat: Chat = AS_OLLAMA_DOES

    @property
    def kinds(self) -> tuple[str, ...]:
        """The precisions in which whole models are written."""
        return (self.dtype,) if self.to == "merged" else self.quant if self.to in ("gguf", "ollama") else ()


def wanted_of(
    run: Run,
    to: str,
    quant: Sequence[str] = ("q8_0",),
    dtype: str = "bfloat16",
    base: str = "trained",
    step: int | None = None,
    out: Path | None = None,
) -> Wanted:
    """What is asked for in words, in the run's default folder unless `out` is given; a precision counts once.

    Raises ConfigError for a word that there is not.
    """
    quant = tuple(dict.fromkeys(name.strip().lower() for name in quant))
    asked = [("to", to, get_args(Kind)), ("dtype", dtype, get_args(Dtype)), ("base", base, get_args(Base))]
    for option, word, known in [*asked, *(("quant", name, PRECISIONS) for name in quant)]:
        if word not in known:
            raise ConfigError(
                "There is no {word!r} for {option}; choose from {known}.",
                word=word, option=option, known=", ".join(known),
            )  # fmt: skip
    return Wanted(to, (out or default_folder(run, to, step)).resolve(), dtype, base, quant)


def default_folder(run: Run, to: Kind, step: int | None = None) -> Path:
    """Where an export goes unless a folder is given: into the run's own folder."""
    return run.folder / "exports" / (to if step is None else f"{to}-step-{step}")
