from typing import Any

import yaml

from core.problems import ConfigError

# Eight times as fast, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


MOST_TEXT, MOST_NESTED = 1_000_000, 20  # far above any settings: characters, and values within values


def parse_yaml(text: str) -> Any:
    """Plain values from YAML text. Raises ConfigError that names the line."""
    if len(text) > MOST_TEXT:
        raise ConfigError("This is too long for settings.")
    try:
        _check_plain(text)
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {min(mark.line, text.rstrip().count(chr(10))) + 1}" if mark else ""
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"This is not valid YAML{where}: {said:.200}.") from None
    except ConfigError:
        raise
    except ValueError:
        raise ConfigError("This is not valid YAML: it holds a number, a date or a letter that is none.") from None


def _check_plain(text: str) -> None:
    """Raises ConfigError for what stands for far more than it says, or ends the program where it is read."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        where = f"in line {event.start_mark.line + 1}"
        if depth > MOST_NESTED:
            raise ConfigError(f"This holds no settings: {where} are values nested too deep.")
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"Settings are written out: {where} one refers to another with a star.")
        if getattr(event, "tag", None):
            raise ConfigError(f"Settings are plain values: {where} is one with the tag {event.tag!r:.40}.")
