"""What measuring, proving and the blind test need of the lab (`core.workbench.lab`)."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from core.answering.sampling import Answer, Sampling
from core.hub_names import Token
from core.model.loaded_model import LoadedModel, ModelReport
from core.runs.adapter_ref import Pane
from core.runs.run_folder import Run


class ModelAccess(Protocol):
    """The base and adapters of runs on it, used by one piece of work at a time."""

    def choices(self) -> list[Pane]:
        """What can be used with the base that is loaded."""

    def pane_of(self, run: Run, step: int | None = None) -> Pane:
        """The adapter of a run, or of its checkpoint of `step`."""

    def load_run(self, run_id: str, token: Token = None, step: int | None = None) -> ModelReport:
        """Loads a run's base and adapter. Raises Busy, RunError and ModelError."""

    def using(self, panes: Sequence[Pane], doing: str) -> AbstractContextManager[tuple[LoadedModel, list[str | None]]]:
        """The loaded model with the panes' adapters on it, and PEFT's names for them, None for the base.

        `doing` is half a sentence for those who must wait. Raises Busy, RunError and ModelError.
        """

    def answer(
        self, panes: Sequence[Pane], conversations: Sequence[list[dict]], sampling: Sampling, doing: str
    ) -> Iterator[tuple[Answer, ...]]:
        """Yields the answers of all panes while they grow. Raises Busy, RunError, ModelError and TemplateError."""
