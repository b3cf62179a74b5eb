"""The receipt says what was really adapted, and how the weights are stored and computed with."""

import shutil

import pytest

from core.families import LLAMA_LAYERS
from core.runs.events import Receipt
from core.training.receipt import SAME_LAYERS
from tests.conftest import load_for, small_config, train_for, write_rows
from tests.tiny_models import model_of
from ui.train.receipt_view import receipt_text


def receipt_of(config, tmp_path) -> Receipt:
    _, events, result = train_for(config, tmp_path / "adapter")
    assert result.steps == 1
    return events[0]


def layers(receipt: Receipt) -> dict[str, int]:
    return {one.name: one.count for one in receipt.adapted}


def changes(receipt: Receipt) -> dict[str, tuple[str, str, str]]:
    return {change.setting: (change.asked, change.runs, change.reason) for change in receipt.changes}


@pytest.fixture
def tiny(unsloth, stories, rows, tmp_path):
    """Settings for one step on a small model of this kind, untrained."""

    def made(model):
        model.save_pretrained(tmp_path / "tiny")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(stories / name, tmp_path / "tiny")
        return small_config(
            tmp_path / "tiny", rows, "training.max_steps=1", "model.load_in_4bit=no", "adapter.modules_to_save=[]"
        )

    return made


def test_the_layers_of_a_llama(trained):
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert layers(trained.events[0]) == dict.fromkeys(names, 5)
    assert "5 q_proj, 5 k_proj, 5 v_proj" in receipt_text(trained.events[0])
    older = Receipt.model_validate(trained.events[0].model_dump(exclude={"adapted"}))
    assert older.adapted == () and "Adapted layers" not in receipt_text(older)


@pytest.mark.parametrize(
    ("kind", "asked", "adapted", "replaced"),
    [
        ("opt", LLAMA_LAYERS, ("k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2"),
         ("out_proj, fc1, fc2", "o_proj, gate_proj, up_proj, down_proj")),
        ("phi3", LLAMA_LAYERS, ("o_proj", "qkv_proj", "gate_up_proj", "down_proj"),
         ("qkv_proj, gate_up_proj", "q_proj, k_proj, v_proj, gate_proj, up_proj")),
        ("phi3", ["q_proj"], ("qkv_proj",), ("qkv_proj", "q_proj")),
        ("phi3", ["qkv_proj", "down_proj"], ("qkv_proj", "down_proj"), None),
    ],
)  # fmt: skip
def test_layers_of_other_names_are_adapted_and_told(tiny, tmp_path, kind, asked, adapted, replaced):
    config = tiny(model_of(kind)).with_settings([f"adapter.target_modules=[{', '.join(asked)}]"])
    receipt = receipt_of(config, tmp_path)
    assert layers(receipt) == dict.fromkeys(adapted, 2)
    told = [note for note in receipt.notes if "in place of" in note]
    if replaced is None:
        assert told == [] and "target_modules" not in changes(receipt)
        return
    assert told == ["This model has {} in place of {}; these are adapted instead.".format(*replaced)]
    named, runs, reason = changes(receipt)["target_modules"]
    assert (set(named.split(", ")), set(runs.split(", ")), reason) == (set(asked), set(adapted), SAME_LAYERS)


def test_a_chosen_embedding_that_the_model_does_not_have_is_told(tiny, tmp_path):
    from transformers import GPTJConfig, GPTJForCausalLM

    model = GPTJForCausalLM(GPTJConfig(vocab_size=512, n_embd=32, n_layer=1, n_head=4, rotary_dim=4, n_positions=256))
    config = tiny(model).with_settings(
        ["adapter.target_modules=[q_proj]", "adapter.modules_to_save=[embed_tokens, lm_head]"]
    )
    receipt = receipt_of(config, tmp_path)
    assert layers(receipt) == {"q_proj": 1} and receipt.embeddings.layers == ("lm_head",)
    assert any("name embed_tokens:" in note for note in receipt.notes)


def test_a_model_in_8_bit_is_not_too_narrow_for_4_bit(unsloth, stories, rows, tmp_path):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    in_8bit = BitsAndBytesConfig(load_in_8bit=True)
    AutoModelForCausalLM.from_pretrained(stories, quantization_config=in_8bit).save_pretrained(tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(stories / name, tmp_path / "model")
    receipt = receipt_of(small_config(tmp_path / "model", rows, "training.max_steps=1"), tmp_path)
    assert changes(receipt)["load_in_4bit"] == ("yes", "no", "its weights are stored in 8-bit")
    assert receipt.precision.startswith("35 of 36 layers in 8-bit")


@pytest.fixture(scope="module")
def untied(unsloth, stories, tmp_path_factory):
    """The stories with a head of its own, equal to its embeddings."""
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(stories, tmp_path_factory.mktemp("untied") / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = type(model.lm_head.weight)(model.lm_head.weight.detach().clone())
    model.save_pretrained(folder)
    return folder


def in_precision(model, rows, *settings: str):
    return small_config(
        model, rows, "model.max_seq_length=64", "training.max_steps=1", "training.eval_steps=1",
        "training.learning_rate=1e-4", "training.embedding_learning_rate=1e-4", *settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def in_float32(untied, tmp_path_factory):
    """The result of a step in float32. The first loss is that of the base, whatever trains."""
    folder = tmp_path_factory.mktemp("float32")
    config = in_precision(untied, write_rows(folder / "rows.json", 3), "model.dtype=float32", "model.load_in_4bit=no")
    return train_for(config, folder / "adapter")[2]


@pytest.mark.parametrize(
    ("layers", "in_4bit"), [("embed_tokens", "yes"), ("embed_tokens", "no"), ("lm_head", "no"), ("both", "no")]
)
def test_embeddings_train_next_to_a_base_in_bfloat16(untied, tmp_path, monkeypatch, in_float32, layers, in_4bit):
    names = ["embed_tokens", "lm_head"] if layers == "both" else [layers]
    config = in_precision(
        untied, write_rows(tmp_path / "rows.json", 3), "model.dtype=bfloat16", f"model.load_in_4bit={in_4bit}",
        f"adapter.modules_to_save=[{', '.join(names)}]",
        f"training.sample_prompts=[{'Once' if layers == 'both' else ''}]",
    )  # fmt: skip
    monkeypatch.setattr("core.training.sample_answers.MAX_NEW_TOKENS", 2)
    loaded, events, result = train_for(config, tmp_path / "adapter")
    (receipt,) = (event for event in events if event.type == "receipt")
    assert "computed in bfloat16, trained weights in float32" in receipt.precision
    assert receipt.embeddings.layers == tuple(names) and "dtype" not in changes(receipt)
    assert loaded.report.dtype == "bfloat16"
    assert [e.by for e in events if e.type == "sampled"] == (["base", "tuned"] if layers == "both" else [])
    assert result.train_loss == pytest.approx(in_float32.train_loss, rel=0.1)
    assert result.eval_loss == pytest.approx(in_float32.eval_loss, rel=0.1)


def test_a_precision_that_does_not_run_is_told(unsloth, stories, rows, tmp_path):
    config = small_config(stories, rows, "model.dtype=float16", "training.max_steps=1")
    asked, runs, reason = changes(receipt_of(config, tmp_path))["dtype"]
    assert (asked, runs) == ("float16", load_for(config, with_adapter=False).report.dtype) and reason
