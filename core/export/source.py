"""What is exported: the adapter of a run or of one of its checkpoints, and the base that it was trained on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from huggingface_hub import metadata_load
from yaml import YAMLError

from core.disk.tolerant_reading import Unreadable, read_json
from core.model.adapter_kind import SETTINGS, WEIGHTS
from core.problems import RunError, mark
from core.runs.run_folder import Run
from core.settings.paths import resolve_path
from core.settings.run_config import RunConfig

LICENSE = ("license", "license_name", "license_link")  # in the metadata of a card of Hugging Face
UNREADABLE = mark("The adapter in {folder} cannot be read: {file}: {reason}.")


@dataclass(frozen=True)
class Source:
    """An adapter to export. `step` is that of the checkpoint; None for the adapter at the end of the run.

    `base_dir` holds the base as it was trained on: its files are in 4-bit, or become so when they are loaded.
    `original_dir` holds its 16-bit weights; None unless they were asked for.
    """

    run: Run
    step: int | None
    adapter_dir: Path
    base_dir: Path
    config: RunConfig
    original_dir: Path | None = None

    @cached_property
    def settings(self) -> dict:
        """The adapter's own settings, those of `adapter_config.json`. Raises RunError."""
        try:
            return read_json(self.adapter_dir / SETTINGS)
        except Unreadable as error:
            raise RunError(UNREADABLE, folder=str(self.adapter_dir), file=SETTINGS, reason=error) from None

    @property
    def weights(self) -> Path:
        """The file with the adapter's weights."""
        return self.adapter_dir / WEIGHTS

    @property
    def base_on_hub(self) -> str | None:
        """The base's name on Hugging Face; None if it is a folder on this machine."""
        name = self.config.model.model_name
        return name if resolve_path(name) is None else None

    @cached_property
    def license(self) -> dict[str, str]:
        """`license`, `license_name` and `license_link` of the base, as far as its README.md says; else empty."""
        try:
            said = metadata_load(self.base_dir / "README.md") or {}
        except (OSError, ValueError, YAMLError):  # it has none, or one that is not a card
            return {}
        return {name: said[name] for name in LICENSE if isinstance(said.get(name), str)}

    @property
    def name(self) -> str:
        """The run's id, with the step of a checkpoint."""
        return self.run.id if self.step is None else f"{self.run.id}-step-{self.step}"
