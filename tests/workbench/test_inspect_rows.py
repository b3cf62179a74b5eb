"""What `inspect` says of rows agrees with what training reads, and needs no weights."""

import json
import shutil

import pytest

from core.data.prepared.prepare import prepare
from core.data.prepared.row_view import end_mark
from core.data.prepared.survey import survey
from core.model.load import load_tokenizer
from core.problems import ConfigError, DataError, ModelError
from core.settings.presets import find_preset
from core.settings.run_config import RunConfig
from core.threads import Stopped
from core.workbench.inspect_rows import Inspection, config_for, inspect_rows
from tests.app_process import run_app
from tests.conftest import PROJECT, fresh_model, small_config
from ui.terminal.inspect_lines import inspection_lines

DEMO = PROJECT / "presets" / "demo-llama"
KEYS = [
    "shape", "reason", "encoding", "rows", "used", "left_out", "columns", "tokens", "trained_tokens", "cut_rows",
    "ends_trained", "warnings", "preview",
]  # fmt: skip
USER, ASKS = (
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
)


def inspected(config: RunConfig) -> Inspection:
    return inspect_rows(config, None, lambda: False, lambda share, words: None)


def test_the_tokenizer_is_the_one_of_the_loaded_model(unsloth, stories, rows):
    for model in (DEMO, stories):
        config = small_config(model, rows).model
        alone, loaded = load_tokenizer(config), fresh_model(small_config(model, rows))
        theirs = loaded.tokenizer
        assert alone.eos_token_ids == loaded.eos_token_ids
        assert (alone.tokenizer.chat_template, alone.tokenizer.special_tokens_map) == (
            theirs.chat_template, theirs.special_tokens_map,
        )  # fmt: skip
        assert alone.tokenizer.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()


def test_the_figures_are_those_of_a_run(unsloth, shared_data):
    config = config_for(str(shared_data / "alpaca/identity.json"), ["model.max_seq_length=64"], "demo-yoda")
    loaded = fresh_model(config)
    data = prepare(config.data, loaded.tokenizer, 64, True, end_ids=loaded.eos_token_ids)
    wanted = survey(data, config.training, end_mark(loaded.tokenizer, loaded.eos_token_ids))
    found = inspected(config)
    assert (found.rows, found.used + sum(found.left_out.values())) == (91, 91) and found.cut_rows > 0
    assert (found.tokens, found.trained_tokens, found.cut_rows) == (
        wanted.tokens, wanted.trained_tokens, wanted.cut_rows,
    )  # fmt: skip
    both = [*data.train, *data.validation]
    assert found.ends_trained == sum(example.end_id(frozenset(loaded.eos_token_ids)) is not None for example in both)
    assert found.warnings == wanted.warnings and found.preview == data.preview


def test_every_key_and_every_row(tmp_path):
    """Latin-1, rows that are left out, validation rows of their own, and a model whose weights are not there."""
    model = shutil.copytree(DEMO, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    rows = tmp_path / "rows.csv"
    rows.write_bytes("question,answer\nWho?,André\nWhy?,\nWhat?,A café\n".encode("latin-1"))
    own = tmp_path / "own.jsonl"
    own.write_text('{"question": "Where?", "answer": "Here"}\n{"question": "When?", "answer": ""}\n{"question"\n')
    config = config_for(str(rows), [f"model.model_name={model}", f"data.validation_path={own}"], "demo-yoda")
    found = inspected(config)
    texts = [f"{USER}{ask}<|eot_id|>{ASKS}{answer}<|eot_id|>" for ask, answer in
             [("Who?", "André"), ("What?", "A café"), ("Where?", "Here")]]  # fmt: skip
    tokenizer = load_tokenizer(config.model).tokenizer
    counts = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert found == Inspection(
        shape="question", reason=found.reason, encoding="Latin-1", rows=6, used=3,
        left_out={"no answer": 2, "not valid JSON": 1}, columns={"instruction": "question", "answer": "answer"},
        tokens=sum(counts), trained_tokens=found.trained_tokens, cut_rows=0, ends_trained=3,
        warnings=found.warnings, preview=tuple(texts[:2]), notes=found.notes,
    )  # fmt: skip
    left_out = [warning for warning in found.warnings if "would be left out" in warning]
    assert len(left_out) == 2, "training would ask about both files first"
    lines = inspection_lines(found, config)
    assert "Rows       6 read, 3 used" in lines and "Left out   no answer (2), not valid JSON (1)" in lines


def test_which_model_sees_them(tmp_path, monkeypatch):
    assert config_for("rows.csv", [], "demo-yoda").model == find_preset("demo-yoda").config.model
    other = config_for("rows.csv", ["model.model_name=a/b", "data.text_rows=line"], "demo-yoda")
    assert (other.model.model_name, other.model.max_seq_length, other.data.text_rows) == ("a/b", 2048, "line")
    assert config_for("korean-cpt", [], "demo-yoda") == find_preset("korean-cpt").config
    assert config_for("owner/rows", [], "demo-yoda").data.path == "owner/rows"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "korean-cpt").mkdir()
    assert config_for("korean-cpt", [], "demo-yoda").data.path == "korean-cpt", "a folder with a preset's name"
    for name, settings in (("", []), ("rows.csv", ["data.nothing=1"])):
        with pytest.raises(ConfigError):
            config_for(name, settings, "demo-yoda")


def test_what_is_refused(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "Why?", "answer": ""}\n')
    with pytest.raises(DataError) as told:
        inspected(config_for(str(rows), [], "demo-yoda"))
    assert told.value.values == {"reasons": "no answer (1)"}
    rows.write_text('{"question": "Why?", "answer": "So."}\n')
    with pytest.raises(ModelError):
        inspected(config_for(str(rows), ["model.model_name=./nowhere"], "demo-yoda"))
    with pytest.raises(DataError):  # the rows are looked at first
        inspected(config_for("nowhere.csv", ["model.model_name=./nowhere"], "demo-yoda"))
    with pytest.raises(Stopped):
        inspect_rows(config_for(str(rows), [], "demo-yoda"), None, lambda: True, lambda share, words: None)


@pytest.mark.slow
def test_the_command(tmp_path, shared_cases):
    model = shutil.copytree(DEMO, tmp_path / "model")
    shutil.copy(shared_cases / "system_role_refused.jinja", model / "chat_template.jinja")
    rows = str(shared_cases / "system_role_refused.jsonl")
    done = run_app("inspect", rows, "--set", f"model.model_name={model}", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == KEYS and (found["rows"], found["used"], found["ends_trained"]) == (12, 12, 12)
    assert found["preview"][2].endswith(
        "user\nBe short.\n\nName number 2.<|eot_id|>\n<|start_header_id|>model\nIt is 2.<|eot_id|>\n"
    )
    done = run_app("inspect", "nowhere.csv", "--json")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
