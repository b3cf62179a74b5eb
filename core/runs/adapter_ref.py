"""What a pane can show: the base, a run's adapter, or the adapter of one of its checkpoints."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Pane:
    """The base if `run_id` is empty; else the adapter of that run, or of its checkpoint at `step`.

    `key` is its name in forms, files and on the command line; an adapter's key can also be used as `continue_from`.
    """

    run_id: str = ""
    step: int | None = None

    @property
    def is_base(self) -> bool:
        return not self.run_id

    @property
    def key(self) -> str:
        if self.is_base:
            return "base"
        return self.run_id if self.step is None else f"{self.run_id}/checkpoints/step-{self.step}"

    @classmethod
    def from_key(cls, key: str) -> "Pane":
        """The inverse of `key`. Does not check that the run exists."""
        if key == "base":
            return BASE
        found = re.fullmatch(r"(.+)/checkpoints/step-([0-9]{1,15})", key)
        return cls(found[1], int(found[2])) if found else cls(key)


BASE = Pane()
