"""What these tests share: two small finished runs on one base, trained once for all that only look at runs."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.problems import Problem
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


def zero(adapter: Path, base: Path) -> None:
    """Makes an adapter that changes nothing: lora_B zero, embeddings and head those of the (tied) base."""
    from safetensors.torch import load_file, save_file

    weights, embeddings = load_file(adapter), load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    for name, weight in weights.items():
        if "lora_B" in name:
            weights[name] = weight * 0
        elif "lora_A" not in name:
            assert weight.shape == embeddings.shape and not weight.equal(embeddings.to(weight.dtype)), name
            weights[name] = embeddings.to(weight.dtype, copy=True)  # files hold no tensor twice
    save_file(weights, adapter, {"format": "pt"})


@contextmanager
def refused(kind: type[Problem], **values):
    """What is inside raises exactly this kind of problem, with these values."""
    with pytest.raises(kind) as told:
        yield
    assert type(told.value) is kind and told.value.values == values
