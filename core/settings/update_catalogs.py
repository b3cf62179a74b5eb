"""Brings the catalogs of translations up to date with the texts in the source.

    python -m core.settings.update_catalogs             extract the texts, update the .po files, compile the .mo files
    python -m core.settings.update_catalogs OTHER.po    the same; texts that lack a translation get that of OTHER.po

Needs Babel. A text that is gone goes from the catalogs; one that is new or has changed has no translation yet. What is
extracted from Python: the literals that `tr`, `trn` and `mark` are called with, the templates of Problems, and the
titles and descriptions of settings; from templates: those of `tr` and `trn`; from presets: what describes them.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import IO

import yaml
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from core.problems import DOMAIN, LANGUAGES, LOCALES, Problem
from core.settings.paths import PROJECT_DIR
from core.settings.presets import ABOUT

# Which arguments of a call are texts: by place, counted from 1, or by name.
CALLS: dict[str, tuple[int | str, ...]] = {
    "tr": (1,),
    "trn": (1, 2),
    "mark": (1,),
    "Field": ("title", "description"),
    "PydanticCustomError": (2,),
}
OF_TEMPLATES = {"tr": None, "trn": (1, 2)}
FOLDERS = ("core", "ui", "presets")  # and app.py
TRANSLATED = [language for language in LANGUAGES if language != "en"]


def texts_of(tree: ast.AST) -> Iterator[tuple[str, list[ast.expr]]]:
    """Each call with texts, as its name and these arguments, whatever they are."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        name = node.func.id
        wanted = CALLS.get(name, (1,) if name in problem_names() else ())
        by_place = [node.args[place - 1] for place in wanted if isinstance(place, int) and place <= len(node.args)]
        by_name = [keyword.value for keyword in node.keywords if keyword.arg in wanted]
        if by_place or by_name:
            yield name, by_place or by_name


@cache
def problem_names() -> frozenset[str]:
    """The names of all classes of Problems in the source."""
    names = {Problem.__name__}
    classes = [
        node
        for path in (PROJECT_DIR / "core").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    while found := {node.name for node in classes for base in node.bases if getattr(base, "id", "") in names} - names:
        names |= found
    return frozenset(names)


def of_python(file: IO[bytes], *_, **__) -> Iterator[tuple[int, str | None, str | tuple[str, ...], list[str]]]:
    """Babel's method for Python, by its syntax tree: Babel's own does not find a call inside of another's arguments."""
    for name, arguments in texts_of(ast.parse(file.read())):
        texts = [node.value for node in arguments if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        if name == "trn" and len(texts) == 2:
            yield arguments[0].lineno, name, tuple(texts), []
        else:
            yield from ((arguments[0].lineno, None, text, []) for text in texts)


def of_presets(file: IO[bytes], *_, **__) -> Iterator[tuple[int, None, str, list[str]]]:
    """Babel's method for the files of presets and recipes, whose stages have titles."""
    values = yaml.safe_load(file.read())
    yield from ((1, None, values[key], []) for key in ABOUT if values.get(key))
    yield from ((1, None, stage["title"], []) for stage in values.get("stages", ()) if stage.get("title"))


def in_source() -> Catalog:
    """All texts of the source, without translations."""
    methods = [("**.py", of_python), ("**.html", "jinja2"), ("**.yaml", of_presets)]
    options = {"**.html": {"extensions": "ui.shared.html.LayoutOfSource", "silent": "false"}}
    catalog = Catalog()
    places = [(PROJECT_DIR / folder, f"{folder}/") for folder in FOLDERS]
    found = [
        (start, part) for folder, start in places for part in extract_from_dir(folder, methods, options, OF_TEMPLATES)
    ]
    with (PROJECT_DIR / "app.py").open("rb") as app:
        found += [("", ("app.py", line, texts, [], None)) for line, _, texts, _ in of_python(app)]
    for start, (file, line, texts, *_) in found:
        if isinstance(texts, tuple) or re.search(
            "[A-Za-z]", re.sub(r"{.*?}", "", texts)
        ):  # else nothing but placeholders
            catalog.add(texts, locations=[(start + file, line)])
    return catalog


def updated(language: str, known: Catalog, others: Iterable[Catalog]) -> Catalog:
    """The texts of the source with the translations of a catalog, and of the others where that has none."""
    about = {"project": "HearthTune", "version": "1", "msgid_bugs_address": "", "last_translator": "", "fuzzy": False}
    about |= {"language_team": LANGUAGES[language], "creation_date": known.creation_date, "revision_date": ""}
    new = Catalog(language, DOMAIN, known.header_comment, **about)
    sources = [known, *others]
    for message in in_source():
        if message.id:
            was = next((m for source in sources if (m := source.get(message.id)) and is_translated(m)), None)
            new.add(
                message.id, was.string if was else "", message.locations, user_comments=was.user_comments if was else ()
            )
            new[message.id].flags.clear()  # Babel takes "10% of" for a format
    return new


def is_translated(message: Message) -> bool:
    """Whether a text has a translation that nobody doubts."""
    strings = message.string if isinstance(message.string, tuple | list) else [message.string]
    return all(strings) and not message.fuzzy


def catalog_file(language: str) -> Path:
    """The .po file of a language; the compiled .mo is in the same folder."""
    return LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def read_catalog(path: Path, language: str) -> Catalog:
    """The catalog in a .po file, without texts that are gone."""
    with path.open("rb") as file:
        return read_po(file, language, ignore_obsolete=True)


def main(others: list[str]) -> int:
    """Updates all catalogs; returns 1 if a text has no translation."""
    missing = 0
    for language in TRANSLATED:
        path = catalog_file(language)
        known, *more = [read_catalog(file, language) for file in (path, *map(Path, others))]
        catalog = updated(language, known, more)
        with path.open("wb") as file:
            # Without line numbers, as each change of the source would change them. By file, so that two who translate
            # two folders do not change the same place.
            write_po(file, catalog, width=120, sort_by_file=True, include_lineno=False)
        with path.with_suffix(".mo").open("wb") as file:
            write_mo(file, catalog)
        without = [message for message in catalog if message.id and not is_translated(message)]
        print(f"{path}: {len(catalog)} texts, {len(without)} without a translation")
        missing += len(without)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
