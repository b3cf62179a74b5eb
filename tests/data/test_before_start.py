"""What is so badly wrong with rows that a person is asked before training, and what is not."""

import pytest

from core.data.prepared.before_start import badly_wrong
from core.data.prepared.prepare import prepare
from core.data.prepared.survey import survey
from core.problems import DataError
from core.settings.presets import find_preset
from core.settings.sections import DataConfig
from core.settings.training_section import TrainingConfig
from tests.conftest import data_file


def wrong_with(config: DataConfig, tokenizer, length: int = 64) -> tuple[str, ...]:
    data = prepare(config, tokenizer, length, True)
    return badly_wrong(data, survey(data, TrainingConfig(), "</s>"), config, length)


def answers(path, *texts: str) -> DataConfig:
    return data_file(path, *({"instruction": f"ask {n}", "output": text} for n, text in enumerate(texts)))


def test_nothing_is_wrong_with_the_demo_s_rows(demo_tokenizer):
    demo = find_preset("demo-yoda").config
    assert wrong_with(demo.data, demo_tokenizer, demo.model.max_seq_length) == ()


def test_placeholders(tmp_path, demo_tokenizer):
    config = answers(tmp_path / "a.jsonl", "I am {{name}}.", *(f"answer {n}" for n in range(60)))
    assert wrong_with(config, demo_tokenizer) == (
        "1 of 61 rows have placeholders that are not filled in, such as {{name}}: the model would learn to write them.",
    )
    assert wrong_with(config.model_copy(update={"fill_in": ["name = Ember"]}), demo_tokenizer) == ()
    rare = answers(tmp_path / "b.jsonl", "{{ user }}", *(f"answer {n}" for n in range(120)))
    assert wrong_with(rare, demo_tokenizer) == (), "below 1% they may be code"


def test_the_same_answer(tmp_path, demo_tokenizer):
    found = wrong_with(answers(tmp_path / "a.jsonl", *["yes"] * 9, "no"), demo_tokenizer)
    assert found == ("9 of 10 rows have the same answer, “yes”: the model would learn only that.",)
    assert wrong_with(answers(tmp_path / "b.jsonl", *["yes"] * 8, "no", "perhaps"), demo_tokenizer) == ()


def test_most_rows_cut(tmp_path, demo_tokenizer):
    long, short = [f"{n} " + "cat " * 80 for n in range(6)], [f"cat {n}" for n in range(4)]
    found = wrong_with(answers(tmp_path / "a.jsonl", *long, *short), demo_tokenizer)
    assert found == ("6 of 10 rows are longer than 64 tokens and lose their end.",)
    assert wrong_with(answers(tmp_path / "b.jsonl", *long, *short, *short), demo_tokenizer) == ()


def test_rows_left_out(tmp_path, demo_tokenizer):
    config = answers(tmp_path / "a.jsonl", "one", "two", "three", "", "", "")
    said = ("3 of 6 rows would be left out: no answer (3).",)
    assert wrong_with(config, demo_tokenizer) == said
    agreed = config.model_copy(update={"allow_left_out": True})
    assert wrong_with(agreed, demo_tokenizer) == ()
    more = answers(tmp_path / "b.jsonl", "one", "", "").model_copy(update={"allow_left_out": True})
    assert wrong_with(more, demo_tokenizer) == ("2 of 3 rows would be left out: no answer (2).",)


def test_nothing_to_learn(tmp_path, chat_tokenizer):
    rows = [{"instruction": "cat " * 400, "output": str(n)} for n in range(6)]
    (found,) = wrong_with(data_file(tmp_path / "a.jsonl", *rows), chat_tokenizer, 1024)
    assert found.startswith("Only ") and found.endswith("there is almost nothing to learn.")


def test_columns_that_nobody_has_chosen(tmp_path, demo_tokenizer):
    config = data_file(tmp_path / "a.jsonl", {"one": "short", "two": "rather longer"})
    with pytest.raises(DataError, match="not clear how to read the rows"):
        wrong_with(config, demo_tokenizer)
