"""Where answers end: at any of the model's end tokens, that of its chat template included."""

import json
import shutil
from pathlib import Path

import pytest

from core.answering.greedy import greedy_answers
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.data.prepared.prepare import prepare
from core.data.prompts.prompt_templates import prompt_text
from core.evaluation.heldout import measure_heldout
from core.evaluation.question_rows import row_of
from core.model.load import load
from core.model.views import for_inference
from core.settings.sections import ModelConfig
from tests.conftest import PROJECT, data_file, load_for, small_config

SENTENCE = "The old man reads a book."
EOS, EOT = 1, 4  # of the demo's tokenizer


def change(file: Path, without: tuple[str, ...] = (), **values) -> None:
    settings = json.loads(file.read_text(encoding="utf-8")) | values
    file.write_text(json.dumps({key: value for key, value in settings.items() if key not in without}))


@pytest.fixture(scope="module")
def with_ends(unsloth, tmp_path_factory):
    """The demo as base models are: it ends texts with one token, or with none, and turns with another."""

    def make(eos: str | None, without: tuple[str, ...] = (), is_special: bool = True) -> Path:
        folder = Path(shutil.copytree(PROJECT / "presets/demo-llama", tmp_path_factory.mktemp("demo") / "model"))
        gone = (*without, *(() if eos else ("eos_token",)))
        change(folder / "tokenizer_config.json", gone, **({"eos_token": eos} if eos else {}))
        for file in ("config.json", "generation_config.json"):
            change(folder / file, eos_token_id=EOS if eos else None)
        tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        next(token for token in tokens["added_tokens"] if token["id"] == EOT)["special"] = is_special
        (folder / "tokenizer.json").write_text(json.dumps(tokens))
        return folder

    return make


@pytest.mark.parametrize(
    ("eos", "without", "is_special", "ends"),
    [
        ("<|end_of_text|>", (), True, [EOS, EOT]),
        ("<|end_of_text|>", (), False, [EOS, EOT]),
        (None, (), True, [EOT]),
        (None, ("pad_token",), True, [EOT]),
    ],
)
def test_the_token_behind_an_answer_ends_it(with_ends, tmp_path, eos, without, is_special, ends):
    folder = with_ends(eos, without, is_special)
    loaded = load(ModelConfig(model_name=str(folder), max_seq_length=128), use_gradient_checkpointing=False)
    assert loaded.eos_token_ids == ends
    prompts = [
        prompt_text([{"role": "user", "content": text}], "chat", loaded.tokenizer) for text in (SENTENCE, "Hello.")
    ]
    *_, answers = stream(loaded, prompts, [None, None], Sampling(max_new_tokens=40), lambda: False)
    assert (answers[0].text, answers[0].ended) == (SENTENCE, "itself")
    with for_inference(loaded):
        ids = [loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        (found, ended), _ = greedy_answers(loaded, ids, 40, lambda: False)
    assert (loaded.tokenizer.decode(found), ended, len(found)) == (SENTENCE, True, answers[0].tokens)


@pytest.mark.parametrize("is_special", [True, False])
def test_a_reference_answer_is_without_its_end_mark(with_ends, tmp_path, is_special):
    row = {"instruction": SENTENCE, "output": SENTENCE}
    config = data_file(tmp_path / "rows.jsonl", row)
    loaded = load_for(small_config(with_ends("<|end_of_text|>", (), is_special), tmp_path / "rows.jsonl"))
    data = prepare(config, loaded.tokenizer, 128, True, end_ids=loaded.eos_token_ids)
    assert data.train.figures["ends"].tolist() == [True]
    assert row_of(data.train[0], loaded.tokenizer, loaded.eos_token_ids).reference == SENTENCE
    found = measure_heldout(loaded, data.train, lambda: False)
    assert (found.base_exact, found.base_ends) == (1.0, 1.0)
