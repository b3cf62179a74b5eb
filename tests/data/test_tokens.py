"""Tokens and labels, compared with ones computed in other ways, without pieces or offsets."""

import json

import pytest

from core.data.columns.recognise import recognise
from core.data.prepared.prepare import open_rows, prepare
from core.data.prepared.render import render
from core.data.prepared.tokens import UNTRAINED, Rendered, tokenise
from core.data.prompts.prompt_templates import prompt_text
from core.settings.sections import DataConfig
from tests.conftest import data_file as write

CHAT = [("system", "Be kind."), ("user", "One?"), ("assistant", "Yes, one."), ("user", "Two\n\nlines?"),
        ("assistant", "Two!"), ("assistant", "Or three."), ("user", "Never answered")]  # fmt: skip


def trained_text(example, tokenizer) -> str:
    return tokenizer.decode([label for label in example.labels if label != UNTRAINED])


def one(pieces, tokenizer, length: int = 64, only_completions: bool = True):
    ((example,),) = tokenise([Rendered(1, pieces)], tokenizer, length, only_completions)
    return example


def test_exact_tokens_and_labels_of_the_alpaca_prompt(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"system": "Hi", "instruction": "Say grey.", "output": "grey cat"})
    config.prompt_template = "alpaca"
    (example,) = prepare(config, tokenizer, 512, True).train
    question = [1, 320, 417, 13, 13, 38, 38, 38, 359, 416, 356, 420, 425, 429, 413, 417, 289, 467, 13, 437, 283, 298,
                276, 422, 426, 13, 13, 38, 38, 38, 410, 461, 406, 427, 289, 372, 467, 13]  # fmt: skip
    answer = [428, 276, 422, 280, 294, 2]
    assert example.input_ids == question + answer
    assert example.labels == [UNTRAINED] * len(question) + answer


def test_every_answer_with_its_end_mark_is_trained_on_and_nothing_else(tmp_path, chat_tokenizer):
    """Token by token, by reading the token stream."""
    messages = [{"role": role, "content": content} for role, content in CHAT]
    config = write(tmp_path / "a.jsonl", {"messages": messages})
    (example,) = prepare(config, chat_tokenizer, 512, True).train
    begin, end, eot = chat_tokenizer.convert_tokens_to_ids(["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    blank = chat_tokenizer.convert_tokens_to_ids(["▁", "<0x0A>", "<0x0A>"])  # this tokenizer's two line ends
    role, expected, at = None, [], 0
    ids = example.input_ids
    while at < len(ids):
        if ids[at] == begin:
            close = ids.index(end, at)
            role = chat_tokenizer.decode(ids[at + 1 : close]).strip()
            assert ids[close + 1 : close + 4] == blank
            expected += [UNTRAINED] * (close + 4 - at)
            at = close + 4
            continue
        expected.append(ids[at] if role == "assistant" else UNTRAINED)
        role = None if ids[at] == eot else role
        at += 1
    assert example.labels == expected
    assert trained_text(example, chat_tokenizer) == "Yes, one.<|eot_id|>Two!<|eot_id|>Or three.<|eot_id|>"


@pytest.mark.parametrize("prompt", ["chat", "alpaca"])
def test_turns_marked_as_without_loss_are_only_read(shared_cases, chat_tokenizer, prompt):
    path = shared_cases / "turns_with_loss_key.jsonl"
    data = prepare(DataConfig(path=str(path), prompt_template=prompt), chat_tokenizer, 512, True)
    assert len(data.train) + len(data.validation) == len(path.read_text(encoding="utf-8").splitlines()) > 0
    for example in [*data.train, *data.validation]:
        assert trained_text(example, chat_tokenizer).strip() == "ACTION: open door<|eot_id|>"
        assert "OK<|eot_id|>" in chat_tokenizer.decode(example.input_ids)


def test_all_of_it_is_trained_on_without_completion_only_loss(tokenizer):
    example = one([("Hi ", False), ("Ho", True)], tokenizer, only_completions=False)
    assert example.labels == example.input_ids and example.trained == len(example.input_ids)


def test_a_token_belongs_to_the_piece_that_most_of_it_is_in(tokenizer):
    # Joined, "a d" and "og ran" make the token " do": two of its three characters are only read.
    example = one([("a d", False), ("og ran", True)], tokenizer)
    assert tokenizer.convert_ids_to_tokens(example.input_ids) == ["▁a", "▁do", "g", "▁r", "an"]
    assert example.labels == [UNTRAINED, UNTRAINED, *example.input_ids[2:]]
    # Most of " day" is after the cut: otherwise the answer's first word would not be trained on.
    example = one([("a ", False), ("day", True)], tokenizer)
    assert tokenizer.convert_ids_to_tokens(example.input_ids) == ["▁a", "▁day"]
    assert example.labels == [UNTRAINED, example.input_ids[1]]


PIECES = [
    [("가나", False), ("다라 😀", True), ("é", False), ("끝", True)],  # tokens of single bytes, several to a character
    [("", False), ("only", True), ("", True)],
    [("Say it.\n\n", False), ("Sea", True)],
    [("Say it.\n\n", False), ("sea", True), ("\n\nAnd é\n", False), ("Été. 😀", True)],
    [("  ", False), ("\n\n", True), ("x\n", False)],
    [("### Response:\n", False), ("7 apples", True)],
]


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("which", ["stories", "demo"])
def test_the_answer_begins_where_the_prompt_ends(tokenizer, demo_tokenizer, which, pieces):
    """Compared with the plain way: the text up to the answer is tokenised on its own, as a prompt is."""
    chosen = {"stories": tokenizer, "demo": demo_tokenizer}[which]
    expected, text, done = [], "", []
    for piece, trained in pieces:
        text += piece
        ids = chosen(text, add_special_tokens=False)["input_ids"]
        assert ids[: len(done)] == done, "these pieces were chosen so that no token straddles them"
        expected += ids[len(done) :] if trained else [UNTRAINED] * (len(ids) - len(done))
        done = ids
    assert one(pieces, chosen).labels == expected


@pytest.mark.parametrize("name", ["alpaca/alpaca_en_demo.json", "korean/ChatbotData.csv"])
@pytest.mark.parametrize("which", ["chat", "demo"])
def test_in_real_rows_too(shared_data, chat_tokenizer, demo_tokenizer, which, name):
    chosen = {"chat": chat_tokenizer, "demo": demo_tokenizer}[which]
    config = DataConfig(path=str(shared_data / name), validation_share=0.0)
    rows = list(open_rows(config))[:200]
    shape = recognise([row.values for row in rows], config)
    data = prepare(config, chosen, 100_000, True, limit=200)
    assert len(data.train) == len([row for row in rows if row.number <= 200]) == 200
    for row, example in zip(rows, data.train, strict=True):
        (asked, _), *_ = render(row.values, shape, config, chosen)
        question = chosen(asked, add_special_tokens=False)["input_ids"]
        assert example.labels[: len(question)] == [UNTRAINED] * len(question)
        assert example.labels[len(question) :] == example.input_ids[len(question) :], row.place


def test_cut_tokens_are_kept_for_display(tokenizer):
    whole = one([("one two three ", False), ("four five six", True)], tokenizer)
    cut = one([("one two three ", False), ("four five six", True)], tokenizer, length=5)
    assert (cut.input_ids, cut.labels, cut.cut_ids) == (whole.input_ids[:5], whole.labels[:5], whole.input_ids[5:])


def test_a_file_in_one_piece_is_split_and_loses_nothing(tokenizer):
    pieces = [("one two three four five six seven eight", True)]
    whole = one(pieces, tokenizer)
    (parts,) = tokenise([Rendered(7, pieces)], tokenizer, 6, True, splits=True)
    assert [len(part.input_ids) for part in parts[:-1]] == [6] * (len(parts) - 1) and len(parts) > 1
    assert [token for part in parts for token in part.input_ids] == whole.input_ids
    assert all(part.labels == part.input_ids and part.cut_ids == [] and part.row == 7 for part in parts)


def test_the_real_price_rows_end_in_the_price(shared_data, chat_tokenizer):
    path = shared_data / "messages/price_is_200.jsonl"
    answers = [json.loads(line)["messages"][-1]["content"] for line in path.read_text(encoding="utf-8").splitlines()]
    for marker in (None, "Price is $"):
        data = prepare(DataConfig(path=str(path), response_starts_after=marker), chat_tokenizer, 4096, True)
        assert (len(data.train), len(data.validation), data.left_out.total) == (180, 20, 0)
        for example in [*data.train, *data.validation]:
            learned = answers[example.row - 1].removeprefix(marker or "")
            assert trained_text(example, chat_tokenizer) == learned + "<|eot_id|>"
        tokens = sum(len(e.input_ids) for e in data.train)
        assert data.trained_tokens_share == sum(e.trained for e in data.train) / tokens


@pytest.mark.parametrize("prompt", ["chat", "alpaca", "alpaca_korean"])
def test_a_prompt_has_the_same_tokens_as_in_training(tmp_path, chat_tokenizer, prompt):
    """The prompt on the Compare tab has exactly the tokens before the answer in training."""
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say red."}]
    config = write(tmp_path / "a.jsonl", {"instruction": "Say red.", "output": "red", "system": "Be brief."})
    config.prompt_template = prompt
    (example,) = prepare(config, chat_tokenizer, 512, True).train
    question = chat_tokenizer(prompt_text(asked, prompt, chat_tokenizer), add_special_tokens=False)["input_ids"]
    assert example.input_ids[: example.labels.count(UNTRAINED)] == question
