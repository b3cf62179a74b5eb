"""The catalogs of translations: complete, correct, and up to date with the source."""

import string
import sys

import pytest
from babel.messages.catalog import Message
from babel.messages.mofile import read_mo

from core.settings.update_catalogs import TRANSLATED, catalog_file, in_source, is_translated, read_catalog, updated
from tests.settings.texts_left import FINISHED, in_python, in_template

HOW = f"run {sys.executable} -m core.settings.update_catalogs, and translate what is new in the .po file"


@pytest.fixture(scope="module")
def source():
    return in_source()


@pytest.fixture(scope="module", params=TRANSLATED)
def catalog(request):
    return read_catalog(catalog_file(request.param), request.param)


def ids(catalog) -> set:
    return {message.id for message in catalog if message.id}


def strings(message: Message) -> list[str]:
    return list(message.string) if isinstance(message.string, tuple | list) else [message.string]


def placeholders(text: str) -> set[tuple]:
    return {
        (name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text) if name is not None
    }


def test_the_catalog_has_the_texts_of_the_source_and_no_others(source, catalog):
    assert ids(catalog) == ids(source), HOW


def test_every_text_of_the_finished_folders_has_a_translation(source, catalog):
    def is_finished(message: Message) -> bool:
        return any(file.startswith(FINISHED) for file, _ in message.locations)

    assert [m.id for m in source if m.id and is_finished(m) and not is_translated(catalog[m.id])] == [], HOW


def test_a_translation_has_the_placeholders_of_its_text(catalog):
    wrong = []
    for message in catalog:
        originals = message.id if isinstance(message.id, tuple | list) else [message.id]
        wanted = set().union(*map(placeholders, originals)) if message.id else set()
        wrong += [text for text in strings(message) if message.id and text and placeholders(text) != wanted]
    assert wrong == []


def test_a_translation_ends_as_its_text(catalog):
    """A sentence stays a sentence, and a label a label."""
    ends = (".", "?", "!", ":", "…")
    wrong = []
    for message in catalog:
        first = message.id if isinstance(message.id, str) else message.id[0]
        wrong += [s for s in strings(message) if first and s and (s[-1] in ends) != (first[-1] in ends)]
    assert wrong == []


def test_what_is_compiled_is_what_is_written(catalog):
    with catalog_file(str(catalog.locale)).with_suffix(".mo").open("rb") as file:
        compiled = read_mo(file)
    written = {message.id: strings(message) for message in catalog if message.id and is_translated(message)}
    # Plurals are lists there.
    found = {tuple(m.id) if isinstance(m.id, list) else m.id: strings(m) for m in compiled if m.id}
    assert found == written, HOW


def test_a_text_that_is_gone_goes_and_one_of_another_catalog_is_taken(catalog):
    text, language = next(m.id for m in catalog if m.id and isinstance(m.id, str)), str(catalog.locale)
    known, other = read_catalog(catalog_file(language), language), read_catalog(catalog_file(language), language)
    known.add("This text is gone.", "x")
    other[text].string = "다른 번역"
    known[text].string = ""
    found = updated(language, known, [other])
    assert found.get("This text is gone.") is None
    assert (found[text].string, found.header_comment) == ("다른 번역", known.header_comment)


def test_every_text_of_the_finished_folders_is_marked():
    left = {**in_python(), **in_template()}
    assert {file: texts for file, texts in left.items() if texts} == {}, "call tr, trn or mark with these"
