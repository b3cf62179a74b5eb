"""Prompts from a form and from files as people have them; what is none is refused, and the row is named."""

import gzip
import json

import pytest

from core.comparing.prompt_lists import MOST, prompts_from_text, read_prompts
from core.problems import DataError


def test_a_line_is_a_prompt_and_each_stands_once():
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
    with pytest.raises(DataError, match="^Write a prompt first, one a line.$"):
        prompts_from_text(text)


def test_too_many():
    assert len(prompts_from_text("\n".join(map(str, range(MOST))))) == MOST
    with pytest.raises(DataError, match="more than 10,000 prompts"):
        prompts_from_text("\n".join(map(str, range(MOST + 1))))


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


@pytest.mark.parametrize(
    "name, text, sentence",
    [
        ("a.json", "[]", "a.json holds no prompts; write them into it, one a line."),
        ("a.json", '["One", {"a": 1}]', "The prompt in row 1 of a.json cannot be read: not a row with named fields"),
        ("a.json", '[{"a": 1}]', "There is no prompt in row 1 of a.json"),
        (
            "a.json",
            '[{"prompt": 3}]',
            "The prompt in row 1 of a.json is no text; write it between quotation marks there.",
        ),
        ("a.json", "[1", "a.json is not valid JSON"),
        ("a.jsonl", '{"prompt": "One"}\n{broken\n', "The prompt in line 2 of a.jsonl cannot be read: not valid JSON"),
        ("a.csv", "one,two\n1,2\n", "none of the fields prompt, instruction, question, text; name one of them so."),
    ],
)
def test_what_holds_no_prompts_is_refused_in_a_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as refused:
        read_prompts(tmp_path / name)
    assert sentence in str(refused.value) and str(refused.value).endswith(".")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="^There is no file .*gone.txt"):
        read_prompts(tmp_path / "gone.txt")
