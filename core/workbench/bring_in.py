"""Makes a run of an adapter that was trained elsewhere, so that it can be compared, measured and exported."""

import json
import shutil
from pathlib import Path
from typing import get_args

from core.disk.tolerant_reading import Unreadable, read_json
from core.hub_names import Token, is_hub_name
from core.model.adapter_files import SMALL_FILES, checked_adapter
from core.model.adapter_kind import SETTINGS, WEIGHTS
from core.model.base_names import base_name
from core.model.download import Report, download
from core.model.model_files import locate
from core.problems import RunError, mark, tr
from core.runs.events import StatusChanged
from core.runs.run_folder import Run, create_run
from core.settings.paths import is_path, resolve_path
from core.settings.run_config import RunConfig
from core.settings.sections import AdapterConfig

NOT_THERE = mark("There is no folder or repository {name}; give an adapter's folder, or its name on Hugging Face.")
NO_ADAPTER = mark("{name} is not an adapter: it has no readable {file}; give the folder that PEFT saved.")
NO_BASE = mark("The adapter in {name} does not say what model it is for; give that with --base.")
# The settings of the adapter that a run has as well; others, such as patterns of ranks, are in its own file.
SHARED = ("r", "lora_alpha", "use_rslora", "use_dora", "lora_dropout")


def bring_in(
    runs_dir: Path,
    name: str,
    base: str | None = None,
    token: Token = None,
    report: Report = lambda text, share: None,
    revision: str | None = None,
) -> Run:
    """A new, completed run with a copy of the adapter `name`: a folder, or a repository on Hugging Face.

    `base` is the model it is for, if that is not the one that it names; `revision` a branch, tag or commit of the
    repository. Raises RunError, ModelError about base or adapter, and ConfigError about settings of the adapter that a
    run cannot have; nothing is left behind then.
    """
    folder = _folder(name, revision, token, report)
    try:
        settings = read_json(folder / SETTINGS)
    except Unreadable:
        raise RunError(NO_ADAPTER, name=name, file=SETTINGS) from None
    made_for = base or base_name(settings.get("base_model_name_or_path"), folder)
    if not isinstance(made_for, str) or not made_for:
        raise RunError(NO_BASE, name=name)
    config = _config(made_for, settings, has_template=(folder / "chat_template.jinja").is_file())
    place = tr("{name} at {revision}", name=name, revision=revision) if revision else name
    report(tr("Looking for the base model"), None)
    base_dir = locate(config.model, token, report)
    run = create_run(runs_dir, Path(name).name, config)
    try:
        run.adapter_dir.mkdir()
        for file in {folder / WEIGHTS, *(file for pattern in SMALL_FILES for file in folder.glob(pattern))}:
            if file.is_file():
                shutil.copyfile(file, run.adapter_dir / file.name)
        about = json.dumps(settings | {"base_model_name_or_path": made_for, "revision": None}, indent=2)
        (run.adapter_dir / SETTINGS).write_text(about + "\n", encoding="utf-8")
        checked_adapter(run.adapter_dir, base_dir, config.model)
        run.append(StatusChanged(status="completed", message=tr("Brought in from {place}.", place=place)))
    except BaseException as error:  # Ctrl-C too
        shutil.rmtree(run.folder, ignore_errors=True)
        if not isinstance(error, OSError):
            raise
        raise RunError(
            "The adapter cannot be copied to {folder}: {reason}.", folder=str(runs_dir), reason=error.strerror or error
        ) from None
    return run


def _folder(name: str, revision: str | None, token: Token, report: Report) -> Path:
    """The adapter's folder, downloaded if `name` is a repository. Raises RunError and ModelError."""
    folder = resolve_path(name)
    if folder is not None and folder.is_dir():
        return folder
    if is_path(name) or not is_hub_name(name):
        raise RunError(NOT_THERE, name=name)
    return Path(download(name, revision, token, report, False, True))


def _config(base: str, settings: dict, has_template: bool) -> RunConfig:
    """The settings of the run, as far as the adapter's own say. Raises ConfigError."""
    adapter = {name: settings[name] for name in SHARED if settings.get(name) is not None}
    for name in ("target_modules", "modules_to_save"):
        given = settings.get(name)
        names = [part.rpartition(".")[2] for part in given if isinstance(part, str)] if isinstance(given, list) else []
        (choices,) = get_args(AdapterConfig.model_fields[name].annotation)
        adapter[name] = [part for part in names if part in get_args(choices)]
    if not adapter["target_modules"]:
        del adapter["target_modules"]
    # What it was trained on is not known, so there are no validation rows either.
    data = {"prompt_template": "chat" if has_template else "alpaca", "validation_share": 0.0}
    return RunConfig.build({"model": {"model_name": base}, "adapter": adapter, "data": data})
