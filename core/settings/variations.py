"""Variations of a run: the same settings with a few values of one or two of them, each with each.

variations(config, {"training.learning_rate": "1e-4, 2e-4, 5e-4", "adapter.r": "16, 32"})    # six runs
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from core.problems import ConfigError, mark
from core.settings.run_config import RunConfig

MOST_SETTINGS, MOST_RUNS = 2, 50
VALUE_CHARACTERS = 40  # of each value in a run's name
TOO_FEW = mark("Give at least two different values of {setting}, separated by commas, as in 16, 32.")
_BETWEEN_VALUES = re.compile(r",(?![^\[]*\])")  # not the commas within a list: [q_proj, v_proj], [k_proj]


@dataclass(frozen=True)
class Variation:
    """One of the runs. Its name says in which values it differs, and is in English, as it is kept with the run."""

    name: str
    config: RunConfig


def variations(config: RunConfig, values: Mapping[str, str]) -> list[Variation]:
    """The runs, in the order of the values. `values` has one or two settings by their dotted names, each with its
    values as a person types them, separated by commas.

    Values that make the same run count once. Raises ConfigError.
    """
    if len(values) > MOST_SETTINGS:
        raise ConfigError("At most {most} settings can be varied at once.", most=MOST_SETTINGS)
    typed = {name.strip(): _values(name.strip(), text) for name, text in values.items()}
    found: dict[str, Variation] = {}
    for chosen in product(*typed.values()):
        pairs = list(zip(typed, chosen, strict=True))
        varied = config.with_settings([f"{name}={value}" for name, value in pairs])
        words = ", ".join(f"{name.rpartition('.')[2]} {value[:VALUE_CHARACTERS]}" for name, value in pairs)
        found.setdefault(varied.to_yaml(), Variation(f"{varied.run_name} · {words}", varied))
        if len(found) > MOST_RUNS:
            raise ConfigError("That would be more than {most} runs; give fewer values.", most=MOST_RUNS)
    if len(found) < 2:
        raise ConfigError(TOO_FEW, setting=", ".join(typed))
    return list(found.values())


def _values(name: str, text: str) -> list[str]:
    values = [value.strip() for value in _BETWEEN_VALUES.split(text)]
    if not (values := [value for value in values if value]):
        raise ConfigError(TOO_FEW, setting=name)
    return values
