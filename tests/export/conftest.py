"""A finished run on disk, made once of the shared training run."""

import shutil

import pytest

from core.evaluation.question_rows import row_of
from core.export.export import Wanted, write_export
from core.export.self_test import observe
from core.export.source import Source, find_source
from core.model.views import for_inference
from core.runs.run_folder import create_run


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

    return torch.cat([rows for _, rows in weights.pieces(name)])


def exported(source: Source, *wanted):
    """The folder of an export; `wanted` are the fields of Wanted."""
    write_export(source, Wanted(*wanted))
    return wanted[1]
