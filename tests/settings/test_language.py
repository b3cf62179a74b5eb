"""Which language a process speaks, and what it says."""

import os
import subprocess
import sys

import pytest

from core.problems import DataError, chosen_language, mark, tr, trn
from core.settings.language_option import set_language
from tests.conftest import PROJECT

DEMO = ("Demo: a tiny Yoda", "데모: 꼬마 요다")
OF_THE_LANGUAGE = ("HEARTHTUNE_LANGUAGE", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


def in_child(*command: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs `python *command` in the project, with only these of the variables that decide the language."""
    others = {name: value for name, value in os.environ.items() if name not in OF_THE_LANGUAGE}
    return subprocess.run(
        [sys.executable, *command], cwd=PROJECT, env=others | {"PYTHONUTF8": "1"} | environment, capture_output=True,
        text=True, encoding="utf-8",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("language", "environment"),
    [
        ("en", {}),
        ("en", {"LANG": "C.UTF-8"}),
        ("en", {"LANG": "de_DE.UTF-8"}),
        ("ko", {"LANG": "ko_KR.UTF-8"}),
        ("ko", {"LANG": "en_US.UTF-8", "LC_MESSAGES": "ko_KR"}),
        ("en", {"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}),
        ("ko", {"LANG": "en_US.UTF-8", "LANGUAGE": "de:ko:en"}),
        ("en", {"LANG": "ko_KR.UTF-8", "HEARTHTUNE_LANGUAGE": "en"}),
        ("ko", {"LANG": "en_US.UTF-8", "HEARTHTUNE_LANGUAGE": "ko"}),
        ("en", {"LANG": "kok_IN.UTF-8"}),  # Konkani
    ],
)
def test_the_language_is_that_of_the_variable_or_of_the_system(language, environment):
    assert chosen_language(environment) == language


@pytest.mark.parametrize("arguments", [["--language", "ko", "presets"], ["--demo", "--language=ko"]])
def test_the_option_comes_first(monkeypatch, arguments):
    monkeypatch.setenv("HEARTHTUNE_LANGUAGE", "en")
    set_language(arguments)
    assert os.environ["HEARTHTUNE_LANGUAGE"] == "ko"


@pytest.mark.parametrize("arguments", [[], ["presets"], ["presets", "--language"]])
def test_without_the_option_nothing_is_set(monkeypatch, arguments):
    monkeypatch.delenv("HEARTHTUNE_LANGUAGE")
    set_language(arguments)
    assert "HEARTHTUNE_LANGUAGE" not in os.environ


def test_a_text_is_filled():
    assert tr("{name!r} has {rows:,} rows", name="C:\\a", rows=1234) == "'C:\\a' has 1,234 rows"
    assert tr("{braces} stay") == mark("{braces} stay") == "{braces} stay"
    assert [trn("{count:,} row of {file}", "{count:,} rows of {file}", n, file="a") for n in (1, 2000)] == [
        "1 row of a", "2,000 rows of a",
    ]  # fmt: skip


def test_english_needs_no_catalog():
    code = "import sys, core.problems; print({'gettext', 'babel', 'locale'} & set(sys.modules))"
    assert in_child("-S", "-c", code, HEARTHTUNE_LANGUAGE="en").stdout == "set()\n"


def test_a_child_speaks_korean():
    code = f"""
from core.problems import ConfigError, tr, trn
print(tr({DEMO[0]!r}), tr(""), tr("no such text {{n}}", n=1), trn("{{count}} such", "{{count}} suches", 1), sep="|")
problem = ConfigError("{{setting}} is not a setting.", setting="x")
print(problem.template, problem, sep="|")
from core.settings.run_config import RunConfig
print(RunConfig().with_settings(["data.path=[a.csv, b.csv]", "training.max_steps=60"]).run_name)
"""
    assert in_child("-c", code, HEARTHTUNE_LANGUAGE="ko").stdout.splitlines() == [
        f"{DEMO[1]}||no such text 1|1 such",
        "{setting} is not a setting.|x: 그런 설정이 없습니다.",
        "Llama 3.2 1B Instruct · a.csv 외 1개 · 60스텝",
    ]
    assert str(DataError("{setting} is not a setting.", setting="x")) == "x is not a setting."


def test_the_program_speaks_the_systems_language_unless_told_otherwise():
    korean, english = ({"LANG": "ko_KR.UTF-8"}, {"LANG": "en_US.UTF-8"})
    assert DEMO[1] in in_child("app.py", "presets", **korean).stdout
    assert DEMO[0] in in_child("app.py", "--language", "en", "presets", **korean).stdout
    assert DEMO[1] in in_child("app.py", "--language", "ko", "presets", **english).stdout


@pytest.mark.parametrize("wrong", [["--language", "xx"], ["--language=ko_KR"]])
def test_a_language_that_the_program_lacks_is_refused(wrong):
    done = in_child("app.py", *wrong, "presets")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"Invalid value for '--language': '{wrong[-1].rpartition('=')[2]}' is not one of 'en', 'ko'.\n"
    )
