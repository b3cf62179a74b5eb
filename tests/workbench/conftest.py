"""Two small finished runs on one base, trained once for all modules here that only look at runs."""

import shutil
from pathlib import Path

import pytest

from core.workbench.workbench import Workbench
from tests.conftest import small_config


@pytest.fixture(scope="package")
def finished_runs(unsloth, stories, rows, tmp_path_factory) -> Path:
    """A runs folder with "one", which has trained embeddings and checkpoints, and "two", which has neither. Copy it."""
    bench = Workbench(tmp_path_factory.mktemp("finished") / "runs")
    for name, settings in (
        ("one", ["training.save_steps=2"]),
        ("two", ["training.seed=1", "adapter.modules_to_save=[]", "training.save_steps=0"]),
    ):
        config = small_config(stories, rows, "training.max_steps=6", "data.validation_share=0", *settings)
        bench.start(config, name)
        assert bench.wait(120).status == "completed", bench.snapshot.message
    return bench.runs_dir


@pytest.fixture(scope="module")
def copied_runs(finished_runs, tmp_path_factory) -> Path:
    """The finished runs in a folder of the module's own, where more may be added."""
    return Path(shutil.copytree(finished_runs, tmp_path_factory.mktemp("copied") / "runs"))
