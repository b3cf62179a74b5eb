"""Rows from files: the real ones, every kind of bad one, their shapes, and how they are split."""

import json
from collections import Counter

import pytest

from core.config import DataConfig
from core.dataset import DataError, as_dataset, prepare, read_rows, recognise, template_columns
from tests.conftest import data_file as write


def refusal(config: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        read_rows(config)
    return str(caught.value)


# Reading files


def test_real_files_are_read_whole(shared_data):
    for name, count, shape in [
        ("alpaca/alpaca_en_demo.json", 999, "alpaca"), ("alpaca/identity.json", 91, "alpaca"),
        ("messages/price_is_200.jsonl", 200, "messages"), ("text/c4_demo.jsonl", 300, "text"),
        ("sharegpt/glaive_toolcall_en_demo.json", 300, "sharegpt"), ("nasty/jsonl/dupes.jsonl", 3, "text"),
    ]:  # fmt: skip
        rows = read_rows(DataConfig(path=str(shared_data / name)))
        assert (len(rows), recognise(rows).name) == (count, shape)
        source = (shared_data / name).read_text(encoding="utf-8")
        first = json.loads(source)[0] if name.endswith(".json") else json.loads(source.split("\n")[0])
        assert rows[0] == first


def test_every_json_file_is_read_or_refused_in_one_sentence(shared_data):
    files = sorted((shared_data / "nasty" / "JSONTestSuite").glob("*.json"))
    assert len(files) > 100
    for file in files:
        try:
            rows = read_rows(DataConfig(path=str(file)))
        except DataError as error:
            sentence = str(error)
            assert file.name[1:] in sentence and sentence.endswith(".") and "\n" not in sentence, sentence
            # Valid JSON is refused only because it is not a list of rows.
            assert not file.name.startswith("y_") or "named fields" in sentence or "list of rows" in sentence, sentence
        else:
            assert not file.name.startswith("n_") and all(isinstance(row, dict) for row in rows), file.name


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.jsonl", '{"text": "x"}\n{broken\n',
         "Line 2 of a.jsonl is not valid JSON: Expecting property name enclosed in double quotes, at column 2."),
        ("a.jsonl", '{"text": "x"}\n\n\n[1]\n', "Line 4 of a.jsonl is not a row with named fields, {…}."),
        ("a.json", '[{"text": "x"}, 3]', "Row 2 of a.json is not a row with named fields, {…}."),
        ("a.json", '[{"text": "x"}\n"y"]', "a.json is not valid JSON: Expecting ',' delimiter, at line 2, column 1."),
        ("a.json", '{"text": "x"}', "a.json must hold a list of rows, [{…}, {…}]; it holds one value."),
        ("a.json", " \n", "a.json is empty; choose a file with rows in it."),
        ("a.csv", "a,b\n", "a.csv is not a JSON or JSONL file; save the rows as one of these."),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_a_sentence_that_names_the_line(tmp_path, name, text, sentence):
    assert refusal(write(tmp_path / name, text=text)) == sentence


def test_other_things_that_are_no_files_of_rows(tmp_path):
    (tmp_path / "latin.json").write_bytes(b'[{"text": "caf\xe9"}]')
    (tmp_path / "folder.json").mkdir()
    latin, folder, gone = (DataConfig(path=str(tmp_path / name)) for name in ("latin.json", "folder.json", "gone.json"))
    assert refusal(latin) == "latin.json is not UTF-8 text; save it as UTF-8."
    assert refusal(folder) == f"{folder.path} is a folder; choose a JSON or JSONL file."
    assert refusal(gone) == f"There is no file {gone.path}; check the path, or drop the file on the Data tab."


def test_a_byte_order_mark_and_odd_line_ends_are_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one\\u2028two"}\r\n\r\n{"text": "\xe2\x80\xa8"}\r\n')
    assert read_rows(DataConfig(path=str(path))) == [{"text": "one\u2028two"}, {"text": "\u2028"}]


# Recognising them


@pytest.mark.parametrize(
    ("row", "shape"),
    [({"instruction": "a", "output": "b"}, "alpaca"), ({"messages": []}, "messages"), ({"text": "a"}, "text"),
     ({"conversations": [], "text": "a"}, "sharegpt"), ({"messages": "a", "instruction": "a", "output": "b"}, "alpaca")],
)  # fmt: skip
def test_the_shape_is_known_by_the_fields(row, shape):
    assert recognise([row]).name == shape


def test_rows_and_prompts_that_do_not_go_together():
    for rows, prompt, sentence in [
        ([], "chat", "There are no rows."),
        ([{"Q": 1, "A": 2}], "chat", "The rows have 'Q', 'A'; they need instruction and output, messages, conversations, or text."),
        ([{}], "chat", "The rows have no fields; they need instruction and output, messages, conversations, or text."),
        ([{"Q": 1}], "{A} of {Q}", "The prompt names {A}, and the rows have Q."),
        ([{"Q": 1}], "{Q", "The prompt's braces do not match: expected '}' before end of string."),
        ([{"Q": 1}], "lama", "There is no prompt 'lama'; take chat, alpaca, alpaca_korean, or a text with {column}."),
    ]:
        with pytest.raises(DataError) as caught:
            recognise(rows, prompt)
        assert str(caught.value) == sentence


@pytest.mark.parametrize("prompt", ["{}", "{0}", "{Q:d}", "{Q!x}", '{{"json": {Q.real}}}'])
def test_braces_that_are_no_columns_are_refused_in_a_sentence(tmp_path, tokenizer, prompt):
    config = write(tmp_path / "a.jsonl", {"Q": "words"}).model_copy(update={"prompt_template": prompt})
    with pytest.raises(DataError):
        prepare(config, tokenizer, 128, True)


def test_a_prompt_of_columns(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"Q": "who", "n": 3}, {"Q": None, "n": 0}, {"n": 1})
    config.prompt_template = "{{{Q}}} {n} {Q}"
    assert template_columns(config.prompt_template) == ["Q", "n"]
    data = prepare(config, tokenizer, 128, True)
    assert [example.text for example in data.train] == ["<s>{who} 3 who</s>", "<s>{} 0 </s>", "<s>{} 1 </s>"]
    assert all(example.labels == example.input_ids for example in data.train)  # plain text is learned whole


# Rows that are left out, cut and split


def test_rows_that_cannot_be_learned_from_are_counted_by_reason(tmp_path, chat_tokenizer):
    good = {"instruction": "a", "output": "b"}
    config = write(tmp_path / "a.jsonl", good, good | {"output": " "}, good | {"output": None}, good | {"instruction": ""},
                   good | {"instruction": "long " * 600})  # fmt: skip
    data = prepare(config, chat_tokenizer, 256, True)
    assert [example.row for example in data.train] == [1]
    assert data.left_out == Counter({"no answer": 2, "no instruction": 1, "the answer begins after 256 tokens": 1})


def test_no_row_left_is_refused_with_the_reasons(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"instruction": "a", "output": ""}, {"instruction": "", "output": "b"})
    with pytest.raises(DataError, match=r"^No row can be learned from: no answer \(1\), no instruction \(1\)\.$"):
        prepare(config, tokenizer, 128, True)
    config = write(tmp_path / "b.jsonl", {"instruction": "a", "output": "b"})
    with pytest.raises(DataError, match="no chat template, so choose the alpaca prompt"):
        prepare(config, tokenizer, 128, True)


def test_a_long_row_is_cut_and_says_so(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"text": "word " * 100}, {"text": "short"})
    long, short = prepare(config, tokenizer, 32, True).train
    assert long.is_cut and len(long.input_ids) == len(long.labels) == 32
    assert not short.is_cut and short.input_ids[-1] == tokenizer.eos_token_id


def test_the_split_keeps_back_a_share_by_its_seed(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", *({"text": f"row {n}"} for n in range(20)))
    for share, count in [(0.0, 0), (0.01, 1), (0.25, 5), (0.5, 10)]:
        data = prepare(config.model_copy(update={"validation_share": share}), tokenizer, 64, True)
        assert (len(data.train), len(data.validation)) == (20 - count, count)
        assert sorted(e.row for e in data.train + data.validation) == list(range(1, 21))
    first, again, other = (
        [e.row for e in prepare(config.model_copy(update=dict(validation_share=0.5, seed=s)), tokenizer, 64, True).train]
        for s in (1, 1, 2)
    )
    assert first == again != other


def test_a_single_row_is_trained_on_and_a_preview_reads_the_first_rows(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", *({"text": f"row {n}"} for n in range(5))).model_copy(update={"validation_share": 0.5})
    assert [e.row for e in prepare(config, tokenizer, 64, True, limit=1).train] == [1]
    assert sorted(e.row for e in prepare(config, tokenizer, 64, True, limit=2).train) in ([1], [2])


def test_half_a_character_does_not_break_it(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", text='{"text": "good"}\n{"text": "half \\ud800 of it"}\n')
    try:
        data = prepare(config, tokenizer, 64, True)
    except DataError:
        return
    assert [e.row for e in data.train][:1] == [1]


def test_the_trainer_is_given_the_same_tokens(tmp_path, tokenizer):
    data = prepare(write(tmp_path / "a.jsonl", {"text": "one"}, {"text": "two"}), tokenizer, 64, True)
    assert as_dataset(data.train).to_list() == [{"input_ids": e.input_ids, "labels": e.labels} for e in data.train]
