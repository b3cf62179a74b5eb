from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from core.settings.sections import ModelConfig


class ModelReport(BaseModel, frozen=True):
    """What was loaded. `seconds` it took; `memory_gib` that its weights take."""

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


@dataclass
class LoadedModel:
    """A model in memory, its tokenizer, and how it came there.

    `is_pristine` until an adapter has touched it: only then may a run start on it without loading it anew.
    """

    model: Any
    tokenizer: Any
    config: ModelConfig
    report: ModelReport
    has_adapter: bool = False
    fingerprint: str | None = None  # of the base, from before any adapter was on it (`core.comparing.proof`)
    is_doubtful: bool = False  # once a proof has failed: it must not stay in use
    supports_rows: bool | None = None  # whether PEFT's pass of a row per adapter works here; None until it was tried

    @property
    def is_pristine(self) -> bool:
        return not self.has_adapter

    @property
    def device(self):
        """Where it computes. Not `model.device`, which is where its first weight lies: Unsloth's offloading checkpointing
        leaves the originals of trained embeddings in the computer's memory."""
        import torch

        return torch.device(self.report.device)

    @property
    def eos_token_ids(self) -> list[int]:
        """The tokens that end an answer."""
        ids = self.model.generation_config.eos_token_id
        ids = ids if isinstance(ids, list) else [ids]
        return sorted({i for i in (*ids, self.tokenizer.eos_token_id) if i is not None})
