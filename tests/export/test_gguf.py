"""GGUF files: what the official reader finds in them, and what llama.cpp makes of them."""

import shutil
from dataclasses import replace

import pytest

from core.data.prompts.prompt_templates import prompt_text
from core.export.checks import LIMITS
from core.export.gguf_check import STRINGS, check_tokens, observe_gguf, strings_of
from core.export.gguf_file import write_gguf
from core.export.gguf_lora import NOT_LOW_RANK
from core.export.gguf_tensors import rope_frequencies
from core.export.gguf_tokenizer import NORMALIZER, OTHER_SPLIT, read_vocabulary
from core.export.llama_cpp import CANNOT_RUN, running
from core.export.merged_weights import merged
from core.export.self_test import compare
from core.problems import ExportError
from tests.export.conftest import exported, source_of


@pytest.fixture(scope="module")
def files(exported_run, tmp_path_factory):
    """A file of the stories run in each precision, by its name."""
    from core.export.find_source import find_source

    source = find_source(exported_run.folder.parent, exported_run.id)
    wanted = ("f32", "f16", "bf16", "q8_0")
    folder = tmp_path_factory.mktemp("gguf") / "files"
    exported(source, "gguf", folder, "bfloat16", "trained", wanted)
    return {quant: folder / f"{exported_run.id}-{quant}.gguf" for quant in wanted}


def test_the_official_reader_finds_the_model(files):
    from gguf import GGUFReader

    reader = GGUFReader(files["q8_0"])
    values = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "llama", "general.name": "Stories", "general.file_type": 7,
        "llama.block_count": 5, "llama.embedding_length": 64, "llama.feed_forward_length": 172,
        "llama.attention.head_count": 8, "llama.attention.head_count_kv": 4, "llama.attention.key_length": 8,
        "llama.context_length": 512, "llama.rope.freq_base": 10000.0, "llama.vocab_size": 512,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_space_prefix": True,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    stored = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert len(stored) == 2 + 9 * 5 and "output.weight" not in stored  # the head is tied
    assert (stored["token_embd.weight"], stored["output_norm.weight"]) == ("Q8_0", "F32")
    assert stored["blk.0.ffn_down.weight"] == "F16", "rows of 172 cannot be cut into blocks of 32"


def test_llama_cpp_answers_as_the_model_did(files, trained, observed, tmp_path):
    rows, model = observed
    found = {}
    for quant, file in files.items():
        with running(file, 512) as llama:
            made = observe_gguf(llama, trained.loaded, rows, tmp_path / quant, 500)
        found[quant] = compare(file.name, model, made, LIMITS[quant])
    assert all(check.passed for check in found.values()), found
    assert found["q8_0"].mean_kl < 2e-3
    assert found["f32"].max_logit_difference < 1e-4 and found["f32"].greedy_equal == found["f32"].greedy_of == 8
    assert found["q8_0"].mean_kl > found["bf16"].mean_kl > found["f16"].mean_kl > found["f32"].mean_kl >= 0
    assert {check.top1 for check in found.values()} == {1.0}


def test_llama_cpp_cuts_texts_as_the_tokenizer_does(files, stories):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(stories)
    with running(files["f16"], 512) as llama:
        assert check_tokens(llama, "file", tokenizer, ["Once upon a time", "<s> </s>"]) == STRINGS == 500


def test_texts_cut_otherwise_are_refused_with_an_example(files, demo_tokenizer):
    with running(files["f16"], 512) as llama, pytest.raises(ExportError) as caught:
        check_tokens(llama, "a.gguf", demo_tokenizer, [])
    values = caught.value.values
    assert (values["file"], values["of"]) == ("a.gguf", 500) and values["count"] > 400
    assert values["text"] in strings_of([])


def test_a_damaged_file_is_one_sentence(files, tmp_path):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(files["f16"].read_bytes()[:300_000])
    with running(cut, 512) as llama, pytest.raises(ExportError) as caught:
        llama.tokens("hello")
    reason = "RuntimeError: Failed to init server, please check the input params"
    assert (caught.value.template, caught.value.values) == (CANNOT_RUN, {"file": "cut.gguf", "reason": reason})


def test_a_tokenizer_that_changes_text_is_refused_before_anything_is_written(source, tmp_path):
    from tokenizers import normalizers

    folder = tmp_path / "adapter"
    shutil.copytree(source.adapter_dir, folder)
    capitals = [normalizers.Replace(capital, "^" + capital.lower()) for capital in "ABC"]
    llama_3_tokenizer(folder, normalizer=normalizers.Sequence([normalizers.Prepend(" "), *capitals]))
    with pytest.raises(ExportError) as caught:
        exported(replace(source, adapter_dir=folder), "gguf", tmp_path / "out", "bfloat16", "trained", ("f16",))
    assert (caught.value.template, caught.value.values) == (NORMALIZER, {"what": "Prepend, Replace"})
    assert not (tmp_path / "out").exists()


def test_for_ollama_the_prompts_of_the_run_come_with_it(source, tmp_path):
    """The run was trained with Alpaca's prompt, and its tokenizer has no chat template."""
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    folder = exported(source, "ollama", tmp_path / "out", "bfloat16", "trained", ("f16",))
    (file,) = folder.glob("*.gguf")
    lines = (folder / "Modelfile").read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1]) == (f"FROM ./{file.name}", 'PARAMETER stop "</s>"')
    assert "### Instruction:" in lines[1] and lines[1].endswith('### Response:\\n" }}"""')
    reader = GGUFReader(file)
    template = reader.fields["tokenizer.chat_template"].contents()
    tokenizer = AutoTokenizer.from_pretrained(source.adapter_dir)
    messages = [{"role": "system", "content": "Hi"}, {"role": "user", "content": "Say red."}]
    made = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
    assert made == prompt_text(messages, "alpaca", tokenizer)
    merged = exported(source, "merged", tmp_path / "merged")
    assert AutoTokenizer.from_pretrained(merged).chat_template == template


LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def llama_3_tokenizer(folder, pattern: str = LLAMA_3, normalizer=None):
    """A small tokenizer of Llama 3's kind, trained on a few texts, with a token added to it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    special = ["<|begin_of_text|>", "<|eot_id|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=510, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([*strings_of([])], trainer)
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
    made.save_pretrained(folder)
    return made


def test_a_tokenizer_of_llama_3_is_cut_alike(source, tmp_path):
    """With a token added, for which llama.cpp's own converter has no name."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    tokenizer = llama_3_tokenizer(folder)
    assert len(tokenizer) == 511
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / name).write_bytes((source.adapter_dir / name).read_bytes())
    exported(replace(source, adapter_dir=folder), "gguf", tmp_path / "out", "bfloat16", "trained", ("f16",))
    (file,) = (tmp_path / "out").glob("*.gguf")
    with running(file, 512) as llama:
        texts = ["<|begin_of_text|>Hi<|eot_id|>", "call <tool> now"]
        assert check_tokens(llama, file.name, tokenizer, texts) == 500


def test_another_way_to_split_is_refused_by_name(tmp_path):
    llama_3_tokenizer(tmp_path, r"\p{L}+|\p{N}|[^\p{L}\p{N}]")
    with pytest.raises(ExportError) as caught:
        read_vocabulary(tmp_path, 512)
    assert (caught.value.template, caught.value.values["what"]) == (OTHER_SPLIT, r"\p{L}+|\p{N}|[^\p{L}\p{N}]")


def test_the_scaling_of_llama_3_is_that_of_transformers():
    import torch
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    config = LlamaConfig(head_dim=64, max_position_embeddings=131072, rope_parameters=scaled)
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    unscaled = 1 / (500000.0 ** (torch.arange(0, 64, 2) / 64))
    divisors = torch.from_numpy(rope_frequencies(scaled, 64))
    assert (unscaled / divisors / frequencies - 1).abs().max() < 1e-5
    assert (divisors[0], divisors[-1]) == (1.0, 8.0)


LORAS = {"rsLoRA": {"use_rslora": True}, "patterns": {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"k_proj": 20}}}


@pytest.mark.parametrize("kind", LORAS)
def test_a_lora_on_its_base_answers_as_peft_does(stories, tmp_path, kind):
    """Also where the scale differs from layer to layer, while the file has one alpha for all."""
    import torch

    source, model = source_of(stories, tmp_path, LORAS[kind] | {"target_modules": ["q_proj", "k_proj", "up_proj"]})
    shutil.copyfile(stories / "tokenizer.json", source.adapter_dir / "tokenizer.json")
    shutil.copyfile(stories / "tokenizer_config.json", source.adapter_dir / "tokenizer_config.json")
    (lora,) = exported(source, "lora-gguf", tmp_path / "lora", "bfloat16", "original").glob("*.gguf")
    with merged(source, "original", with_adapter=False) as base:
        (file,) = write_gguf(tmp_path, source, base, ["f32"])
    ids = [1, 403, 407, 261, 378]
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).numpy()
    with running(file, 64, lora) as llama:
        assert abs(llama.log_probabilities(ids, 512) - expected).max() < 1e-4
    with running(file, 64) as llama:
        assert abs(llama.log_probabilities(ids, 512) - expected).max() > 0.1, "the adapter matters"


def test_a_lora_with_trained_embeddings_is_refused_as_gguf(source, tmp_path):
    with pytest.raises(ExportError) as caught:
        exported(source, "lora-gguf", tmp_path / "lora")
    assert (caught.value.template, caught.value.values) == (NOT_LOW_RANK, {"weight": "model.embed_tokens.weight"})
    assert not (tmp_path / "lora").exists()
