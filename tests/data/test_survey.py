"""The figures of all rows, compared with the same figures counted one by one, and every warning."""

import json
from functools import cache

import pytest

from core.data.files.text_rows import FEW_BLANK_LINES
from core.data.prepared.languages import languages
from core.data.prepared.left_out import NothingLeftError
from core.data.prepared.prepare import prepare
from core.data.prepared.survey import survey
from core.data.prepared.tokens import UNTRAINED
from core.settings.run_config import RunConfig
from core.settings.sections import DataConfig
from core.settings.steps import steps_per_epoch
from core.settings.training_section import TrainingConfig
from tests.conftest import data_file as write

TRAINING = TrainingConfig(per_device_train_batch_size=2, gradient_accumulation_steps=4)


@pytest.fixture(scope="module", autouse=True)
def one_language_model():
    """Reads the language model once for all tests here; the program reads it again each time to save memory."""
    from py3langid.langid import LanguageIdentifier

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageIdentifier, "from_model_file", cache(LanguageIdentifier.from_model_file))
        yield


def surveyed(config: DataConfig, tokenizer, length: int = 64, only_completions: bool = True):
    return survey(prepare(config, tokenizer, length, only_completions), TRAINING, "</s>")


def test_the_figures_are_those_of_the_examples(shared_data, chat_tokenizer):
    config = DataConfig(path=str(shared_data / "messages/price_is_200.jsonl"))
    data = prepare(config, chat_tokenizer, 1200, True)
    found = survey(data, TRAINING, "<|eot_id|>")
    everything = [*data.train, *data.validation]
    lengths = [len(e.input_ids) + len(e.cut_ids) for e in everything]
    assert (found.rows, found.train_rows, found.validation_rows) == (200, len(data.train), len(data.validation))
    assert found.used + data.left_out.total == 200
    assert found.tokens == sum(len(e.input_ids) for e in everything)
    assert found.trained_tokens == sum(label != UNTRAINED for e in everything for label in e.labels)
    assert found.cut_rows == sum(bool(e.cut_ids) for e in everything)
    assert found.lost_tokens == sum(len(e.cut_ids) for e in everything)
    assert found.longest == max(lengths)
    assert lengths[[e.row for e in everything].index(found.longest_row)] == found.longest
    assert sum(found.counts) == len(everything)
    for low, high, count in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True):
        assert count == sum(low <= length < high for length in lengths)
    assert found.edges[-1] > found.longest


def test_one_epoch_in_steps():
    for rows, batch, accumulation, steps in [
        (1, 2, 4, 1), (8, 2, 4, 1), (9, 2, 4, 2), (16, 2, 4, 2), (17, 2, 4, 3), (100, 3, 7, 5), (5, 1, 1, 5),
    ]:  # fmt: skip
        training = TrainingConfig(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation)
        assert steps_per_epoch(rows, training) == steps


def test_a_clean_set_has_no_warnings(tmp_path, tokenizer):
    found = surveyed(write(tmp_path / "a.jsonl", *({"text": f"Row {n} is short."} for n in range(40))), tokenizer)
    assert found.warnings == () and (found.repeated, found.shared, found.unfilled, found.without_end) == (0, 0, 0, 0)


def test_rows_cut_at_the_end(tmp_path, tokenizer):
    rows = [{"text": "word " * 60}] + [{"text": f"short {n}"} for n in range(18)]
    found = surveyed(write(tmp_path / "a.jsonl", *rows), tokenizer, 32)
    long = len(tokenizer("<s>" + "word " * 60 + "</s>", add_special_tokens=False)["input_ids"])
    assert (found.cut_rows, found.lost_tokens, found.longest, found.longest_row) == (1, long - 32, long, 1)
    (warning,) = found.warnings
    assert warning.startswith(f"1 of 19 rows (5%) are cut at the end and lose {long - 32} tokens:")
    assert "data.text_rows" in warning
    few = surveyed(write(tmp_path / "b.jsonl", *rows, {"text": "one more"}), tokenizer, 32)
    assert few.cut_rows == 1 and few.warnings == ()  # just 5% of 20


def test_a_text_with_a_few_blank_lines(tmp_path, shared_cases, tokenizer):
    def warning_of(file: str, blank: int) -> str:
        return FEW_BLANK_LINES.format(file=file, blank=blank)

    path = shared_cases / "text_few_blank_lines.txt"
    found = surveyed(DataConfig(path=str(path)), tokenizer)
    assert (found.rows, found.used, found.cut_rows) == (400, 400, 0)
    (warning,) = found.warnings
    assert warning == warning_of(path.name, 1) and "data.text_rows" in warning
    paragraphs = surveyed(DataConfig(path=str(path), text_rows="paragraph"), tokenizer)
    (warning,) = paragraphs.warnings
    assert warning.startswith("2 of 2 rows (100%) are cut") and "data.text_rows" in warning
    (tmp_path / "b.txt").write_text(path.read_text(encoding="utf-8") + "\nThe end.\n", encoding="utf-8")
    both = surveyed(DataConfig(path=str(path), validation_path=str(tmp_path / "b.txt")), tokenizer)
    assert both.warnings[:2] == (warning_of(path.name, 1), warning_of("b.txt", 2))


def test_no_end_mark(tmp_path, chat_tokenizer):
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    chat_tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" \
        "{% if add_generation_prompt %}assistant: {% endif %}"  # fmt: skip
    found = surveyed(write(tmp_path / "a.jsonl", row), chat_tokenizer)
    assert found.without_end == 1
    (warning,) = found.warnings
    assert warning.startswith("1 of 1 rows have no end token (</s>)")
    chat_tokenizer.chat_template = chat_tokenizer.chat_template.replace("}}\n", "}}<|eot_id|>\n")
    assert surveyed(write(tmp_path / "a.jsonl", row), chat_tokenizer).without_end == 0


def test_placeholders_that_nobody_filled_in(shared_data, chat_tokenizer):
    config = DataConfig(path=str(shared_data / "alpaca/identity.json"))
    rows = json.loads((shared_data / "alpaca/identity.json").read_text(encoding="utf-8"))
    text = [row for row in rows if "{{" in row["output"]]
    found = surveyed(config, chat_tokenizer, 512)
    assert found.unfilled == len(text)
    assert any(w.startswith(f"{len(text)} rows have an unfilled placeholder such as {{{{") for w in found.warnings)


def test_validation_rows_that_are_also_in_the_training_set(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"text": "one"}, {"text": "two"}, {"text": "one"}, {"text": "three"})
    write(tmp_path / "b.jsonl", {"text": "two"}, {"text": "four"}, {"text": "two"})
    found = surveyed(config.model_copy(update={"validation_path": str(tmp_path / "b.jsonl")}), tokenizer)
    assert (found.repeated, found.shared) == (1, 2)
    (warning,) = found.warnings
    assert warning.startswith("2 of 3 validation rows are also in the training set:") and "two files" in warning


def test_special_tokens_in_the_rows_own_text(tmp_path, chat_tokenizer):
    rows = [{"instruction": "Say <|eot_id|> now", "output": "b"}, {"instruction": "a", "output": "b"}]
    found = surveyed(write(tmp_path / "a.jsonl", *rows), chat_tokenizer, 512)
    (warning,) = found.warnings
    assert warning.startswith("1 row has a special token such as <|eot_id|>")


def test_hardly_anything_trained_on(tmp_path, chat_tokenizer):
    config = write(tmp_path / "a.jsonl", {"instruction": "very long " * 300, "output": "b"})
    (warning,) = surveyed(config, chat_tokenizer, 2048).warnings
    assert warning.startswith("Less than 1% of the tokens are trained on")


def test_words_with_a_hash_that_a_response_starts_after(shared_cases, demo_tokenizer):
    path = shared_cases / "response_after_hashes.jsonl"
    trained = []
    for words in ("", "### Response:"):
        settings = [f"data.path={path}", "data.validation_share=0", f"data.response_starts_after={words}"]
        data = prepare(RunConfig().with_settings(settings).data, demo_tokenizer, 2048, True)
        trained.append([[label for label in example.labels if label != UNTRAINED] for example in data.train])
    answers = [json.loads(line)["output"].partition(": ")[2] for line in path.read_text(encoding="utf-8").splitlines()]
    assert [demo_tokenizer.decode(ids).strip() for ids in trained[1]] == [f"{answer}<|eot_id|>" for answer in answers]
    assert [sum(map(len, rows)) for rows in trained] == [1061, 111]


def test_a_column_with_one_value_is_taken_for_the_answer(shared_data, chat_tokenizer):
    """A spreadsheet that people were to fill in: the second column is 0 in every row."""
    found = surveyed(DataConfig(path=str(shared_data / "price/human_in.csv")), chat_tokenizer, 512)
    assert found.used == 100
    assert found.warnings[1:] == (  # the first is that hardly anything is trained on
        '100 of 100 rows (100%) have the same answer, "0": the model learns to write that whatever it reads; check '
        "which column is the answer.",
    )


@pytest.mark.parametrize(
    ("same", "others", "warns"), [(9, 1, True), (90, 10, True), (89, 11, False), (5, 0, True), (4, 0, False)]
)
def test_nearly_all_answers_the_same(tmp_path, tokenizer, same, others, warns):
    answers = [f"no {n}" for n in range(others)] + ["yes"] * same  # what most rows have need not come first
    rows = [{"instruction": f"Is it {n}?", "output": answer} for n, answer in enumerate(answers)]
    config = write(tmp_path / "a.jsonl", *rows).model_copy(update={"prompt_template": "alpaca"})
    warnings = surveyed(config, tokenizer, 512).warnings
    share = f"{same} of {same + others} rows ({same / (same + others):.0%}) have the same answer, "
    assert [warning.startswith(share + '"yes":') for warning in warnings] == [True] * warns


def test_answers_that_are_all_empty(tmp_path, chat_tokenizer):
    """Nothing follows the words that the response starts after, and only the end mark is trained on."""
    rows = [{"instruction": f"Item {n}", "output": "Price is $"} for n in range(6)]
    config = write(tmp_path / "a.jsonl", *rows).model_copy(update={"response_starts_after": "Price is $"})
    (warning,) = surveyed(config, chat_tokenizer, 512).warnings
    assert warning.startswith("6 of 6 rows (100%) have an empty answer:")
    empty = [{"instruction": f"Item {n}", "output": " "} for n in range(6)]
    with pytest.raises(NothingLeftError) as told:
        surveyed(write(tmp_path / "b.jsonl", *empty), chat_tokenizer, 512)
    assert told.value.left_out.counts == {"no answer": 6}


def test_texts_and_validation_rows_that_are_all_the_same(tmp_path, tokenizer):
    texts = write(tmp_path / "a.jsonl", *({"text": "again"} for _ in range(6)))
    (warning,) = surveyed(texts, tokenizer).warnings
    assert warning.startswith('6 of 6 rows (100%) have the same text to learn, "again":')
    config = write(tmp_path / "b.jsonl", *({"text": f"Row {n}"} for n in range(6)))
    found = surveyed(config.model_copy(update={"validation_path": texts.path}), tokenizer)
    assert [w.startswith("6 of 6 validation rows (100%) have the same text") for w in found.warnings] == [True]


ENGLISH = "The quick brown fox jumps over the lazy dog near the old river bank."
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund am alten Flussufer."
KOREAN = "빠른 갈색 여우가 게으른 개를 뛰어넘어 오래된 강가로 갔습니다."


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        ([ENGLISH] * 20, ["en"]),
        ([KOREAN] * 20, ["ko"]),
        ([ENGLISH] * 15 + [KOREAN] * 5, ["en", "ko"]),
        ([ENGLISH] * 15 + [GERMAN] * 5, ["en", "de"]),
        ([ENGLISH] * 20 + [GERMAN] * 4, ["en"]),  # too few
        (["7", "ok"] * 50, []),  # too short
    ],
)
def test_languages_of_texts(texts, codes):
    assert [code for code, _ in languages(tuple(texts))] == codes


def test_several_languages_at_once(tmp_path, tokenizer):
    rows = [{"text": f"{ENGLISH} {n}"} for n in range(15)] + [{"text": f"{KOREAN} {n}"} for n in range(5)]
    found = surveyed(write(tmp_path / "a.jsonl", *rows), tokenizer, 512)
    assert found.languages == (("en", 0.75), ("ko", 0.25))
    (warning,) = found.warnings
    assert "(en 75%, ko 25%)" in warning


@pytest.mark.parametrize("name", ["alpaca/alpaca_en_demo.json", "text/c4_demo.jsonl", "korean/ChatbotData.csv"])
def test_real_datasets_in_one_language_do_not_seem_to_have_several(shared_data, chat_tokenizer, name):
    data = prepare(DataConfig(path=str(shared_data / name)), chat_tokenizer, 512, True, limit=300)
    assert [code for code, _ in languages(data.samples)] == ["ko" if "korean" in name else "en"]
