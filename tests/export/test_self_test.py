"""The self-test: passes for an export that is the model that was tried, fails for one that is not."""

import itertools
from dataclasses import replace

import pytest
import torch

from core.export.checks import LIMITS, ROUNDING, Limits, limits_for
from core.export.load_export import load_adapter, load_merged
from core.export.self_test import compare, observe
from tests.export.conftest import exported

COMPUTED_IN = ("float32", *ROUNDING)


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
    loaded = load_adapter(folder, source, "float32")
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


def test_a_model_that_was_tried_in_bfloat16_differs_by_its_rounding_alone(source, observed, tmp_path):
    rows, _ = observed
    folder = exported(source, "merged", tmp_path / "merged", "float32")
    exact = load_merged(folder, source)
    export = observe(exact, rows, tmp_path / "exact")
    rounded = observe(replace(exact, model=exact.model.to(torch.bfloat16)), rows, tmp_path / "rounded")
    found = {key: compare("file", rounded, export, limits_for(*key)) for key in itertools.product(LIMITS, COMPUTED_IN)}
    assert {kind for kind, computed_in in found if found[kind, computed_in].passed and computed_in == "float32"} == {
        "bfloat16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m",
    }  # fmt: skip
    assert all(check.passed for (_, computed_in), check in found.items() if computed_in == "bfloat16")
    assert found["float32", "bfloat16"].mean_kl > 1e-5


def test_limits_are_the_looser_of_the_file_s_and_of_the_model_s_own_rounding():
    assert [limits_for(kind, "float32") for kind in LIMITS] == list(LIMITS.values())
    assert limits_for("f32", "bfloat16") == Limits(None, 1e-2, 0.97, loss=0.02)
    assert limits_for("q4_k_m", "bfloat16") == LIMITS["q4_k_m"]
    assert limits_for("q8_0", "bfloat16") == Limits(None, 1e-2, 0.95, loss=None)
    assert limits_for("f16", "float16") == Limits(None, 2e-4, 0.99)
    assert limits_for("bf16", "float16") == Limits(None, 1e-3, 0.98)
    assert limits_for("bfloat16", "float32", "bfloat16") == limits_for("bfloat16", "bfloat16", "float32")
    assert limits_for("bfloat16", "float16", "bfloat16") == Limits(None, 1e-2, 0.97, loss=0.02)


def test_an_export_without_the_adapter_fails_in_each_precision(source, observed, tmp_path):
    rows, model = observed
    loaded = load_adapter(source.adapter_dir, source, "float32")
    with loaded.model.disable_adapter():
        base = observe(loaded, rows, tmp_path / "logits")
    for kind, computed_in in itertools.product(LIMITS, COMPUTED_IN):
        assert not compare("file", model, base, limits_for(kind, computed_in)).passed, (kind, computed_in)


def test_a_loss_that_rises_fails_unless_weights_have_few_bits(observed):
    _, model = observed
    worse = replace(model, loss=1.02 * model.loss)
    assert {kind: compare("file", model, worse, limits).passed for kind, limits in LIMITS.items()} == {
        "float32": False, "float16": False, "bfloat16": False, "f32": False, "f16": False, "bf16": False,
        "q8_0": True, "q6_k": True, "q5_k_m": True, "q4_k_m": True,
    }  # fmt: skip
