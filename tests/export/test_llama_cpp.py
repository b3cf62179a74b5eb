"""Installing llama.cpp with a person's consent; running it is tested with the files that it runs."""

import pytest

from core.export import llama_cpp
from core.export.llama_cpp import NOT_INSTALLABLE, install
from core.problems import ExportError


def test_what_is_there_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    install()  # pip finds the version that the tests need
    assert llama_cpp.is_installed()


def test_what_cannot_be_installed_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(llama_cpp, "PACKAGE", "hearthtune-has-no-such-package==1")
    with pytest.raises(ExportError) as told:
        install()
    assert told.value.template == NOT_INSTALLABLE and "hearthtune-has-no-such-package" in told.value.values["reason"]
