"""The view of a row compared with the trainer's own batches, token by token, and how it shows cuts and end marks."""

import pytest

from core.data.prepared.prepare import prepare
from core.data.prepared.row_view import end_mark, view
from core.data.prepared.tokens import UNTRAINED
from tests.conftest import data_file as write
from tests.conftest import load_for, small_config


def view_of(data, row: int, tokenizer, ends=None):
    examples, place = data.find(row)
    return view(examples, place, tokenizer, ends or [tokenizer.eos_token_id], examples is data.validation)


def test_the_view_is_what_the_trainers_data_loader_yields(stories, shared_data, unsloth, tmp_path):
    """Every row of a real dataset, some of them cut, as the real trainer's own data loaders yield it."""
    from core.training.trainer import build_trainer

    path = shared_data / "alpaca/alpaca_en_demo.json"
    config = small_config(stories, path, "training.per_device_train_batch_size=3", "data.validation_share=0.1")
    loaded = load_for(config)
    data = prepare(config.data, loaded.tokenizer, 400, True)
    trainer, _ = build_trainer(loaded, config, data, tmp_path, None)
    for part, loader in (
        (data.train, trainer.get_train_dataloader()),
        (data.validation, trainer.get_eval_dataloader()),
    ):
        sequences = []
        for batch in loader:
            for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
                keep = mask.bool()
                assert (labels[~keep] == UNTRAINED).all()
                sequences.append((ids[keep].tolist(), labels[keep].tolist()))
        shown = []
        for place in range(len(part)):
            row = view(part, place, loaded.tokenizer, loaded.eos_token_ids, False)
            seen = [token for token in row.tokens if not token.is_cut]
            ids = [token.id for token in seen]
            shown.append((ids, [token.id if token.is_trained else UNTRAINED for token in seen]))
            assert len(ids) == row.kept and sum(token.is_trained for token in seen) == row.trained
        limit = len(sequences)  # validation during training uses its first rows only
        assert sorted(shown[:limit]) == sorted(sequences) and limit in (len(part), 256) and limit > 90
    assert any(example.cut_ids for example in data.train)


def test_special_tokens_and_the_text_can_be_read(tmp_path, chat_tokenizer):
    config = write(tmp_path / "a.jsonl", {"instruction": "Say 가 and 😀.", "output": "가 😀"})
    row = view_of(prepare(config, chat_tokenizer, 512, True), 1, chat_tokenizer)
    text = "".join(token.text for token in row.tokens)
    assert text == chat_tokenizer.decode([token.id for token in row.tokens])
    # This tokenizer puts a space after each special token.
    assert text.endswith("Say 가 and 😀.<|eot_id|><|start_header_id|> assistant<|end_header_id|> \n\n가 😀<|eot_id|>")
    specials = [token.text for token in row.tokens if token.is_special]
    assert specials[0] == "<|begin_of_text|>" and specials.count("<|eot_id|>") == 3
    assert "".join(token.text for token in row.tokens if token.is_trained) == "가 😀<|eot_id|>"
    emoji = [token.text for token in row.tokens if token.is_trained][-5:-1]
    assert emoji == ["", "", "", "😀"]  # four bytes, shown where the last of them is


def test_the_end_mark_is_named(tmp_path, chat_tokenizer):
    config = write(
        tmp_path / "a.jsonl", {"instruction": "a", "output": "b"}, {"instruction": "a", "output": "word " * 400}
    )
    data = prepare(config, chat_tokenizer, 300, True)
    short, long = (view_of(data, row, chat_tokenizer) for row in (1, 2))
    assert (short.end_name, short.end_is_trained) == ("<|eot_id|>", True)
    assert (long.end_name, long.end_is_trained) == ("<|eot_id|>", False)
    assert long.kept == 300 < long.length == len(long.tokens)
    assert [token.is_cut for token in long.tokens] == [False] * 300 + [True] * (long.length - 300)
    assert not any(token.is_trained for token in long.tokens if token.is_cut)


def test_which_end_mark_a_model_needs(tokenizer, chat_tokenizer):
    eot, end = chat_tokenizer.convert_tokens_to_ids(["<|eot_id|>", "</s>"])
    assert end_mark(chat_tokenizer, [end, eot]) == "<|eot_id|>"  # the one its chat template writes
    chat_tokenizer.chat_template = None
    assert end_mark(chat_tokenizer, [end, eot]) == chat_tokenizer.eos_token


@pytest.mark.parametrize("text", ["Once upon  a time", "é 가 😀 끝", "tab\tand\nline", "� real"])
def test_no_character_is_lost_or_made_up(tmp_path, tokenizer, text):
    row = view_of(prepare(write(tmp_path / "a.jsonl", {"text": text}), tokenizer, 64, True), 1, tokenizer)
    assert "".join(token.text for token in row.tokens) == tokenizer.decode([token.id for token in row.tokens])
    assert text in "".join(token.text for token in row.tokens)
