"""What a probe measured, and for which settings."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field, field_validator

from core.memory.hardware import Machine
from core.memory.parts import FORMULAS, PARTS, Estimate
from core.settings.run_config import RunConfig

# The settings that memory depends on.
_NAMES = (
    "model.max_seq_length",
    "model.dtype",
    "model.load_in_4bit",
    "adapter.r",
    "adapter.target_modules",
    "adapter.modules_to_save",
    "adapter.trainable_tokens",
    "training.per_device_train_batch_size",
    "training.optim",
    "training.use_gradient_checkpointing",
    "training.packing",
)
# For these, memory depends only on whether they are above a value.
_ABOVE = {"adapter.lora_dropout": 0, "training.gradient_accumulation_steps": 1}


class ProbeRecord(BaseModel, frozen=True):
    """One probe. `machine` and `total_gib` are as in `core.memory.hardware.Machine`, `model` is `ModelConfig.base`.

    `settings` are those that memory depends on (`memory_settings`), `length` is the number of tokens in each row of the
    probe. `estimate` is the uncorrected estimate for exactly that; `peak_gib` compares with its `comparable_gib`.
    `steps` is the number of steps of a whole run with these settings, 0 if unknown. `at` is the time in ISO 8601.
    `formulas` is the `core.memory.parts.FORMULAS` of the estimate, 0 from before there was such a number.
    """

    machine: str
    total_gib: float = Field(gt=0, lt=1e6, allow_inf_nan=False)
    model: tuple[str | bool | None, ...]
    settings: dict[str, Any]
    length: int = Field(ge=1, le=10**7)
    estimate: Estimate
    formulas: int = 0
    peak_gib: float = Field(gt=0, lt=1e6, allow_inf_nan=False)
    seconds_per_step: float = Field(ge=0, lt=1e9, allow_inf_nan=False)
    steps: int = Field(0, ge=0, le=10**9)
    at: str = Field(default_factory=lambda: datetime.now().isoformat(timespec="seconds"))

    @field_validator("estimate")
    @classmethod
    def _has_all_parts(cls, found: Estimate) -> Estimate:
        if found.parts.keys() != PARTS.keys():
            raise ValueError("the estimate has other parts")
        return found

    def is_of(self, machine: Machine, config: RunConfig) -> bool:
        """Whether it was made on this machine with this model, and with the current formulas."""
        is_here = self.machine == machine.name and abs(self.total_gib - machine.total_gib) < 0.5
        # The error of older formulas says nothing about the current ones.
        return is_here and self.model == config.model.base and self.formulas == FORMULAS


def memory_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that a run's memory depends on, by dotted name, as plain values that survive JSON."""
    values = config.model_dump(mode="json")

    def value(name: str) -> Any:
        part, _, field = name.partition(".")
        found = values[part].get(field)
        return sorted(found) if isinstance(found, list) else found

    above = {f"{name} > {bound}": value(name) > bound for name, bound in _ABOVE.items()}
    dora = {"adapter.use_dora": True} if config.adapter.use_dora else {}  # older records do not have it
    return {name: value(name) for name in _NAMES} | above | dora
