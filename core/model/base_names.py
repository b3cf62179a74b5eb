"""Whether an adapter was made for a model, also where its settings name the model by a place on some machine's disk.

PEFT writes the folder that the base was loaded from: for a model of the hub that is a snapshot in a cache, of this
machine or of another.
"""

import re
from contextlib import suppress
from pathlib import Path, PureWindowsPath

from core.disk.tolerant_reading import Unreadable, read_json, read_text
from core.hub_names import exact_name, is_hub_name
from core.model.adapter_kind import SETTINGS
from core.problems import ConfigError
from core.settings.paths import resolve_path
from core.settings.run_config import RunConfig
from core.settings.sections import ModelConfig

MOST_ADAPTERS = 8  # that each name the one before as their base
# Of a hub's cache; an owner's or a model's own name never contains two hyphens in a row.
_SNAPSHOT = re.compile(r"(?:^|[/\\])models--([^/\\]+)[/\\]snapshots[/\\][^/\\]+[/\\]*$")


def base_name(named: object, adapter_dir: Path) -> object:
    """The model that the settings of the adapter in `adapter_dir` mean by `named`: a name on the hub, or a folder.

    What is not text is returned as it is. So is a place that is unknown here, unless the adapter is in a run's folder:
    then its model is that of the run.
    """
    for _ in range(MOST_ADAPTERS):
        if not isinstance(named, str) or not named:
            return named
        if repository := _repository_of(named):
            return repository
        folder = resolve_path(named)
        if is_hub_name(named) and folder is None:
            return named
        if folder is not None and (folder / "config.json").is_file():
            return named
        if folder is None or not (folder / SETTINGS).is_file():
            return _model_of_the_run(adapter_dir) or named
        try:  # another adapter, which was trained further
            named, adapter_dir = read_json(folder / SETTINGS).get("base_model_name_or_path"), folder
        except Unreadable:
            return named
    return named


def is_for(name: str, config: ModelConfig) -> bool:
    """Whether `name`, as `base_name` gives it, is the model of these settings, in whatever form its path is written."""
    exact = exact_name(config.model_name, config.load_in_4bit)
    if name in (config.model_name, exact, _repository_of(config.model_name)):
        return True
    ours, theirs = resolve_path(config.model_name), resolve_path(name)
    if ours is None or theirs is not None:
        return ours is not None and ours == theirs
    # The path of another machine, which may be Windows: it ends in the relative path that the settings have.
    relative, parts = PureWindowsPath(config.model_name), PureWindowsPath(name).parts
    return not relative.anchor and len(relative.parts) > 1 and parts[-len(relative.parts) :] == relative.parts


def _repository_of(path: str) -> str:
    """The name on the hub of a snapshot in a cache; empty for any other path or name."""
    found = _SNAPSHOT.search(path)
    return found[1].replace("--", "/") if found else ""


def _model_of_the_run(adapter_dir: Path) -> str | None:
    """The model of the run that this adapter, or the checkpoint that it is part of, belongs to; None without a run."""
    for folder in (adapter_dir.parent, adapter_dir.parent.parent):
        with suppress(Unreadable, ConfigError):
            return RunConfig.from_yaml(read_text(folder / "config.yaml")).model.model_name
    return None
