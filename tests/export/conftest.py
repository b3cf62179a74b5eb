"""A finished run on disk, made once of the shared training run."""

import json
import shutil

import pytest

from core.evaluation.question_rows import row_of
from core.export.export import write_export
from core.export.find_source import find_source
from core.export.self_test import observe
from core.export.source import Source
from core.export.wanted import Wanted
from core.model.views import for_inference
from core.runs.run_folder import create_run
from tests.conftest import small_config


@pytest.fixture(scope="session")
def exported_run(trained, tmp_path_factory):
    """The shared training run as a run's folder."""
    run = create_run(tmp_path_factory.mktemp("export") / "runs", "Stories", trained.config)
    shutil.copytree(trained.adapter_dir, run.adapter_dir)
    return run


@pytest.fixture
def source(exported_run, tmp_path) -> Source:
    """A copy of the run, for tests that write into it too."""
    shutil.copytree(exported_run.folder, tmp_path / "copied" / exported_run.id)
    return find_source(tmp_path / "copied", exported_run.id)


@pytest.fixture(scope="session")
def observed(trained, tmp_path_factory):
    """(rows, what the model that was tried makes of them)."""
    tokenizer, ends = trained.loaded.tokenizer, trained.loaded.eos_token_ids
    rows = [row_of(example, tokenizer, ends) for example in [*trained.data.validation, *trained.data.train][:8]]
    with for_inference(trained.loaded):
        return rows, observe(trained.loaded, rows, tmp_path_factory.mktemp("observed") / "logits")


def whole(weights, name: str):
    """A weight with all its pieces put together."""
    import torch

    from core.export.base_weights import cut

    read = weights.reader(name)
    return torch.cat([read(first, last) for first, last in cut(weights.shape(name))])


def exported(source: Source, *wanted):
    """The folder of an export; `wanted` are the fields of Wanted."""
    write_export(source, Wanted(*wanted))
    return wanted[1]


def source_of(stories, tmp_path, settings: dict) -> tuple[Source, object]:
    from transformers import AutoModelForCausalLM

    run = create_run(tmp_path / "runs", "Made", small_config(stories, tmp_path / "none.json"))
    base = AutoModelForCausalLM.from_pretrained(stories, dtype="float32")
    run.adapter_dir.mkdir()
    peft = made_by_peft(base, settings, run.adapter_dir)
    about = run.adapter_dir / "adapter_config.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"base_model_name_or_path": str(stories)}))
    return find_source(tmp_path / "runs", run.id, with_original=True), peft


def made_by_peft(base, settings: dict, folder):
    """Writes an adapter with random weights, and returns the model that has it."""
    import torch
    from peft import LoraConfig, get_peft_model

    wanted = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "up_proj"], "task_type": "CAUSAL_LM"} | settings
    model = get_peft_model(base, LoraConfig(**wanted))
    generator = torch.Generator().manual_seed(7)
    for _, weight in model.named_parameters():
        if weight.requires_grad:
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    model.peft_config["default"].base_model_name_or_path = str(folder)
    model.save_pretrained(folder, save_embedding_layers=False)
    return model
