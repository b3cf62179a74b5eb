"""Several adapters on one base: each answers as it does alone, and the base stays the base."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from core.answering.logits import next_token_logits
from core.answering.rows_in_one_pass import supports_rows
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.model.adapter_files import OTHER_SHAPES
from core.model.adapter_kind import OTHER_KIND
from core.model.adapters_on_base import FIRST_ADAPTER, put_on, take_off
from core.model.views import adapter_view, for_inference
from core.problems import ModelError
from tests.conftest import PROMPT, fresh_model, greedy_text, next_logits, train_for

SETTINGS = {
    "trained embeddings": (),
    "adapter alone": ("adapter.modules_to_save=[]", "adapter.r=4", "training.seed=1"),
    "other layers": (
        "adapter.target_modules=[q_proj, down_proj]",
        "adapter.r=16",
        "adapter.use_rslora=no",
        "training.seed=2",
    ),
}


@pytest.fixture(scope="module")
def adapters(trained, tmp_path_factory) -> dict:
    """Folders of adapters of three kinds for one base, each with what it says when it is alone."""
    found = {}
    for name, settings in SETTINGS.items():
        config = trained.config.with_settings([*settings, "training.max_steps=4"])
        folder = tmp_path_factory.mktemp("adapters") / "adapter"
        loaded, *_ = train_for(config, folder)
        found[name] = folder, next_logits(loaded), greedy_text(loaded, PROMPT, 16)
    return found


@pytest.fixture(scope="module")
def full(trained, adapters):
    """A base with all of them on it."""
    loaded = fresh_model(trained.config)
    for number, (folder, *_) in enumerate(adapters.values(), 1):
        put_on(loaded, folder, FIRST_ADAPTER if number == 1 else f"pane-{number}")
    return loaded


def names(loaded) -> list[str]:
    return list(loaded.model.peft_config)


def seen_through(loaded, name: str | None):
    with for_inference(loaded), adapter_view(loaded, name):
        encoded = loaded.tokenizer([PROMPT], add_special_tokens=False, return_tensors="pt")
        return next_token_logits(loaded, {key: encoded[key] for key in ("input_ids", "attention_mask")})


def test_each_is_what_it_was_alone_to_the_bit_and_so_is_the_base(trained, adapters, full):
    for name, (_, logits, _) in zip(names(full), adapters.values(), strict=True):
        assert torch.equal(seen_through(full, name), logits)
        assert torch.equal(seen_through(full, None), trained.logits["fresh base"])
    assert len({tuple(logits.flatten().tolist()) for _, logits, _ in adapters.values()}) == 3


def test_all_answer_in_one_pass_as_they_do_alone(trained, adapters, full):
    with for_inference(full):
        assert supports_rows(full)
    rows = [None, *names(full)]
    *_, answers = stream(full, [PROMPT] * 4, rows, Sampling(max_new_tokens=16), lambda: False)
    assert [a.text for a in answers] == [
        greedy_text(fresh_model(trained.config), PROMPT, 16),
        *(text for *_, text in adapters.values()),
    ]


def test_prompts_of_different_lengths_do_not_disturb_each_other(adapters, full):
    prompts = ["Once upon a time there was a little dog who liked to", PROMPT, "A"]
    *_, together = stream(full, prompts, names(full), Sampling(max_new_tokens=12), lambda: False)
    for prompt, name, answer in zip(prompts, names(full), together, strict=True):
        *_, (alone,) = stream(full, [prompt], [name], Sampling(max_new_tokens=12), lambda: False)
        assert alone.text == answer.text


def test_an_adapter_that_is_taken_off_leaves_the_others(trained, adapters):
    loaded = fresh_model(trained.config)
    folders = [folder for folder, *_ in adapters.values()]
    put_on(loaded, folders[1], FIRST_ADAPTER)
    put_on(loaded, folders[0], "pane-2")
    tensors = sum(weight.numel() for weight in loaded.model.parameters())
    put_on(loaded, folders[2], "pane-3")
    take_off(loaded, "pane-3")
    assert names(loaded) == [FIRST_ADAPTER, "pane-2"]
    assert sum(weight.numel() for weight in loaded.model.parameters()) == tensors
    take_off(loaded, FIRST_ADAPTER)
    assert torch.equal(next_logits(loaded), adapters["trained embeddings"][1])
    assert torch.equal(next_logits(loaded, base=True), trained.logits["fresh base"])


def test_a_damaged_adapter_is_refused_and_the_others_stay(trained, adapters, tmp_path):
    folder, logits, _ = adapters["trained embeddings"]
    loaded = fresh_model(trained.config)
    put_on(loaded, folder, FIRST_ADAPTER)
    hurt = tmp_path / "hurt"
    hurt.mkdir()
    for file in folder.iterdir():
        (hurt / file.name).write_bytes(file.read_bytes())
    settings = json.loads((hurt / "adapter_config.json").read_text())
    (hurt / "adapter_config.json").write_text(json.dumps(settings | {"r": 3}))
    with pytest.raises(ModelError) as caught:
        put_on(loaded, hurt, "pane-2")
    assert (caught.value.template, caught.value.values) == (OTHER_SHAPES, {"folder": str(hurt)})
    assert names(loaded) == [FIRST_ADAPTER] and torch.equal(next_logits(loaded), logits)


def test_an_adapter_that_cannot_be_used_is_refused_and_the_others_stay(trained, adapters, tmp_path):
    folder, logits, _ = adapters["trained embeddings"]
    loaded = fresh_model(trained.config)
    put_on(loaded, folder, FIRST_ADAPTER)
    hurt = Path(shutil.copytree(folder, tmp_path / "hurt"))
    settings = json.loads((hurt / "adapter_config.json").read_text())
    for change in ({"target_modules": ["no_proj"]}, {"peft_type": 5}):
        (hurt / "adapter_config.json").write_text(json.dumps(settings | change))
        with pytest.raises(ModelError, match="invalid") as caught:
            put_on(loaded, hurt, "pane-2")
        assert caught.value.values == {"folder": str(hurt)}
    (hurt / "adapter_config.json").write_text(json.dumps(settings | {"peft_type": "MAGIC"}))
    with pytest.raises(ModelError) as caught:
        put_on(loaded, hurt, "pane-2")
    assert (caught.value.template, caught.value.values) == (OTHER_KIND, {"folder": str(hurt), "kind": "MAGIC"})
    (hurt / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match="cannot be read") as caught:
        put_on(loaded, hurt, FIRST_ADAPTER)
    assert caught.value.values["file"] == "adapter_config.json"
    assert names(loaded) == [FIRST_ADAPTER] and torch.equal(next_logits(loaded), logits)
