"""The presets: named RunConfigs, one YAML file each in `presets/`. Knows nothing of gradio or torch.

A preset file holds `title`, `description` and `card` (the graphics card it is meant for), and below them the
settings that differ from the defaults, by the same names as in `core.settings.run_config`.
"""

import logging
import os
from pathlib import Path

from pydantic import BaseModel

from core.disk.tolerant_reading import Unreadable, read_text
from core.problems import ConfigError
from core.settings.paths import PROJECT_DIR
from core.settings.plain_yaml import parse_yaml
from core.settings.run_config import RunConfig

PRESETS_DIR = PROJECT_DIR / "presets"
DEMO = "demo-yoda"
FIRST_ON_A_GPU = "llama-3.2-1b"
_ABOUT = ("title", "description", "card")


class Preset(BaseModel):
    """A named, saved RunConfig. `name` is the file's name without `.yaml`; `card` says what it needs."""

    name: str
    title: str
    description: str
    card: str
    config: RunConfig


def read_preset(path: Path) -> Preset:
    """Raises ConfigError, in a sentence that names the file, when it is not a preset."""
    try:
        values = parse_yaml(read_text(path))
        if not isinstance(values, dict):
            raise ConfigError("it holds no settings.")
        about = {key: str(values.pop(key, "") or "") for key in _ABOUT}
        return Preset(name=path.stem, **about | {"title": about["title"] or path.stem}, config=RunConfig.build(values))
    except Unreadable as error:
        raise ConfigError(f"{path.name:.80} cannot be read: {error}.") from None
    except ConfigError as error:
        raise ConfigError(f"{path.name:.80}: {error}") from None


def list_presets() -> list[Preset]:
    """All presets: the demo first, the others by name. A damaged one is passed over, and the log says why."""
    presets = []
    for path in PRESETS_DIR.glob("*.yaml"):
        try:
            presets.append(read_preset(path))
        except ConfigError as error:
            logging.getLogger(__name__).warning("A preset is left out: %s", error)
    return sorted(presets, key=lambda preset: (preset.name != DEMO, preset.name))


def find_preset(name: str) -> Preset:
    """The preset of that name, or the one in that YAML file. Raises ConfigError."""
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        return read_preset(Path(name))
    for path in PRESETS_DIR.glob("*.yaml"):
        if path.stem == name:
            return read_preset(path)
    raise ConfigError(
        f"There is no preset {name!r:.80}; there are {', '.join(preset.name for preset in list_presets())}."
    )


def default_preset(has_gpu: bool) -> str:
    """The name of the preset that a newcomer to this kind of machine starts from."""
    return FIRST_ON_A_GPU if has_gpu else DEMO
