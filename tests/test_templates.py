"""What the model sees: the texts, tokens and labels of rows, in the published formats of Llama 3.1 and Alpaca."""

from collections import Counter

import pytest

from core.config import DataConfig
from core.dataset import prepare, read_rows, recognise, render, tokenise
from core.templates import TEMPLATES, TemplateError, prompt_text
from tests.conftest import data_file as write

ALPACA = TEMPLATES["alpaca"]
HEAD = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)
TURN = "<|start_header_id|>{}<|end_header_id|>\n\n"


def trained_text(example, tokenizer) -> str:
    return tokenizer.decode([label for label in example.labels if label != -100])


def test_alpaca_rows_in_the_chat_template(tmp_path, chat_tokenizer):
    row = {"instruction": " Add. ", "input": "1 2", "output": "3", "system": "Be brief."}
    config = write(tmp_path / "a.jsonl", row, {"instruction": "Hi", "output": 7})
    first, second = prepare(config, chat_tokenizer, 512, True).train
    assert first.pieces == [
        (HEAD + "Be brief.<|eot_id|>" + TURN.format("user") + "Add.\n\n1 2<|eot_id|>" + TURN.format("assistant"), False),
        ("3<|eot_id|>", True),
    ]
    assert first.text == "".join(text for text, _ in first.pieces)
    assert trained_text(first, chat_tokenizer) == "3<|eot_id|>"
    assert second.text == HEAD + "<|eot_id|>" + TURN.format("user") + "Hi<|eot_id|>" + TURN.format("assistant") + "7<|eot_id|>"


def test_exact_tokens_and_labels_of_the_alpaca_prompt(tmp_path, tokenizer):
    config = write(tmp_path / "a.jsonl", {"system": "Hi", "instruction": "Say grey.", "output": "grey cat"})
    config.prompt_template = "alpaca"
    (example,) = prepare(config, tokenizer, 512, True).train
    assert example.text == "<s>Hi\n\n### Instruction:\nSay grey.\n\n### Response:\ngrey cat</s>"
    question = [1, 320, 417, 13, 13, 38, 38, 38, 359, 416, 356, 420, 425, 429, 413, 417, 289, 467, 13, 437, 283, 298, 276,
                422, 426, 13, 13, 38, 38, 38, 410, 461, 406, 427, 289, 372, 467, 13]  # fmt: skip
    answer = [428, 276, 422, 280, 294, 2]
    assert example.input_ids == question + answer
    assert example.labels == [-100] * len(question) + answer


def test_the_published_alpaca_prompts_word_for_word(tokenizer):
    messages = [{"role": "user", "content": "Say red."}, {"role": "assistant", "content": "red"}]
    assert ALPACA.pieces(messages, tokenizer) == [
        ("<s>Below is an instruction that describes a task. Write a response that appropriately completes the request."
         "\n\n### Instruction:\nSay red.\n\n### Response:\n", False),
        ("red</s>", True),
    ]  # fmt: skip
    assert TEMPLATES["alpaca_korean"].prompt(messages[:1], tokenizer) == (
        "<s>다음은 작업을 설명하는 명령입니다. 요청을 적절하게 완료하는 응답을 작성하세요."
        "\n\n### 지침:\nSay red.\n\n### 응답:\n"
    )


CHAT = [("system", "Be kind."), ("user", "One?"), ("assistant", "Yes, one."), ("user", "Two\n\nlines?"),
        ("assistant", "Two!"), ("assistant", "Or three."), ("user", "Never answered")]  # fmt: skip


def test_every_answer_with_its_end_mark_is_trained_on_and_nothing_else(tmp_path, chat_tokenizer):
    """Token by token, by a reader of the token stream that knows nothing of pieces or offsets."""
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
            expected += [-100] * (close + 4 - at)
            at = close + 4
            continue
        expected.append(ids[at] if role == "assistant" else -100)
        role = None if ids[at] == eot else role
        at += 1
    assert example.labels == expected
    assert trained_text(example, chat_tokenizer) == "Yes, one.<|eot_id|>Two!<|eot_id|>Or three.<|eot_id|>"
    assert example.text.endswith("Or three.<|eot_id|>")  # the question without an answer is left out


def test_all_of_it_is_learned_when_asked_for(tmp_path, chat_tokenizer):
    config = write(tmp_path / "a.jsonl", {"instruction": "Hi", "output": "Ho"})
    (example,) = prepare(config, chat_tokenizer, 512, completion_only_loss=False).train
    assert example.labels == example.input_ids


def test_the_real_price_rows_end_in_the_price(shared_data, chat_tokenizer):
    config = DataConfig(path=str(shared_data / "messages/price_is_200.jsonl"), validation_share=0.1)
    data = prepare(config, chat_tokenizer, 4096, True)
    assert (len(data.train), len(data.validation), data.left_out) == (180, 20, Counter())
    rows = read_rows(config)
    for example in data.train + data.validation:
        assert trained_text(example, chat_tokenizer) == rows[example.row - 1]["messages"][-1]["content"] + "<|eot_id|>"
    assert {e.row for e in data.train} | {e.row for e in data.validation} == set(range(1, 201))
    learned = sum(label != -100 for e in data.train for label in e.labels)
    assert data.trained_tokens_share == learned / sum(len(e.input_ids) for e in data.train)


def test_sharegpt_turns(tmp_path, chat_tokenizer):
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    config = write(tmp_path / "a.jsonl", {"conversations": turns}, {"conversations": [{"from": "observation", "value": "c"}]})
    data = prepare(config, chat_tokenizer, 512, True)
    assert [trained_text(example, chat_tokenizer) for example in data.train] == ["b<|eot_id|>"]
    assert data.left_out == Counter({"a message without a known role": 1})


def test_a_template_that_rewrites_earlier_turns_is_refused(chat_tokenizer):
    chat_tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    shape = recognise([{"messages": []}])
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(TemplateError, match="^the model's chat template rewrites earlier turns$"):
        render({"messages": turns}, shape, DataConfig(), chat_tokenizer)
    chat_tokenizer.chat_template = "{{ raise_exception('Only users may speak') }}"
    with pytest.raises(TemplateError, match="^the model's chat template says: Only users may speak$"):
        render({"messages": turns}, shape, DataConfig(), chat_tokenizer)


def test_a_token_belongs_to_the_piece_it_begins_in(tokenizer):
    # Joined, "a d" and "og ran" make the token " do": it begins in what is only read, so it is not trained on.
    example = tokenise(1, [("a d", False), ("og ran", True)], tokenizer, 64, True)
    assert tokenizer.convert_ids_to_tokens(example.input_ids) == ["▁a", "▁do", "g", "▁r", "an"]
    assert example.labels == [-100, -100, *example.input_ids[2:]]


def test_a_question_is_asked_as_it_was_trained(tmp_path, chat_tokenizer):
    """The text that Compare asks with is, to the letter, the part before the answer in training."""
    row = {"instruction": "Say red.", "output": "red", "system": "Be brief."}
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say red."}]
    config = write(tmp_path / "a.jsonl", row)
    for prompt in ("chat", "alpaca", "alpaca_korean"):
        config.prompt_template = prompt
        (example,) = prepare(config, chat_tokenizer, 512, True).train
        assert prompt_text(asked, prompt, chat_tokenizer) == example.pieces[0][0]
    assert prompt_text(asked, "{title}", chat_tokenizer) == "<|begin_of_text|>Say red."
    chat_tokenizer.chat_template = None
    assert prompt_text(asked, "chat", chat_tokenizer) == "<|begin_of_text|>Say red."
