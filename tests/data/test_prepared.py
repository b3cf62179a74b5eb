"""All rows of a run: rows left out, cut and split, validation files, stopping, and what is written to disk."""

import ast
import csv
import json
import math
import os
import subprocess
import sys
import tracemalloc
from collections import Counter

import pytest

from core.data.prepared.examples_on_disk import Folder, remove_left_behind
from core.data.prepared.left_out import MAX_LISTED, NothingLeftError
from core.data.prepared.prepare import open_rows, prepare
from core.problems import DataError
from core.settings.sections import DataConfig
from core.settings.update_catalogs import TRANSLATED, catalog_file, read_catalog, texts_of
from core.threads import Stopped
from tests.conftest import PROJECT
from tests.conftest import data_file as write

GOOD = {"instruction": "a", "output": "b"}


def copy(config: DataConfig, **values) -> DataConfig:
    return config.model_copy(update=values)


def rows_of(examples) -> list[int]:
    return [example.row for example in examples]


def test_rows_left_out_are_counted_listed_and_written_to_a_file(tmp_path, chat_tokenizer):
    config = write(tmp_path / "a.jsonl", GOOD, GOOD | {"output": " "}, GOOD | {"output": None},
                   GOOD | {"instruction": ""},
                   GOOD | {"instruction": "long " * 600})  # fmt: skip
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"instruction": oops}\n')
    data = prepare(config, chat_tokenizer, 256, True)
    assert rows_of(data.train) == [1]
    fault = "not valid JSON: Expecting value, at column 17"
    expected = Counter(
        {"no answer": 2, "no instruction": 1, "the answer begins after 256 tokens": 1, "not valid JSON": 1}
    )
    assert data.left_out.counts == expected
    assert (data.rows, data.left_out.total, data.left_out.share) == (6, 5, 5 / 6)
    listed = [(left.number, left.place, left.reason) for left in data.left_out.first]
    assert listed == [
        (2, "line 2 of a.jsonl", "no answer"), (3, "line 3 of a.jsonl", "no answer"),
        (4, "line 4 of a.jsonl", "no instruction"),
        (6, "line 6 of a.jsonl", fault), (5, "line 5 of a.jsonl", "the answer begins after 256 tokens"),
    ]  # fmt: skip
    with data.left_out.path.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [(int(row["row"]), row["place"], row["reason"]) for row in written] == listed
    assert json.loads(written[0]["content"]) == GOOD | {"output": " "}


def test_deeply_nested_rows_are_read_or_left_out(tmp_path, tokenizer):
    deep = "[" * 900 + "]" * 900
    config = write(tmp_path / "a.jsonl", text='{"text": "good"}\n' * 20 + f'{{"text": {deep}}}\n' * 2)
    data = prepare(config, tokenizer, 64, True)
    assert rows_of(data.train)[:20] == list(range(1, 21)) and data.rows == 22
    assert len(data.train) + data.left_out.total == 22


def test_only_the_first_are_kept_in_memory_and_all_are_in_the_file(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"text": "good"}, *({"text": ""} for _ in range(MAX_LISTED + 50)))
    data = prepare(config, tokenizer, 64, True)
    assert (len(data.left_out.first), data.left_out.total) == (MAX_LISTED, MAX_LISTED + 50)
    assert len(data.left_out.path.read_text().splitlines()) == 1 + MAX_LISTED + 50


def test_more_than_a_tenth_left_out_asks_for_consent(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", *({"text": "x"} for _ in range(9)), {"text": ""})
    prepare(config, tokenizer, 64, True).ask_consent(config)  # a tenth just passes
    config = write(tmp_path / "b.jsonl", *({"text": "x"} for _ in range(8)), {"text": ""}, {"text": ""})
    data = prepare(config, tokenizer, 64, True)
    with pytest.raises(DataError) as caught:
        data.ask_consent(config)
    assert caught.value.values == {"left_out": 2, "rows": 10, "share": 0.2, "reasons": "no text (2)"}
    assert "2 of 10 rows (20%)" in str(caught.value)
    data.ask_consent(copy(config, allow_left_out=True))


def test_a_validation_file_is_asked_about_too(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"text": "x"})
    write(tmp_path / "b.jsonl", {"text": "y"}, {"text": " "})
    data = prepare(copy(config, validation_path=str(tmp_path / "b.jsonl")), tokenizer, 64, True)
    assert (rows_of(data.train), rows_of(data.validation)) == ([1], [1])
    assert data.own_validation.left_out.counts == Counter({"no text": 1})
    assert tokenizer.decode(data.validation[0].input_ids, skip_special_tokens=True).strip() == "y"
    with pytest.raises(DataError) as caught:
        data.ask_consent(config)
    assert caught.value.values == {"left_out": 1, "rows": 2, "share": 0.5, "reasons": "no text (1)"}


def test_a_guess_must_be_confirmed_before_training(tmp_path, chat_tokenizer):
    config = write(tmp_path / "a.jsonl", *({"alpha": f"short {n}", "omega": f"a longer text {n}"} for n in range(4)))
    data = prepare(config, chat_tokenizer, 512, True)
    with pytest.raises(DataError) as caught:
        data.ask_consent(config)
    assert caught.value.values == {"reason": data.shape.reason} and data.shape.reason.startswith("a guess")
    config = copy(config, instruction_column="alpha", answer_column="omega")
    prepare(config, chat_tokenizer, 512, True).ask_consent(config)


def test_no_row_left_is_refused_with_the_reasons(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"instruction": "a", "output": ""}, {"instruction": "", "output": "b"})
    with pytest.raises(NothingLeftError) as caught:
        prepare(config, tokenizer, 128, True)
    assert caught.value.values == {"reasons": "no answer (1), no instruction (1)"}
    config = write(tmp_path / "b.jsonl", GOOD)
    with pytest.raises(DataError, match="no chat template"):
        prepare(config, tokenizer, 128, True)


def test_duplicates_are_left_out_when_asked(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", *({"text": text} for text in ("one", "two", "one", "one ", "two")))
    assert rows_of(prepare(config, tokenizer, 64, True).train) == [1, 2, 3, 4, 5]
    data = prepare(copy(config, drop_duplicates=True), tokenizer, 64, True)
    assert rows_of(data.train) == [1, 2, 4]
    assert data.left_out.counts == Counter({"the same text as an earlier row": 2})


def test_long_rows_are_left_out_when_asked(tmp_path, tokenizer):
    texts = ["word " * 100, "short", "w" * 20]
    config = write(tmp_path / "a.jsonl", *({"text": text} for text in texts))
    whole = prepare(config, tokenizer, 1000, True).train
    longest = len(whole[2].input_ids)  # exactly as long as allowed
    data = prepare(copy(config, drop_long_rows=True, allow_left_out=True), tokenizer, longest, True)
    assert rows_of(data.train) == [2, 3] and not any(row.cut_ids for row in data.train)
    assert data.left_out.counts == Counter({f"longer than {longest} tokens": 1})


def test_a_long_row_is_cut_and_says_so(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"text": "word " * 100}, {"text": "short"})
    long, short = prepare(config, tokenizer, 32, True).train
    assert len(long.input_ids) == len(long.labels) == 32 and long.cut_ids
    assert short.cut_ids == [] and short.input_ids[-1] == tokenizer.eos_token_id


def test_a_whole_file_is_cut_into_pieces_that_fill_the_length(tmp_path, tokenizer):
    path = tmp_path / "story.txt"
    path.write_text("Once upon a time there was a cat.\n" * 40)
    config = DataConfig(path=str(path), text_rows="file", validation_share=0.0)
    data = prepare(config, tokenizer, 32, True)
    whole = tokenizer("<s>" + path.read_text() + "</s>", add_special_tokens=False)["input_ids"]
    assert len(data.train) == math.ceil(len(whole) / 32) > 10
    assert [token for example in data.train for token in example.input_ids] == whole
    assert (data.rows, data.left_out.total) == (1, 0)


def test_a_large_file_in_small_pieces_costs_no_more_than_its_size(tmp_path, tokenizer):
    """A quarter of a megabyte in thousands of pieces: copying all of it for each piece would take gigabytes."""
    path = tmp_path / "story.txt"
    path.write_text("Once upon a time there was a cat.\n" * 7_500)
    tracemalloc.start()
    data = prepare(DataConfig(path=str(path), text_rows="file", validation_share=0.0), tokenizer, 16, True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.train) > 5_000 and len(set(data.train.figures["hash"].tolist())) > 10
    assert peak < 200 * 2**20
    assert data.train.figures["ends"].all() and data.is_split
    examples, place = data.find(1)
    assert examples[place].input_ids[0] == tokenizer.bos_token_id  # its first piece


def test_rows_that_cannot_be_read_at_all_say_why(tmp_path, tokenizer):
    (tmp_path / "a.csv").write_text("question,answer\n" + "a,b,c\n" * 250 + "a,b\n" * 50)
    with pytest.raises(DataError) as caught:
        prepare(DataConfig(path=str(tmp_path / "a.csv"), header="yes"), tokenizer, 64, True)
    assert caught.value.values == {"rows": 200, "count": 200, "fault": "3 fields where the header has 2"}
    for name, text in (("none.json", "[]"), ("head.csv", "text\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="[Nn]o rows"):
            prepare(DataConfig(path=str(tmp_path / name)), tokenizer, 64, True)


def test_any_row_left_out_can_be_found(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", *({"text": "x" if n % 2 else ""} for n in range(1, 1001)))
    data = prepare(config, tokenizer, 64, True)
    left_out = data.left_out
    found = left_out.find(902)
    assert (found.number, found.place, found.reason) == (902, "line 902 of a.jsonl", "no text")
    assert left_out.find(901) is None and left_out.find(2).reason == "no text"


def test_the_first_details_of_a_reason_are_named(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", text='{"text": "x"}\n{"text": oops}\n{"text": "x"\n')
    words = prepare(config, tokenizer, 64, True).left_out.in_words()
    assert words == "not valid JSON (2; first: Expecting value, at column 10)"


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translated_reason_has_its_details_behind_a_colon_too(language):
    texts = {m.id: m.string for m in read_catalog(catalog_file(language), language) if isinstance(m.id, str)}
    trees = (ast.parse(file.read_text(encoding="utf-8")) for file in (PROJECT / "core/data").rglob("*.py"))
    calls = (found for tree in trees for name, found in texts_of(tree) if name == "TemplateError")
    reasons = {text.value for found in calls for text in found if isinstance(text, ast.Constant)}
    reasons.add("not valid JSON: {what}, at column {column}")
    translated = {reason for reason in reasons if texts[reason]}
    assert "a field is missing: {column}" in reasons
    assert [reason for reason in translated if (": " in reason) != (": " in texts[reason])] == []


def test_all_left_out_keeps_the_list(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", *({"text": ""} for _ in range(3)))
    with pytest.raises(NothingLeftError) as caught:
        prepare(config, tokenizer, 64, True)
    assert [left.number for left in caught.value.left_out.first] == [1, 2, 3]


def test_an_error_in_the_validation_file_says_so(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"text": "x"})
    with pytest.raises(DataError) as caught:
        prepare(copy(config, validation_path="/nowhere.csv"), tokenizer, 64, True)
    problem = caught.value.values["problem"]
    assert isinstance(problem, DataError) and problem.values == {"file": "/nowhere.csv"}
    assert str(problem) in str(caught.value)


def test_a_guess_about_the_validation_rows_is_asked_about(tmp_path, chat_tokenizer):
    config = write(tmp_path / "a.jsonl", GOOD)
    write(tmp_path / "b.jsonl", *({"alpha": f"short {n}", "omega": f"a longer text {n}"} for n in range(4)))
    data = prepare(copy(config, validation_path=str(tmp_path / "b.jsonl")), chat_tokenizer, 512, True)
    with pytest.raises(DataError, match="validation") as caught:
        data.ask_consent(config)
    assert caught.value.values == {"reason": data.own_validation.shape.reason}


def test_an_end_mark_long_before_the_end_is_found(tmp_path, chat_tokenizer):
    messages = [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "long " * 100}, {"role": "assistant", "content": "c", "weight": 0},
    ]  # fmt: skip
    data = prepare(write(tmp_path / "a.jsonl", {"messages": messages}), chat_tokenizer, 2000, True)
    assert data.train.figures["ends"].tolist() == [True]


def test_the_split_depends_on_share_and_seed(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", *({"text": f"row {n}"} for n in range(20)))
    for share, count in [(0.0, 0), (0.01, 1), (0.25, 5), (0.5, 10)]:
        data = prepare(copy(config, validation_share=share), tokenizer, 64, True)
        assert (len(data.train), len(data.validation)) == (20 - count, count)
        assert sorted([*rows_of(data.train), *rows_of(data.validation)]) == list(range(1, 21))
    first, again, other = (
        rows_of(prepare(copy(config, validation_share=0.5, seed=s), tokenizer, 64, True).train) for s in (1, 1, 2)
    )
    assert first == again != other


def test_a_single_row_is_trained_on_and_a_preview_reads_the_first_rows(tmp_path, tokenizer):
    config = copy(write(tmp_path / "a.jsonl", *({"text": f"row {n}"} for n in range(5))), validation_share=0.5)
    assert rows_of(prepare(config, tokenizer, 64, True, limit=1).train) == [1]
    assert sorted(rows_of(prepare(config, tokenizer, 64, True, limit=2).train)) in ([1], [2])


def test_rows_with_half_a_character_are_left_out(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", text='{"text": "good"}\n{"text": "half \\ud800 of it"}\n')
    data = prepare(config, tokenizer, 64, True)
    assert rows_of(data.train) == [1] and data.left_out.total == 1
    assert data.left_out.path.read_text(encoding="utf-8").count("\n") == 2


def test_the_trainer_is_given_the_same_tokens(tmp_path, tokenizer):
    data = prepare(
        copy(write(tmp_path / "a.jsonl", *({"text": f"row {n}"} for n in range(9))), validation_share=0.3),
        tokenizer,
        64,
        True,
    )
    for part in (data.train, data.validation):
        assert part.as_dataset().to_list() == [{"input_ids": e.input_ids, "labels": e.labels} for e in part]
    assert data.train.as_dataset(2).to_list() == data.train.as_dataset().to_list()[:2]


def test_every_row_is_found_under_its_number(tmp_path, tokenizer):
    config = copy(
        write(tmp_path / "a.jsonl", *({"text": f"row {n}" if n != 3 else ""} for n in range(1, 8))),
        validation_share=0.4,
    )
    data = prepare(config, tokenizer, 64, True)
    for row in (1, 2, 4, 5, 6, 7):
        examples, place = data.find(row)
        assert tokenizer.decode(examples[place].input_ids, skip_special_tokens=True).strip() == f"row {row}"
    assert data.find(3) is None and data.find(8) is None


def test_progress_and_stop(tmp_path, tokenizer):
    path = tmp_path / "a.jsonl"
    config = write(path, *({"text": f"row {n}"} for n in range(3500)))
    told = []
    prepare(config, tokenizer, 64, True, report=lambda share, rows: told.append((share, rows)))
    assert [rows for _, rows in told] == [1000, 2000, 3000, 3500]
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and 0 < shares[0] <= 1
    seen = []
    with pytest.raises(Stopped):
        prepare(config, tokenizer, 64, True, should_stop=lambda: len(seen) == 2, report=lambda *told: seen.append(told),
                parent=tmp_path / "kept")  # fmt: skip
    assert len(seen) == 2 and list((tmp_path / "kept").iterdir()) == []


def test_prepared_files_are_removed_with_the_object(tmp_path, tokenizer):
    data = prepare(write(tmp_path / "a.jsonl", {"text": "x"}), tokenizer, 64, True, parent=tmp_path / "kept")
    (folder,) = (tmp_path / "kept").iterdir()
    assert (folder / "rows.arrow").exists()
    del data
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [("squad", "squad"), ("own/name", "own/name"), (" own/name ", "own/name"), ("own/name.v2", "own/name.v2"),
     ("own/Llama-3.1-data", "own/Llama-3.1-data"), ("https://huggingface.co/datasets/own/name/", "own/name"),
     ("hf://datasets/own/name", "own/name")],
)  # fmt: skip
def test_names_that_are_looked_for_on_the_hub(monkeypatch, path, name):
    asked = []
    monkeypatch.setattr("core.data.prepared.prepare.open_hub", lambda config, token: asked.append((config.path, token)))
    open_rows(DataConfig(path=path), "secret")
    assert asked == [(name, "secret")]


@pytest.mark.parametrize(
    "path",
    ["data.csv", "own/data.csv", "own/data.csv.gz", "own/sheet.xlsx", "./x", "../x", "own/.x", "~/x", "/x/y",
     "C:\\x", "a/b/c",
     ".hidden", "own/name\nother/name"],
)  # fmt: skip
def test_names_of_files_are_never_looked_for_on_the_hub(path):
    with pytest.raises(DataError) as caught:
        open_rows(DataConfig(path=path))
    assert caught.value.values == {"file": path.splitlines()[0]}


def test_folders_of_killed_programs_are_removed(tmp_path):
    program = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    mine = Folder(tmp_path)
    # In a container, the program before this one had the same process id.
    pids = (os.getpid(), program.stdout.strip(), os.getppid() or 1)
    names = (*(f"prepared-{pid}-a" for pid in pids), "mine")
    before, dead, living, other = (tmp_path / name for name in names)
    for folder in (before, dead, living, other):
        folder.mkdir()
        (folder / "rows.arrow").write_text("x")
    remove_left_behind(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine.path, living, other])


def test_rows_that_cannot_be_saved(tmp_path, tokenizer):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(DataError) as caught:
        prepare(write(tmp_path / "a.jsonl", {"text": "x"}), tokenizer, 64, True, parent=tmp_path / "taken")
    assert caught.value.values == {"reason": "File exists"}
