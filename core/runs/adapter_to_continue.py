"""Which adapter a run continues from, by what a person wrote."""

import os
from pathlib import Path

from core.disk.gguf import gguf_in
from core.problems import RunError, mark
from core.runs.run_folder import find_run, list_runs
from core.settings.paths import resolve_path

GGUF = mark(
    "{adapter} is a GGUF file, which can be run but not trained further: continue from the "
    "adapter that it was made from, the folder with {file}."
)


def find_adapter(runs_dir: Path, wanted: str) -> Path:
    """The folder of the adapter to continue from. Raises RunError.

    `wanted` is the folder of an adapter or a checkpoint (such as RUN/checkpoints/step-100), the name of runs or of the
    preset they were started from, whose newest completed one is used, or a run's id or folder.
    """
    for folder in (resolve_path(wanted), runs_dir / wanted):
        if folder is not None and os.path.isfile(folder / "adapter_config.json"):
            return folder.resolve()
        if folder is not None and os.path.exists(folder) and gguf_in(folder):
            raise RunError(GGUF, adapter=wanted, file="adapter_model.safetensors")
    named = [run for run in list_runs(runs_dir) if wanted in (run.name, run.preset) and run.has_adapter]
    run = next((run for run in named if run.snapshot().status == "completed"), None)
    if run is None:
        try:
            run = find_run(runs_dir, wanted)
        except RunError:
            raise RunError(
                "This run continues from {wanted!r}, but there is no completed run with that name; train it first.",
                wanted=wanted,
            ) from None
    if not run.has_adapter:
        raise RunError("Run {run} has no adapter to continue from.", run=run.id)
    return run.adapter_dir
