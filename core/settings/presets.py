"""Presets: named RunConfigs, one YAML file each in `presets/`, and those of one's own in the folder of the runs.

A preset file has a `title`, a `description` and a `card` (the graphics card it is meant for), followed by the settings
that differ from the defaults, under the same names as in `core.settings.run_config`.
"""

import logging
import os
import re
from pathlib import Path

import yaml
from pydantic import BaseModel

from core.disk.atomic import ASIDE, write_whole
from core.disk.tolerant_reading import Unreadable, in_words, read_text
from core.problems import ConfigError, mark, tr
from core.settings.paths import PRESETS_DIR
from core.settings.plain_yaml import parse_yaml
from core.settings.run_config import RunConfig, flatten

DEMO = "demo-yoda"
DEMO_TIME = mark("about a minute")  # to train it on two processor cores, as the page says it everywhere
FIRST_ON_A_GPU = "llama-3.2-1b"
ABOUT = ("title", "description", "card")  # what describes a preset; all else in its file is settings
TITLE_CHARACTERS = 60


class Preset(BaseModel):
    """A named, saved RunConfig. `name` is the file's name without `.yaml`; `card` is the hardware it needs.

    `is_own`: it does not come with the program.
    """

    name: str
    title: str
    description: str
    card: str
    config: RunConfig
    is_own: bool = False


def read_preset(path: Path) -> Preset:
    """Raises ConfigError, which names the file, when it is not a preset."""
    try:
        values = parse_yaml(read_text(path))
        if not isinstance(values, dict):
            raise ConfigError("This file has no settings.")
        about = {key: str(values.pop(key, "") or "") for key in ABOUT}
        about["title"] = about["title"] or path.stem
        is_own = path.resolve().parent != PRESETS_DIR
        if not is_own:
            about = {key: tr(text) for key, text in about.items()}
        return Preset(name=path.stem, **about, config=RunConfig.build(values), is_own=is_own)
    except Unreadable as error:
        raise ConfigError("{file:.80} cannot be read: {reason}.", file=path.name, reason=error) from None
    except ConfigError as error:
        raise ConfigError("{file:.80}: {reason}", file=path.name, reason=error) from None


def list_presets(runs_dir: Path | None = None) -> list[Preset]:
    """All presets: the demo first, then Llamas and other models, by name, and then those that a person saved beside the
    runs in `runs_dir`, by title. A damaged one is skipped, and the log says why."""
    presets = []
    for path in _files(runs_dir):
        try:
            presets.append(read_preset(path))
        except ConfigError as error:
            logging.getLogger(__name__).warning("A preset was skipped: %s", error)
    return sorted(presets, key=_place)


def _place(preset: Preset) -> tuple[bool, bool, bool, str]:
    if preset.is_own:
        return True, False, False, preset.title.casefold()
    is_llama = "llama" in preset.config.model.model_name.lower()
    return False, preset.name != DEMO, not is_llama, preset.name


def find_preset(name: str, runs_dir: Path | None = None) -> Preset:
    """The preset with that name, or the one in that YAML file. Raises ConfigError."""
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return read_preset(Path(name))
    for path in _files(runs_dir):
        if path.stem == name:
            return read_preset(path)
    known = ", ".join(preset.name for preset in list_presets(runs_dir))
    raise ConfigError("There is no preset {name!r:.80}; the presets are {known}.", name=name, known=known)


def left_over(config: RunConfig, chosen: Preset, better: Preset) -> list[str]:
    """The settings, by dotted name, that still are those of the preset `chosen`, where `better`, for another model, has
    others. The rows are the person's own choice, and so are the prompts answered during training."""
    now, before, after = (flatten(each) for each in (config, chosen.config, better.config))
    return [name for name in now if not _is_of_rows(name) and now[name] == before[name] != after[name]]


def with_settings_of(config: RunConfig, better: Preset) -> RunConfig:
    """The settings of `better`, with the rows of `config`."""
    kept, values = flatten(config), better.config.model_dump()
    for name in filter(_is_of_rows, kept):
        part, _, field = name.partition(".")
        values[part][field] = kept[name]
    return RunConfig.build(values)


def _is_of_rows(name: str) -> bool:
    # How a prompt is written depends on the model: a base model has no chat template.
    return name == "training.sample_prompts" or (name.startswith("data.") and name != "data.prompt_template")


def own_presets_dir(runs_dir: Path) -> Path:
    """Where a person's own presets are kept: beside the runs, so that another version of the program has them too."""
    return runs_dir / "presets"


def save_preset(runs_dir: Path, title: str, config: RunConfig) -> Preset:
    """Saves settings as a preset of one's own and returns it. Raises ConfigError.

    Its name is made from the title. The consent to train without the rows left out is not saved: it is for rows that
    were read once.
    """
    title = " ".join(title.split())
    if len(title) > TITLE_CHARACTERS:
        raise ConfigError("A title can have {most} characters, not {found}.", most=TITLE_CHARACTERS, found=len(title))
    name = re.sub(r"[^\w]+", "-", title.lower()).strip("-_")
    if not name:
        raise ConfigError("A preset needs a title with a letter or a digit in it, such as Reviews.")
    if name in {path.stem for path in _files(runs_dir)}:
        raise ConfigError("There is a preset {name!r} already; choose another title.", name=name)
    folder = own_presets_dir(runs_dir)
    data = config.data.model_copy(update={"allow_left_out": False})
    settings = config.model_copy(update={"data": data}).model_dump()
    about = {"title": title, "description": config.summary}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{name}.yaml", yaml.safe_dump(about | settings, sort_keys=False, allow_unicode=True))
    except OSError as error:
        raise ConfigError(
            "The preset cannot be saved in {folder}: {reason}.", folder=str(folder), reason=in_words(error)
        ) from None
    return find_preset(name, runs_dir)


def delete_preset(runs_dir: Path, name: str) -> None:
    """Deletes a preset of one's own; one that is gone already stays gone. Raises ConfigError."""
    for path in _own_files(runs_dir):
        if path.stem == name:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise ConfigError(
                    "The preset {name!r} cannot be deleted: {reason}.", name=name, reason=in_words(error)
                ) from None


def _files(runs_dir: Path | None) -> list[Path]:
    return [*PRESETS_DIR.glob("*.yaml"), *(_own_files(runs_dir) if runs_dir else ())]


def _own_files(runs_dir: Path) -> list[Path]:
    return [path for path in own_presets_dir(runs_dir).glob("*.yaml") if not path.name.startswith(ASIDE)]


def default_preset(has_gpu: bool) -> str:
    """The name of the preset to start with on this kind of machine."""
    return FIRST_ON_A_GPU if has_gpu else DEMO
