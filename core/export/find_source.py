"""Finds what is exported of a run: its adapter, and the base, which is downloaded where it is missing."""

from pathlib import Path

from core.export.source import Source
from core.hub_names import Token
from core.model.adapter_files import checked_adapter
from core.model.download import Report
from core.model.model_files import locate
from core.problems import RunError, mark, tr
from core.runs.run_folder import find_run

NO_ADAPTER = mark("Run {run} has no adapter to export yet; resume it, or choose another run.")


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
    report(tr("Looking for the base model"), None)
    base_dir = locate(config.model, token, report)
    checked_adapter(adapter_dir, base_dir, config.model)
    # In 16 bits a name of 4-bit weights stands for the repository with the 16-bit ones (`exact_name`).
    in_16bit = config.model.model_copy(update={"load_in_4bit": False})
    original_dir = locate(in_16bit, token, report) if with_original else None
    return Source(found, step, adapter_dir, base_dir, config, original_dir)
