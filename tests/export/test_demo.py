"""A run of the demo for llama.cpp and Ollama, on the command line: tested by the real llama.cpp."""

import json
import random

import pytest

from core.demo import lessons
from core.export.gguf_check import check_tokens
from core.export.llama_cpp import running
from tests.app_process import run_app
from tests.conftest import PROJECT


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    """The folder of a run of the demo preset, of a quarter of its steps, in float32 on each machine."""
    runs_dir = tmp_path_factory.mktemp("demo") / "runs"
    settings = "--set", "training.max_steps=40", "--set", "model.dtype=float32"
    done = run_app("train", "demo-yoda", *settings, "--runs-dir", str(runs_dir), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["run_dir"]


@pytest.mark.parametrize(("to", "quant"), [("ollama", "q8_0"), ("gguf", "f16")])
def test_a_run_of_the_demo_passes_its_test(run, tmp_path, to, quant):
    from transformers import AutoTokenizer

    folder = tmp_path / to
    done = run_app("export", run, "--to", to, "--quant", quant, "--out", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    check = json.loads(done.stdout)["check"]
    (row,) = check["rows"]
    assert check["passed"] and row["greedy_of"] == 24 and row["top1"] >= 0.998
    assert row["mean_kl"] < {"q8_0": 5e-4, "f16": 1e-5}[quant]
    (file,) = folder.glob("*.gguf")
    if to == "ollama":
        lines = (folder / "Modelfile").read_text(encoding="utf-8").splitlines()
        assert (lines[0], lines[-1]) == (f"FROM ./{file.name}", 'PARAMETER stop "<|eot_id|>"')
        assert "<|start_header_id|>assistant<|end_header_id|>" in "".join(lines)
    tokenizer = AutoTokenizer.from_pretrained(PROJECT / "presets/demo-llama")
    pick = random.Random(9)
    texts = {lessons.exchange(pick, 0.4)[0] for _ in range(600)}
    with running(file, 512) as llama:
        assert check_tokens(llama, file.name, tokenizer, sorted(texts)) > 500
