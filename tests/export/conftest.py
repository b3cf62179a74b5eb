"""A finished run on disk, made once of the shared training run."""

import shutil

import pytest

from core.export.export import Wanted, write_export
from core.export.source import Source, find_source
from core.runs.run_folder import create_run


@pytest.fixture(scope="session")
def exported_run(trained, tmp_path_factory):
    """The shared training run as a run's folder."""
    run = create_run(tmp_path_factory.mktemp("export") / "runs", "Stories", trained.config)
    shutil.copytree(trained.adapter_dir, run.adapter_dir)
    return run


@pytest.fixture
def source(exported_run) -> Source:
    return find_source(exported_run.folder.parent, exported_run.id)


def whole(weights, name: str):
    """A weight with all its pieces put together."""
    import torch

    return torch.cat([rows for _, rows in weights.pieces(name)])


def exported(source: Source, *wanted):
    """The folder of an export; `wanted` are the fields of Wanted."""
    write_export(source, Wanted(*wanted))
    return wanted[1]
