"""An adapter from elsewhere as a run: the same answers, and nothing left behind when it cannot be one."""

import json
import shutil

import pytest

from core.model.load import load
from core.problems import ModelError, RunError
from core.runs.run_folder import list_runs
from core.workbench.bring_in import NO_ADAPTER, NO_BASE, NOT_THERE, bring_in
from tests.conftest import next_logits


def test_it_answers_as_it_did(trained, stories, runs_dir):
    run = bring_in(runs_dir, str(trained.adapter_dir))
    config = run.config()
    assert (config.model.model_name, config.adapter.r, config.adapter.use_rslora) == (str(stories), 8, True)
    assert sorted(config.adapter.modules_to_save) == ["embed_tokens"] and config.data.validation_share == 0.0
    assert (run.snapshot().status, run.has_adapter) == ("completed", True)
    model = config.model.model_copy(update={"max_seq_length": 128, "dtype": trained.config.model.dtype})
    loaded = load(model, None, run.adapter_dir, use_gradient_checkpointing=False)
    assert next_logits(loaded).equal(trained.logits["trained tuned"])


def changed(trained, folder, **settings):
    """A copy of the adapter with other settings."""
    shutil.copytree(trained.adapter_dir, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings), encoding="utf-8")
    return folder


def test_the_base_can_be_given(trained, stories, runs_dir, tmp_path):
    folder = changed(trained, tmp_path / "adapter", base_model_name_or_path=None)
    with pytest.raises(RunError) as caught:
        bring_in(runs_dir, str(folder))
    assert (caught.value.template, caught.value.values) == (NO_BASE, {"name": str(folder)})
    run = bring_in(runs_dir, str(folder), base=str(stories))
    assert json.loads((run.adapter_dir / "adapter_config.json").read_text())["base_model_name_or_path"] == str(stories)


def test_what_cannot_be_a_run_leaves_nothing_behind(trained, runs_dir, tmp_path):
    for name, template in (("./nowhere", NOT_THERE), (str(tmp_path), NO_ADAPTER)):
        with pytest.raises(RunError) as caught:
            bring_in(runs_dir, name)
        assert caught.value.template == template and caught.value.values["name"] == name
    damaged = changed(trained, tmp_path / "damaged")
    weights = damaged / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ModelError):
        bring_in(runs_dir, str(damaged))
    assert list_runs(runs_dir) == []
