"""Errors that a person reads: one sentence each, as a template with named values."""

import ast
import re
import string

import pytest

import core.problems
from core.problems import DataError, Problem, TrainingError, first_line
from tests.conftest import PROJECT

KINDS = {name for name, kind in vars(core.problems).items() if isinstance(kind, type) and issubclass(kind, Problem)}
FILES = [PROJECT / "app.py", *(p for folder in ("core", "ui") for p in sorted((PROJECT / folder).rglob("*.py")))]


def raised(tree: ast.Module) -> list[ast.Call]:
    return [
        n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in KINDS
    ]


def texts(tree: ast.Module) -> dict[str, str]:
    """Names of the module's own text constants."""
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def test_a_problem_is_its_template_filled():
    problem = DataError("{file} has {rows:,} rows in {{braces}}.", file="a.csv", rows=1234)
    assert str(problem) == "a.csv has 1,234 rows in {braces}."
    assert (problem.template, problem.values["rows"]) == ("{file} has {rows:,} rows in {{braces}}.", 1234)
    assert str(DataError("Name a {column}.")) == "Name a {column}."


def test_what_is_the_persons_input_and_what_is_not():
    assert DataError("x").is_bad_input and not TrainingError("x").is_bad_input


def test_the_first_line_of_a_librarys_error():
    assert first_line(ValueError("  one.\ntwo")) == "one" and first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 1000))) == 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PROJECT).as_posix())
def test_each_problem_is_raised_with_a_template_of_one_sentence(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = texts(tree)
    for call in raised(tree):
        first = call.args[0]
        assert not isinstance(first, ast.JoinedStr), f"line {call.lineno}: an f-string cannot be translated"
        template = constants.get(first.id, "") if isinstance(first, ast.Name) else getattr(first, "value", "")
        if not isinstance(template, str):
            continue
        assert not re.search(r"[.!?] +[A-Z]", template), f"line {call.lineno}: more than one sentence: {template}"
        given = {keyword.arg for keyword in call.keywords}
        if given and None not in given and template:
            named = {field.partition(".")[0] for _, field, _, _ in string.Formatter().parse(template) if field}
            assert named <= given, f"line {call.lineno}: {template}"
