"""Installing llama.cpp with the user's consent, and next tokens that are only part of a character.

The other tests that run llama.cpp are with the files it runs.
"""

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from bench.export import make_run, normal
from core.export import llama_cpp
from core.export.export import write_export
from core.export.find_source import find_source
from core.export.llama_cpp import NOT_INSTALLABLE, install, running
from core.export.wanted import Wanted
from core.problems import ExportError

BYTES = sorted(ByteLevel.alphabet())  # as in the runs that `make_run` makes


def test_what_is_there_stays_as_it_is(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    install()  # pip finds the version that the tests need
    assert llama_cpp.is_installed()


def test_what_cannot_be_installed_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(llama_cpp, "PACKAGE", "hearthtune-has-no-such-package==1")
    with pytest.raises(ExportError) as told:
        install()
    assert told.value.template == NOT_INSTALLABLE and "hearthtune-has-no-such-package" in told.value.values["reason"]


@pytest.mark.parametrize("first_byte", [0xEA, 0xF0])  # of Hangul syllables, of emoji
def test_a_next_token_that_is_a_part_of_a_character_has_probabilities_too(tmp_path, first_byte):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def values(name, first, last, shape):
        if not name.endswith("lm_head.weight"):
            return normal(name, first, last, shape)
        # The other tokens' logits are 0; whatever the hidden state is, one of two opposite logits is above that.
        rows = torch.zeros(shape)
        rows[part], rows[other_part] = torch.ones(shape[1]), -torch.ones(shape[1])
        return rows[first:last]

    part, other_part = BYTES.index(chr(first_byte)) + 2, BYTES.index(chr(0xED)) + 2  # after two special tokens
    make_run(tmp_path / "runs", "tiny", values)
    source = find_source(tmp_path / "runs", "run")
    write_export(source, Wanted("gguf", tmp_path / "gguf", quant=("f32",)))
    write_export(source, Wanted("merged", tmp_path / "merged", "float32"))
    ids = [0, 5, 17, 100]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).numpy()
    assert expected.argmax() in (part, other_part)
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").decode(expected.argmax()) == "\N{REPLACEMENT CHARACTER}"
    (file,) = (tmp_path / "gguf").glob("*.gguf")
    with running(file, 64) as llama:
        assert np.abs(llama.log_probabilities(ids, 512) - expected).max() < 1e-5
        assert set(llama.answer(ids, 3, ())) <= {part, other_part}
