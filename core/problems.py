"""What the program says to a person: texts in the person's language, and errors that are a sentence.

A process speaks one language, chosen when this module is imported: that of the environment variable
HEARTHTUNE_LANGUAGE, which child processes inherit, or else that of the system, or else English. The source language is
English, and a text without a translation stays English.

    tr("The run {name} ended.", name=name)                      a text, filled
    trn("{count:,} row", "{count:,} rows", len(rows))           with a number that decides the plural
    LONG = mark("This text is translated where it is shown.")   a constant, shown with tr(LONG) or by a Problem

One `except Problem` is enough to show any of the errors. The wording is a template with named values, so that tests
compare the values and translations need only the template.

It is all in one module because every other module may need it: `core` has few import levels.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any, ClassVar

LANGUAGES = {"en": "English", "ko": "한국어"}
LANGUAGE_VARIABLE = "HEARTHTUNE_LANGUAGE"
LOCALES = Path(__file__).resolve().parent / "settings/locales"
DOMAIN = "hearthtune"  # the name of the catalogs
_OF_THE_SYSTEM = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")  # in the order in which gettext asks them


def chosen_language(environment: Mapping[str, str]) -> str:
    """The language that these environment variables ask for, en or ko: en if they ask for neither."""
    if environment.get(LANGUAGE_VARIABLE) in LANGUAGES:
        return environment[LANGUAGE_VARIABLE]
    asked = next((environment[name] for name in _OF_THE_SYSTEM if environment.get(name)), "")
    if not asked and os.name == "nt":
        import locale

        asked = locale.setlocale(locale.LC_CTYPE).replace("Korean_", "ko_")  # asks, and sets nothing
    codes = [code.replace("-", "_").partition(".")[0].partition("_")[0].lower() for code in asked.split(":")]
    return next((code for code in codes if code in LANGUAGES), "en")


LANGUAGE = chosen_language(os.environ)
if LANGUAGE == "en":
    _CATALOG = None
else:
    import gettext

    _CATALOG = gettext.translation(DOMAIN, LOCALES, [LANGUAGE])


def tr(text: str, /, **values: Any) -> str:
    """The text in the person's language, filled with the values. Without values, braces are a part of the text."""
    if _CATALOG and text:  # of an empty text, gettext returns the head of the catalog
        text = _CATALOG.gettext(text)
    return _filled(text, values)


def trn(one: str, many: str, count: int, /, **values: Any) -> str:
    """`one` or `many`, as the language wants it for this number, filled with `count` and the values."""
    return _filled(form_for(one, many, count), {"count": count, **values})


def form_for(one: str, many: str, count: int) -> str:
    """What `trn` fills."""
    if _CATALOG:
        return _CATALOG.ngettext(one, many, count)
    return one if count == 1 else many


def mark(text: str) -> str:
    """The text itself. Marks a constant as one to translate, which happens where it is shown."""
    return text


def quoted(value: object) -> str:
    """The value in quotes, as it was typed: a backslash, as in a path on Windows, is not doubled."""
    return repr(value).replace("\\\\", "\\")


class _AsTyped(Formatter):
    """Fills templates; `{name!r}` quotes a value with `quoted`."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return quoted(value) if conversion == "r" else super().convert_field(value, conversion)


def _filled(template: str, values: dict[str, Any]) -> str:
    if not values:
        return template
    # str.format is several times as fast, and a page is drawn every second.
    return _AsTyped().format(template, **values) if "!r" in template else template.format(**values)


class Problem(ValueError):
    """Something the person can act on; `str(problem)` is one sentence with the way out, in the person's language.

    `template` is a format string and `values` fills it: `DataError("{file} has no rows.", file=name)`. Without values
    the template is the sentence itself, braces included. `settings` are the dotted names of the settings it is about,
    such as "adapter.r", if it is about any.
    """

    is_bad_input: ClassVar[bool] = True  # caused by what was asked for, not by how the work went

    def __init__(self, template: str, /, settings: tuple[str, ...] = (), **values: Any):
        super().__init__(template)
        self.template = template
        self.settings = settings
        self.values = values

    def __str__(self) -> str:
        return tr(self.template, **self.values)


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
