"""A model in memory, and what there is to say about it."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from core.data.prompts.answer_ends import answer_ends
from core.model.library_patches.peft_parts import original
from core.settings.sections import ModelConfig


class ModelReport(BaseModel, frozen=True):
    """What was loaded, how many `seconds` that took, and how many GiB the weights take."""

    name: str
    parameters: int
    linear_layers: int
    linear_layers_4bit: int
    tied_embeddings: bool
    has_chat_template: bool
    dtype: str
    device: str
    max_seq_length: int
    memory_gib: float
    seconds: float
    chat_template: str = ""  # the name of the one that the settings gave it


@dataclass
class LoadedModel:
    """A model in memory, its tokenizer, and the settings it was loaded with."""

    model: Any
    tokenizer: Any
    config: ModelConfig
    report: ModelReport
    has_adapter: bool = False
    fingerprint: str | None = None  # of the base, before any adapter was added (`core.comparing.proof`)
    is_doubtful: bool = False  # a proof has failed: it must not be used any more
    new_ids: tuple[int, ...] = ()  # the tokens that the chat template of the settings added
    supports_rows: bool | None = None  # passes with an adapter per row work; None until that was tried

    @property
    def device(self):
        """The device it computes on.

        Not `model.device`, which is that of its first weight: Unsloth's offloading checkpointing leaves the originals
        of trained embeddings in the computer's memory.
        """
        import torch

        return torch.device(self.report.device)

    @property
    def eos_token_ids(self) -> list[int]:
        """The tokens that end an answer: those of the generation settings, the tokenizer and the chat template."""
        return end_ids(self.model.generation_config.eos_token_id, self.tokenizer)

    @property
    def embeddings(self) -> int:
        """How many tokens the model has embeddings for."""
        return embedding_rows(self.model)

    @property
    def max_seq_length(self) -> int:
        """The length in tokens that rows are cut to; a model's own limit may be below the length it was loaded with."""
        return self.report.max_seq_length

    @property
    def is_on_gpu(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True)
class TokenizerAlone:
    """What preparing rows needs of a model, under the names that `LoadedModel` has for it: its tokenizer, the tokens
    that end an answer, the number of its embeddings, if its settings say that, and whether it will be on a GPU."""

    tokenizer: Any
    eos_token_ids: list[int]
    embeddings: int | None
    config: ModelConfig
    is_on_gpu: bool

    @property
    def max_seq_length(self) -> int:
        return self.config.max_seq_length


# Whatever rows can be prepared with.
Reader = LoadedModel | TokenizerAlone


def embedding_rows(model) -> int:
    """How many tokens the model has embeddings for."""
    return len(original(model.get_input_embeddings()).weight)


def end_ids(of_model: int | list[int] | None, tokenizer) -> list[int]:
    """The tokens that end an answer: `eos_token_id` of a model's settings, the tokenizer's, and the chat template's."""
    ids = of_model if isinstance(of_model, list) else [of_model]
    known = range(len(tokenizer))  # the settings may name a token that there is not
    return sorted({i for i in (*ids, *answer_ends(tokenizer)) if type(i) is int and i in known})
