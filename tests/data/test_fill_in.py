"""Placeholders are filled in wherever a row has them, before the template, and never in the template itself."""

import json

import pytest

from core.data.columns.recognise import recognise
from core.data.prepared.prepare import prepare
from core.data.prepared.render import render
from core.data.prompts.fill_in import filled_in, placeholders_in
from core.problems import ConfigError
from core.settings.run_config import RunConfig
from core.settings.sections import DataConfig
from tests.conftest import data_file

WORDS = ["name = Ember", "who.made_it=Ada {{name}} \\1"]


def text_of(row: dict, tokenizer, **settings) -> str:
    config = DataConfig(fill_in=WORDS, **settings)
    return "".join(text for text, _ in render(row, recognise([row], config), config, tokenizer))


def test_names_and_values():
    assert DataConfig(fill_in=WORDS).words_for_placeholders == {"name": "Ember", "who.made_it": "Ada {{name}} \\1"}
    assert DataConfig(fill_in="a = b = c\n\n  d =\n").words_for_placeholders == {"a": "b = c", "d": ""}
    with pytest.raises(ConfigError, match="write name = value, not Ember"):
        RunConfig().with_settings(["data.fill_in=Ember"])
    assert placeholders_in("{{b}} {{ a }} {{b}} {a} {{ a b }} {{}}") == ["b", "a"]


def test_texts_at_any_depth_and_nothing_else():
    value = [{"a": "{{ x }}{{y}}", "{{x}}": [1, None, "{{x}}"]}]
    assert filled_in(value, {"x": "\\g<0>"}) == [{"a": "\\g<0>{{y}}", "{{x}}": [1, None, "\\g<0>"]}]
    assert filled_in(value, {}) is value


def test_every_shape_of_row(chat_tokenizer):
    said = "I am {{name}} of {{ who.made_it }}, {{unknown}}."
    filled = "I am Ember of Ada {{name}} \\1, {{unknown}}."
    rows = [
        {"instruction": said, "output": said},
        {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": said}]},
        {"text": f"{said} {said}"},
    ]
    for row in rows:
        assert text_of(row, chat_tokenizer).count(filled) == 2
    own = text_of({"a": said, "b": said}, chat_tokenizer, prompt_template="{{name}} {a} {b}")
    assert own.count(filled) == 2 and own.startswith("<|begin_of_text|>{name} I am")  # a brace of the template's own


def test_real_rows_with_placeholders(shared_data, chat_tokenizer):
    path = shared_data / "alpaca/identity.json"
    before = prepare(DataConfig(path=str(path)), chat_tokenizer, 512, True)
    assert before.placeholders == ("name", "author")
    config = DataConfig(path=str(path), fill_in=["name = Ember", "author = Ada"])
    after = prepare(config, chat_tokenizer, 512, True)
    assert after.placeholders == () and not after.train.figures["unfilled"].any()
    first = json.loads(path.read_text(encoding="utf-8"))[0]["output"]
    assert first.replace("{{name}}", "Ember").replace("{{author}}", "Ada") in after.preview[0]


def test_no_more_names_than_can_be_shown(tmp_path, chat_tokenizer):
    row = {"instruction": "Write code.", "output": " ".join(f"{{{{v{n}}}}}" for n in range(30))}
    data = prepare(data_file(tmp_path / "code.jsonl", row), chat_tokenizer, 512, True)
    assert data.placeholders == tuple(f"v{n}" for n in range(20))
