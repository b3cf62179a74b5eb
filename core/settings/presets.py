"""Presets: named RunConfigs, one YAML file each in `presets/`.

A preset file has a `title`, a `description` and a `card` (the graphics card it is meant for), followed by the settings
that differ from the defaults, under the same names as in `core.settings.run_config`.
"""

import logging
import os
from pathlib import Path

from pydantic import BaseModel

from core.disk.tolerant_reading import Unreadable, read_text
from core.problems import ConfigError, tr
from core.settings.paths import PRESETS_DIR
from core.settings.plain_yaml import parse_yaml
from core.settings.run_config import RunConfig

DEMO = "demo-yoda"
DEMO_TIME = "about a minute"  # to train it on two processor cores, as the page says it everywhere
FIRST_ON_A_GPU = "llama-3.2-1b"
ABOUT = ("title", "description", "card")  # what describes a preset; all else in its file is settings


class Preset(BaseModel):
    """A named, saved RunConfig. `name` is the file's name without `.yaml`; `card` is the hardware it needs."""

    name: str
    title: str
    description: str
    card: str
    config: RunConfig


def read_preset(path: Path) -> Preset:
    """Raises ConfigError, which names the file, when it is not a preset."""
    try:
        values = parse_yaml(read_text(path))
        if not isinstance(values, dict):
            raise ConfigError("This file has no settings.")
        about = {key: tr(str(values.pop(key, "") or "")) for key in ABOUT}
        return Preset(name=path.stem, **about | {"title": about["title"] or path.stem}, config=RunConfig.build(values))
    except Unreadable as error:
        raise ConfigError("{file:.80} cannot be read: {reason}.", file=path.name, reason=error) from None
    except ConfigError as error:
        raise ConfigError("{file:.80}: {reason}", file=path.name, reason=error) from None


def list_presets() -> list[Preset]:
    """All presets: the demo first, the others by name. A damaged one is skipped, and the log says why."""
    presets = []
    for path in PRESETS_DIR.glob("*.yaml"):
        try:
            presets.append(read_preset(path))
        except ConfigError as error:
            logging.getLogger(__name__).warning("A preset was skipped: %s", error)
    return sorted(presets, key=lambda preset: (preset.name != DEMO, preset.name))


def find_preset(name: str) -> Preset:
    """The preset with that name, or the one in that YAML file. Raises ConfigError."""
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return read_preset(Path(name))
    for path in PRESETS_DIR.glob("*.yaml"):
        if path.stem == name:
            return read_preset(path)
    known = ", ".join(preset.name for preset in list_presets())
    raise ConfigError("There is no preset {name!r:.80}; the presets are {known}.", name=name, known=known)


def default_preset(has_gpu: bool) -> str:
    """The name of the preset to start with on this kind of machine."""
    return FIRST_ON_A_GPU if has_gpu else DEMO
