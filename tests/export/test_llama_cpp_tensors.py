"""Our tensors beside those that llama.cpp's own converter and quantizer made; `bench.llama_cpp` compares them anew."""

import json

import pytest

from bench.llama_cpp import CONVERTED, HASHES, QUANTIZED, write_ours


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return write_ours(tmp_path_factory.mktemp("beside"))


@pytest.mark.parametrize("quant", CONVERTED + QUANTIZED)
def test_every_tensor_is_that_of_llama_cpp(ours, quant):
    theirs = json.loads(HASHES.read_text(encoding="utf-8"))[quant]
    assert len(theirs) == 39 and ours[quant] == theirs
