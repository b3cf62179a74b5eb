"""Tokens that the tokenizer has and the model has not: named where rows are prepared and where a prompt is asked."""

import pytest

from core.answering.sampling import Sampling
from core.data.prepared.prepare import prepare
from core.evaluation.record import Source
from core.model.load import load
from core.model.vocabulary import embedding_rows
from core.problems import DataError, ModelError
from core.runs.adapter_ref import BASE
from core.runs.run_list import RunList
from core.workbench.desk import Desk
from core.workbench.lab import Lab
from core.workbench.model_contents import Base
from core.workbench.model_slot import ModelSlot
from core.workbench.rows_of_the_form import Preparation
from core.workbench.rows_to_measure import rows_of
from tests.conftest import data_file, small_config


@pytest.fixture(scope="module")
def folder(unsloth, stories, tmp_path_factory):
    """A model whose tokenizer got tokens, one of them for padding, that its 512 embeddings do not have."""
    import shutil

    from transformers import AutoTokenizer

    folder = shutil.copytree(stories, tmp_path_factory.mktemp("added") / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def loaded(folder, rows):
    return load(small_config(folder, rows).model, use_gradient_checkpointing=False)


def test_a_token_in_the_rows_is_named(folder, loaded, tmp_path):
    rows = [{"instruction": "Say it.", "output": "a cat"}, {"instruction": "Use <tool> now.", "output": "a dog"}]
    told = {"row": 2, "token": "<tool>", "id": 512, "embeddings": 512}
    data = data_file(tmp_path / "rows.jsonl", *rows).model_copy(update={"prompt_template": "alpaca"})
    config = small_config(folder, tmp_path / "rows.jsonl")
    found = Preparation(tmp_path / "prepared")
    assert "<tool>" in found.look(config, loaded).trouble
    for use in (
        lambda: found.prepare(config, loaded),
        lambda: rows_of(Source(kind="file", path=data.path), config, loaded, 10),
    ):
        with pytest.raises(DataError) as caught:
            use()
        assert caught.value.values == told
    prepared = prepare(data, loaded.tokenizer, 128, True, embeddings=513)  # a model that knows the token
    assert len(prepared.train) == 2


def test_a_token_in_a_prompt_is_named(folder, rows, loaded, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Say it.\nUse <tool> now.\n")
    slot = ModelSlot()
    slot.contents = Base(loaded)
    question = [{"role": "user", "content": "Use <tool> now."}]
    lab = Lab(slot, RunList(tmp_path / "runs"), Desk())
    told = {"token": "<tool>", "id": 512, "model": str(folder), "rows": 512}
    for use in (
        lambda: list(lab.answer([BASE], [question], Sampling(max_new_tokens=1))),
        lambda: lab.differences([BASE, BASE], question),
        lambda: rows_of(Source(kind="prompts", path=str(prompts)), small_config(folder, rows), loaded, 10),
    ):
        with pytest.raises(ModelError) as caught:
            use()
        assert caught.value.values == told


def test_padding_is_a_token_that_the_model_knows(loaded):
    assert (loaded.tokenizer.pad_token, embedding_rows(loaded.model)) == ("</s>", 512)
    assert loaded.tokenizer.pad({"input_ids": [[5], [5, 6]]})["input_ids"] == [[5, 2], [5, 6]]
