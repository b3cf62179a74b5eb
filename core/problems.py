"""Errors that are a sentence for the person using the program.

One `except Problem` is enough to show any of them. The wording is a template with named values, so that tests compare
the values and translations need only the template.
"""

from string import Formatter
from typing import Any, ClassVar


def quoted(value: object) -> str:
    """The value in quotes, as it was typed: a backslash, as in a path on Windows, is not doubled."""
    return repr(value).replace("\\\\", "\\")


class _AsTyped(Formatter):
    """Fills templates; `{name!r}` quotes a value with `quoted`."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return quoted(value) if conversion == "r" else super().convert_field(value, conversion)


class Problem(ValueError):
    """Something the person can act on; `str(problem)` is one sentence with the way out.

    `template` is a format string and `values` fills it: `DataError("{file} has no rows.", file=name)`. Without values
    the template is the sentence itself, braces included.
    """

    is_bad_input: ClassVar[bool] = True  # caused by what was asked for, not by how the work went

    def __init__(self, template: str, /, **values: Any):
        super().__init__(template)
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return _AsTyped().format(self.template, **self.values) if self.values else self.template


class ConfigError(Problem):
    """A setting that cannot be used."""


class NotAllowed(ConfigError):
    """What visitors of a page without login may not do."""


class DataError(Problem):
    """Rows that cannot be used."""


class TemplateError(Problem):
    """A row that cannot be rendered; the message is a few words that complete "left out:"."""


class ModelError(Problem):
    """A model that cannot be fetched or loaded."""


class PromptTooLong(ModelError):
    """The prompt is longer than the model can read."""


class RunError(Problem):
    """A run that does not exist or cannot be read."""


class BlindError(Problem):
    """A blind test that cannot be started, or a vote that cannot be kept."""


class TrainingError(Problem):
    """A run that cannot continue."""

    is_bad_input = False


class ExportError(Problem):
    """An export that cannot be made or handed over."""

    is_bad_input = False


class Busy(Problem):
    """Something else is running."""

    is_bad_input = False


def first_line(error: BaseException) -> str:
    """The first line of a library's error, at most 300 characters, to be quoted inside a sentence."""
    text = str(error)
    if isinstance(error, OSError | LookupError):  # Python quotes paths and keys in these
        text = text.replace("\\\\", "\\")
    return (text.strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
