"""4 to 6 bits a weight: which tensor gets how many, the kernels, and a file that llama.cpp runs."""

import hashlib

import numpy as np
import pytest

from bench.export import make_run
from core.export import base_weights, in_order
from core.export.base_weights import opened
from core.export.export import write_export
from core.export.find_source import find_source
from core.export.k_quants import k_quant_type, quantize
from core.export.llama_cpp import running
from core.export.wanted import Wanted


def random_rows(rows: int, columns: int):
    return np.random.default_rng(7).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("kind", ["Q5_0", "Q5_1", "Q8_0"])
def test_the_kernels_give_the_bytes_of_the_official_package(kind):
    """For the types that this package has too."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize as official

    rows = random_rows(5, 192)
    rows[1], rows[2], rows[3] = 0, rows[2] * 1e-30, np.linspace(-63.5, 127, 192) // 0.5 * 0.5  # ties for Q8_0
    assert quantize(rows, kind).tobytes() == official(rows, GGMLQuantizationType[kind]).tobytes()


@pytest.mark.parametrize(("kind", "error"), [("Q4_K", 0.09), ("Q5_K", 0.045), ("Q6_K", 0.025)])
def test_the_official_package_reads_what_the_kernels_write(kind, error):
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    rows, stored = random_rows(6, 512), GGMLQuantizationType[kind]
    made = quantize(rows, kind)
    difference = dequantize(made, stored) - rows
    assert 0 < np.sqrt((difference**2).mean()) < error


def test_a_file_does_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    make_run(tmp_path / "runs", "tiny")
    source = find_source(tmp_path / "runs", "run")
    monkeypatch.setattr(base_weights, "MAX_PIECE", 2000)  # over a thousand pieces
    made = []
    for threads in (1, 16):
        monkeypatch.setattr(in_order, "THREADS", threads)
        write_export(source, Wanted("gguf", tmp_path / "gguf", quant=("q4_k_m", "q8_0", "f16")))
        files = sorted((tmp_path / "gguf").glob("*.gguf"))
        made.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
    assert len(made[0]) == 3 and made[0] == made[1]


def test_which_tensors_get_more_bits():
    """The rules of llama.cpp, for a model of 16 layers."""
    values = [k_quant_type("q4_k_m", f"blk.{layer}.attn_v.weight", 256, 16, True) for layer in range(16)]
    assert [layer for layer, kind in enumerate(values) if kind == "Q6_K"] == [0, 1, 4, 7, 10, 13, 14, 15]
    assert set(values) == {"Q4_K", "Q6_K"}
    found = {
        (name, columns, is_tied): k_quant_type("q4_k_m", name, columns, 16, is_tied)
        for name, columns, is_tied in [
            ("token_embd.weight", 256, True), ("token_embd.weight", 256, False), ("output.weight", 256, False),
            ("blk.0.attn_q.weight", 256, True), ("blk.0.attn_q.weight", 128, True),
            ("blk.0.ffn_down.weight", 320, True), ("blk.0.ffn_down.weight", 172, True),
        ]
    }  # fmt: skip
    assert list(found.values()) == ["Q6_K", "Q4_K", "Q6_K", "Q4_K", "Q5_0", "Q8_0", "F16"]
    assert k_quant_type("q6_k", "blk.0.attn_q.weight", 512, 16, True) == "Q6_K"


def test_llama_cpp_runs_a_model_in_4_bits(tmp_path):
    """A model of random weights, wide enough for blocks of 256, whose next tokens transformers computes as well."""
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM

    make_run(tmp_path / "runs", "tiny")
    source = find_source(tmp_path / "runs", "run")
    write_export(source, Wanted("gguf", tmp_path / "gguf", quant=("q4_k_m", "f32")))
    write_export(source, Wanted("merged", tmp_path / "merged", "float32"))
    with opened(tmp_path / "merged", in_4bit=False) as weights:
        assert weights.shape("model.embed_tokens.weight") == (512, 256)
    files = {path.stem.removeprefix("run-"): path for path in (tmp_path / "gguf").glob("*.gguf")}
    stored = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(files["q4_k_m"]).tensors}
    assert stored["blk.0.attn_q.weight"] == "Q4_K" and stored["output.weight"] == "Q6_K"
    ids = [0, 5, 17, 300, 44, 260]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).numpy()
    errors = {}
    for quant, file in files.items():
        with running(file, 64) as llama:
            errors[quant] = float(np.abs(llama.log_probabilities(ids, 512) - expected).max())
    assert errors["f32"] < 1e-5 < errors["q4_k_m"] < 0.2
