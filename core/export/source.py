"""What is exported: the adapter of a run or of one of its checkpoints, and the base that it was trained on."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from core.disk.tolerant_reading import Unreadable, read_json
from core.hub_names import Token
from core.model.adapter_files import WEIGHTS, checked_adapter
from core.model.base_names import SETTINGS
from core.model.download import Report
from core.model.model_files import locate
from core.problems import RunError
from core.runs.run_folder import Run, find_run
from core.settings.paths import resolve_path
from core.settings.run_config import RunConfig

NO_ADAPTER = "Run {run} has no adapter to export yet; resume it, or choose another run."
UNREADABLE = "The adapter in {folder} cannot be read: {file}: {reason}."


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

    @property
    def name(self) -> str:
        """The run's id, with the step of a checkpoint."""
        return self.run.id if self.step is None else f"{self.run.id}-step-{self.step}"


def find_source(
    runs_dir: Path,
    run: str,
    step: int | None = None,
    with_original: bool = False,
    token: Token = None,
    report: Report = lambda text, share: None,
) -> Source:
    """The adapter of a run, given by id or folder, and its base, which is downloaded if it is not on this machine.

    `with_original`: also the base's 16-bit weights, which are a download of their own if it was trained on 4-bit files.
    Raises RunError if there is no such run, checkpoint or adapter, and ModelError about the base or a damaged adapter.
    """
    found = find_run(runs_dir, run)
    config = found.config()
    adapter_dir = found.adapter_dir if step is None else found.checkpoint(step).folder
    if step is None and not found.has_adapter:
        raise RunError(NO_ADAPTER, run=found.id)
    report("Looking for the base model", None)
    base_dir = locate(config.model, token, report)
    checked_adapter(adapter_dir, base_dir, config.model)
    # In 16 bits a name of 4-bit weights stands for the repository with the 16-bit ones (`exact_name`).
    in_16bit = config.model.model_copy(update={"load_in_4bit": False})
    original_dir = locate(in_16bit, token, report) if with_original else None
    return Source(found, step, adapter_dir, base_dir, config, original_dir)
