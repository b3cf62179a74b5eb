"""YAML from people: plain values only, and errors that name the line."""

from typing import Any

import yaml

from core.problems import ConfigError

# Eight times as fast, where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TEXT_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # every value stays text

# Both are far more than any settings need.
MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 20


def parse_yaml(text: str) -> Any:
    """Plain values from YAML text. Raises ConfigError."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            "This is too long for settings: {found:,} characters; the limit is {limit:,}.",
            found=len(text),
            limit=MAX_CHARACTERS,
        )
    try:
        _check_plain(text)
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise _not_yaml(error, text) from None
    except ConfigError:
        raise
    except ValueError:
        raise ConfigError("This is not valid YAML: it has a number, a date or a character that is not valid.") from None


def parse_text(text: str, may_be_list: bool) -> str | list[str]:
    """The text as it is, unless all of it is in quotes, which are removed, or it `may_be_list` and is one: [a, "b"].

    Quotes and lists are read as in YAML, but no value becomes a number, a date or null.
    """
    whole = text.strip()
    if not whole.startswith(('"', "'", "[") if may_be_list else ('"', "'")):
        return text
    try:
        _check_plain(whole)
        *_, last, _, _ = yaml.parse(whole, Loader=_TEXT_LOADER)
        value = yaml.load(whole, Loader=_TEXT_LOADER)
    except (yaml.YAMLError, ConfigError, ValueError):
        return text  # as in "a" and "b"
    is_all = last.end_mark.index == len(whole)  # or else a comment follows
    is_text = isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))
    return value if is_all and is_text and len(whole) <= MAX_CHARACTERS else text


def _not_yaml(error: yaml.YAMLError, text: str) -> ConfigError:
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return ConfigError("This is not valid YAML: {reason:.200}.", reason=reason)
    last_line = text.rstrip().count("\n") + 1  # an unclosed quote is only noticed at the end of the text
    return ConfigError(
        "This is not valid YAML in line {line}: {reason:.200}.", line=min(mark.line + 1, last_line), reason=reason
    )


def _check_plain(text: str) -> None:
    """Raises ConfigError for aliases, tags and deep nesting, which can expand to far more than the text or run code."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigError("These are not settings: the values in line {line} are nested too deeply.", line=line)
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(
                "Settings cannot use YAML aliases (*name), as in line {line}; repeat the value.", line=line
            )
        if tag := getattr(event, "tag", None):
            raise ConfigError("Settings cannot use YAML tags, such as {tag!r:.40} in line {line}.", tag=tag, line=line)
