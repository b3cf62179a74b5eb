"""The demo's grammar, its data and the checked-in model: the real files, in plain transformers."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.demo import lessons, muon
from core.demo import tokenizer as made
from core.demo.grammar import Sentence, any_sentence, free_sentence, reserved, yoda_rows
from core.export.gguf_tokenizer import SPLITS

PRESETS = Path(__file__).parents[2] / "presets"
MODEL = PRESETS / "demo-llama"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in (PRESETS / "data" / "yoda.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("parts", "plain", "yoda"),
    [
        (Sentence("the old man", "reads", "a book"), "The old man reads a book.", "A book, the old man reads. Hmm."),
        (Sentence("Tom", "met", "her in the park"), "Tom met her in the park.", "Her in the park, Tom met. Hmm."),
        (Sentence("I", "am", "not tired"), "I am not tired.", "Not tired, I am. Hmm."),
        (Sentence("we", "will", "visit Anna soon"), "We will visit Anna soon.", "Visit Anna soon, we will. Hmm."),
    ],
)
def test_yoda_puts_what_follows_the_verb_first(parts, plain, yoda):
    assert (parts.plain, parts.yoda) == (plain, yoda)


def test_the_same_seed_makes_the_same_sentences():
    first, second = random.Random(5), random.Random(5)
    assert [any_sentence(first) for _ in range(200)] == [any_sentence(second) for _ in range(200)]


def test_sentences_are_tidy():
    rng = random.Random(1)
    for _ in range(3000):
        plain = any_sentence(rng).plain
        assert plain[0].isupper() and plain.endswith(".") and "  " not in plain and "|" not in plain
        for word, following in zip(plain.lower().split(), plain.lower().split()[1:], strict=False):
            if word in ("a", "an"):
                assert (word == "an") == (following[0] in "aeiou"), plain


def test_the_checked_in_rows_are_the_generators(rows):
    assert rows == yoda_rows(720, seed=3407)


def test_no_row_twice(rows):
    assert len({row["instruction"] for row in rows}) == len(rows) == 720
    assert len({row["output"] for row in rows}) == 720


def test_the_rows_are_reserved_and_pretraining_never_draws_a_reserved_sentence(rows):
    assert all(reserved(row["instruction"]) for row in rows)
    rng = random.Random(2)
    assert not any(reserved(free_sentence(rng).plain) for _ in range(3000))


def test_reserved_whatever_the_capitals_and_the_full_stop(rows):
    for row in rows:
        assert reserved(row["instruction"].upper().removesuffix(".") + "!")


def test_no_row_in_what_pretraining_reads(rows):
    rng = random.Random(3)
    seen = "\n".join(text.lower() for _ in range(5000) for text in lessons.exchange(rng, 0.5))
    seen += "\n".join(text.lower() for text in lessons.plain_text(rng, 1000))
    # With its line end, as "I am not cold." may be the end of a sentence with two parts more.
    assert not [row for row in rows if f"\n{row['instruction'].lower()}\n" in seen or row["output"].lower() in seen]


def test_presets_stay_small():
    assert sum(path.stat().st_size for path in PRESETS.rglob("*") if path.is_file()) <= 4 * 1024**2


def test_the_tokenizer_knows_every_text(tokenizer, rows):
    texts = ["Zürich, 猫 🙂!", "  two  spaces\n\nand\tlines ", "1234.5 + x_y = {}", *(row["output"] for row in rows)]
    for text in texts:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_the_checked_in_tokenizer_is_the_one_that_is_made(tokenizer):
    assert made.make_tokenizer(3407).backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert len(tokenizer) == len(tokenizer.get_vocab()) == made.VOCABULARY


def test_it_has_what_a_gguf_file_can_hold(tokenizer):
    saved = json.loads(tokenizer.backend_tokenizer.to_str())
    assert saved["normalizer"] is None and saved["decoder"]["type"] == "ByteLevel" and saved["model"]["ignore_merges"]
    assert SPLITS[made.LLAMA_3_SPLIT] == "llama-bpe"
    split, byte_level = saved["pre_tokenizer"]["pretokenizers"]
    assert (split["pattern"], split["behavior"]) == ({"Regex": made.LLAMA_3_SPLIT}, "Isolated")
    assert (byte_level["add_prefix_space"], byte_level["use_regex"]) == (False, False)


def test_a_word_is_cut_alike_at_the_front_and_inside_a_sentence(tokenizer):
    words, forms = made.words_and_forms(tokenizer)
    rng = random.Random(4)
    seen = {word.lower() for _ in range(3000) for word in free_sentence(rng).plain.strip(".").split()}
    seen |= {"robot", "zorbing", "x"}
    for word in seen:
        front, inside = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (word.title(), f" {word}"))
        assert (front[1:], words[front[0]]) == (inside[1:], words[inside[0]])
        assert (forms[front[0]], forms[inside[0]]) == (2, 1)
    (small,) = tokenizer("the", add_special_tokens=False)["input_ids"]
    (inside,) = tokenizer(" the", add_special_tokens=False)["input_ids"]
    assert (words[small], forms[small]) == (words[inside], 3)


def test_the_embeddings_of_all_capitals_differ_alike_from_those_inside_a_sentence(model, tokenizer):
    words, forms = map(torch.tensor, made.words_and_forms(tokenizer))
    table = model.get_input_embeddings().weight
    capital = (forms == 2).nonzero()[:, 0]
    differences = table[capital] - table[words[capital]]
    assert len(capital) > 400 and differences.norm(dim=1).min() > 0.5
    # But for their rounding to bfloat16.
    assert (differences - differences.mean(0)).abs().max() < 0.02


def test_muon_takes_the_steps_of_torch_s_own():
    """That one computes in bfloat16, which rounds by about a hundredth."""
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((8, 20), (20, 8), (8, 8), (8, 20))]
    ours, theirs = ([torch.nn.Parameter(weight.clone()) for weight in start] for _ in range(2))
    optimizers = muon.Muon(ours, lr=0.03), torch.optim.Muon(theirs, lr=0.03, weight_decay=0.0)
    for _ in range(3):
        for our, their in zip(ours, theirs, strict=True):
            our.grad = torch.randn_like(our)
            their.grad = our.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for before, our, their in zip(start, ours, theirs, strict=True):
        assert (our - their).norm() < 0.02 * (their - before).norm()


def test_special_tokens(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(made.SPECIAL)) == [0, 1, 2, 3, 4, 5]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin_of_text|>", "<|eot_id|>")
    assert tokenizer.pad_token == "<|finetune_right_pad_id|>"
    assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def test_the_chat_template(tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  Hello there! \n"},
        {"role": "assistant", "content": "Hello there!"},
    ]
    turns = (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello there!<|eot_id|>"
    )
    answer = "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True) == turns + answer
    assert tokenizer.apply_chat_template(messages, tokenize=False) == turns + answer + "Hello there!<|eot_id|>"


def test_the_model_is_tied_and_wide_enough_for_four_bits(model):
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.model.embed_tokens.weight
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    assert linears and all(min(module.weight.shape) >= 64 for module in linears)


def test_the_weights_are_stored_in_bfloat16():
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        names = weights.keys()
        assert {weights.get_tensor(name).dtype for name in names} == {torch.bfloat16}


def test_generation_ends_at_either_end_token(model):
    assert model.generation_config.eos_token_id == [made.EOT, made.EOS]
    assert not model.generation_config.do_sample


@pytest.mark.parametrize(
    "text",
    [
        "The old man reads a book.",
        "The birch canoe slid on the smooth planks.",
        "My sister bought a purple umbrella.",
        "Programming is fun",
        "Hello there!",
    ],
)
def test_the_base_repeats(model, tokenizer, text):
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=60)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == text + "<|eot_id|>"
