"""What can stand in a pane: the base, a run's adapter, or that of one of its checkpoints. Knows nothing of models."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Pane:
    """The base when `run_id` is empty; else that run's adapter, with `step` that of its checkpoint of this step.

    `key` is its name in forms, files and on the command line; for an adapter it is what `continue_from` takes too.
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
        """The inverse of `key`. Whether there is such a run is not asked here."""
        if key == "base":
            return BASE
        found = re.fullmatch(r"(.+)/checkpoints/step-([0-9]{1,15})", key)
        return cls(found[1], int(found[2])) if found else cls(key)


BASE = Pane()
