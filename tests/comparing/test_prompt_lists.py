"""Prompts from a form and from files as people have them; anything else is refused, and the row is named."""

import gzip
import json

import pytest

from core.comparing.prompt_lists import MAX_PROMPTS, prompts_from_text, read_prompts
from core.problems import DataError


def test_a_line_is_a_prompt_and_repeats_are_left_out():
    assert prompts_from_text("  One two \r\n\n \nThree\nOne two\nfour\u2028five") == [
        "One two",
        "Three",
        "four\u2028five",
    ]


def test_half_a_surrogate_pair_can_be_written_and_shown():
    (prompt,) = prompts_from_text("a\ud800b")
    assert prompt == "a?b" and prompt.encode()


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_no_prompt(text):
    with pytest.raises(DataError, match="prompt"):
        prompts_from_text(text)


def test_too_many():
    assert len(prompts_from_text("\n".join(map(str, range(MAX_PROMPTS))))) == MAX_PROMPTS
    with pytest.raises(DataError) as refused:
        prompts_from_text("\n".join(map(str, range(MAX_PROMPTS + 1))))
    assert refused.value.values == {"limit": 10_000}


@pytest.mark.parametrize(
    "name, text, prompts",
    [
        ("a.txt", "One\n\nTwo words\nOne\n", ["One", "Two words"]),
        ("a.json", json.dumps(["One", "", "Two\nlines"]), ["One", "Two\nlines"]),
        ("a.json", json.dumps([{"prompt": "One"}, {"prompt": "Two", "output": "x"}]), ["One", "Two"]),
        (
            "a.jsonl",
            '{"instruction": "Sum up", "input": "a b"}\n{"instruction": "Go", "input": ""}\n',
            ["Sum up\n\na b", "Go"],
        ),
        ("a.jsonl", '{"question": "Why?", "answer": "So."}\n', ["Why?"]),
        ("a.csv", "prompt,other\nOne,1\nTwo,2\n", ["One", "Two"]),
    ],
)
def test_files(tmp_path, name, text, prompts):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_prompts(tmp_path / name) == prompts


def test_another_encoding_and_a_packed_file(tmp_path):
    (tmp_path / "a.txt").write_text("Straße\nKäse\n", encoding="utf-16")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"One\nTwo\n"))
    assert read_prompts(tmp_path / "a.txt") == ["Straße", "Käse"]
    assert read_prompts(tmp_path / "b.txt.gz") == ["One", "Two"]


FIELDS = "prompt, instruction, question, text"


@pytest.mark.parametrize(
    "name, text, values",
    [
        ("a.json", "[]", {"file": "a.json"}),
        ("a.json", '["One", {"a": 1}]', {"place": "row 1 of a.json", "fault": "not a row with named fields"}),
        ("a.json", '[{"a": 1}]', {"place": "row 1 of a.json", "fields": FIELDS}),
        ("a.json", '[{"prompt": 3}]', {"place": "row 1 of a.json"}),
        ("a.jsonl", '{"prompt": "One"}\n{broken\n', {"place": "line 2 of a.jsonl", "fault": "not valid JSON"}),
        ("a.csv", "one,two\n1,2\n", {"place": "row 1 of a.csv", "fields": FIELDS}),
    ],
)
def test_a_file_without_prompts_is_refused_and_the_row_is_named(tmp_path, name, text, values):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as refused:
        read_prompts(tmp_path / name)
    found = refused.value.values
    assert found.keys() == values.keys()
    assert all(str(found[key]).startswith(value) for key, value in values.items()), found
    assert str(refused.value).endswith(".") and all(str(value) in str(refused.value) for value in values.values())


def test_a_file_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[1")
    with pytest.raises(DataError, match="a.json"):
        read_prompts(tmp_path / "a.json")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="gone.txt"):
        read_prompts(tmp_path / "gone.txt")
