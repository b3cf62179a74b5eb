"""The self-test: passes for an export that is the model that was tried, fails for one that is not."""

from dataclasses import replace

import pytest

from core.export.checks import LIMITS
from core.export.load_export import load_adapter, load_merged
from core.export.self_test import compare, observe
from tests.export.conftest import exported


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_merged_model_passes(source, observed, tmp_path, dtype):
    rows, model = observed
    folder = exported(source, "merged", tmp_path / "merged", dtype)
    found = compare(folder.name, model, observe(load_merged(folder, source), rows, tmp_path / "logits"), LIMITS[dtype])
    assert found.passed and found.greedy_of == len(rows) == 8 and found.top1 == 1.0
    assert (found.greedy_equal == 8) or dtype != "float32"


def test_an_adapter_passes_with_plain_transformers_and_peft(source, observed, tmp_path):
    rows, model = observed
    folder = exported(source, "adapter", tmp_path / "adapter")
    loaded = load_adapter(folder, source)
    found = compare(folder.name, model, observe(loaded, rows, tmp_path / "logits"), LIMITS["float32"])
    assert found.passed


def test_a_model_merged_into_other_weights_fails(source, observed, tmp_path):
    rows, model = observed
    of_16bit = replace(source, original_dir=source.base_dir)
    folder = exported(of_16bit, "merged", tmp_path / "merged", "float32", "original")
    found = compare(
        folder.name, model, observe(load_merged(folder, source), rows, tmp_path / "logits"), LIMITS["float32"]
    )
    assert not found.passed and found.max_logit_difference > 0.1


def test_a_loss_that_rises_fails_unless_weights_have_few_bits(observed):
    _, model = observed
    worse = replace(model, loss=1.02 * model.loss)
    assert {kind: compare("file", model, worse, limits).passed for kind, limits in LIMITS.items()} == {
        "float32": False, "float16": False, "bfloat16": False, "f32": False, "f16": False, "bf16": False,
        "q8_0": True, "q6_k": True, "q5_k_m": True, "q4_k_m": True,
    }  # fmt: skip
