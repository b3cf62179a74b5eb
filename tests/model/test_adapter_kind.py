"""Adapters of other programs: those that cannot be used are named, and under the others the base stays the base."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from core.model.adapter_kind import (
    BRINGS_WEIGHTS,
    CHANGES_BASE,
    LOFTQ,
    OTHER_KIND,
    OTHER_TOKENIZER,
    OTHER_VOCABULARY,
    REPEATS_LAYERS,
    check_adapter,
)
from core.model.adapters_on_base import FIRST_ADAPTER, put_on
from core.model.embedding_rows import rows_on
from core.model.library_patches.peft_parts import changes_base
from core.model.load import load
from core.problems import ModelError
from tests.conftest import PROJECT, fresh_model, next_logits, small_config

TARGETS = ["q_proj", "v_proj"]


@pytest.fixture(scope="module")
def config(unsloth, stories):
    return small_config(stories, "rows", "model.load_in_4bit=no", "model.dtype=float32")


@pytest.fixture(scope="module")
def base(config):
    return next_logits(fresh_model(config))


@pytest.fixture
def saved(config, tmp_path):
    """Saves an adapter as PEFT makes and saves it, with changed weights; returns its folder and PEFT's own logits."""

    def save(adapter_config, change=lambda model: None, name="adapter", **kwargs):
        from peft import get_peft_model

        loaded = fresh_model(config)
        change(loaded.model)
        loaded.model, loaded.has_adapter = get_peft_model(loaded.model, adapter_config), True
        change_a_little(loaded.model)
        loaded.model.peft_config["default"].base_model_name_or_path = config.model.model_name
        loaded.model.save_pretrained(tmp_path / name, **kwargs)
        return tmp_path / name, loaded

    return save


def change_a_little(model) -> None:
    """All that trains, as training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.02 * torch.randn_like(weight))


def lora(**kwargs):
    from peft import LoraConfig

    return LoraConfig(**{"r": 4, "task_type": "CAUSAL_LM", "target_modules": TARGETS} | kwargs)


def refusals(config, folder: Path) -> list[tuple[str, dict]]:
    """Template and values of the errors of continuing from it and of putting it on a base."""
    found = []
    for use in (
        lambda: load(config.model, None, folder, use_gradient_checkpointing=False),
        lambda: put_on(fresh_model(config), folder, FIRST_ADAPTER),
    ):
        with pytest.raises(ModelError) as caught:
            use()
        assert "damaged" not in str(caught.value) and str(caught.value).count(".") < 6
        found.append((caught.value.template, caught.value.values))
    return found


def used_both_ways(config, folder: Path) -> list:
    continued = load(config.model, None, folder, use_gradient_checkpointing=False)
    compared = fresh_model(config)
    put_on(compared, folder, FIRST_ADAPTER)
    return [continued, compared]


def edited(folder: Path, **settings) -> Path:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return folder


@pytest.mark.parametrize("kind", ["IA3", "LOHA", "LOKR", "PROMPT_TUNING", "TRAINABLE_TOKENS"])
def test_an_adapter_of_another_kind_is_named(config, saved, kind):
    from peft import IA3Config, LoHaConfig, LoKrConfig, PromptTuningConfig, TrainableTokensConfig

    task = {"task_type": "CAUSAL_LM"}
    kinds = {
        "IA3": lambda: IA3Config(target_modules=TARGETS, feedforward_modules=[], **task),
        "LOHA": lambda: LoHaConfig(r=2, target_modules=TARGETS, **task),
        "LOKR": lambda: LoKrConfig(r=2, target_modules=TARGETS, **task),
        "PROMPT_TUNING": lambda: PromptTuningConfig(num_virtual_tokens=3, **task),
        "TRAINABLE_TOKENS": lambda: TrainableTokensConfig(token_indices=[3, 5], **task),
    }
    folder, _ = saved(kinds[kind]())
    assert refusals(config, folder) == [(OTHER_KIND, {"folder": str(folder), "kind": kind})] * 2


def test_an_adapter_is_checked_without_peft(config, saved):
    """An export may begin while another thread imports Unsloth, and the two imports would meet in the middle."""
    from peft import LoraConfig

    folder, _ = saved(LoraConfig(target_modules=TARGETS, task_type="CAUSAL_LM"))
    check = (
        "import json, sys; from pathlib import Path; from core.model.adapter_kind import check_adapter\n"
        "folder, base = map(Path, sys.argv[1:])\n"
        "settings = json.loads((folder / 'adapter_config.json').read_text())\n"
        "check_adapter(folder, settings, folder / 'adapter_model.safetensors', base, 'the base')\n"
        "print(sorted({'peft', 'transformers', 'unsloth'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", check, str(folder), config.model.model_name]
    assert subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_an_adapter_that_changes_the_base_is_refused_and_converted_it_can_be_used(config, base, tmp_path, init):
    from peft import get_peft_model

    loaded = fresh_model(config)
    loaded.model, loaded.has_adapter = get_peft_model(loaded.model, lora(init_lora_weights=init)), True
    model, folder = loaded.model, tmp_path / "initial"
    model.peft_config["default"].base_model_name_or_path = config.model.model_name
    model.save_pretrained(folder)
    change_a_little(model)
    assert not next_logits(loaded, base=True).equal(base)  # PEFT has changed the base
    assert refusals(config, folder) == [(CHANGES_BASE, {"folder": str(folder), "init": init})] * 2
    # The way out that the sentence names.
    tuned = next_logits(loaded)
    model.save_pretrained(tmp_path / "made", path_initial_model_for_weight_conversion=str(tmp_path / "initial"))
    for other in used_both_ways(config, tmp_path / "made"):
        assert next_logits(other, base=True).equal(base)
        assert (next_logits(other) - tuned).abs().max() < 1e-3 * tuned.abs().max()


@pytest.mark.parametrize("init", ["pissa_niter_16", "corda", "lora_ga", "loftq"])
def test_other_adapters_that_changed_the_base_where_they_were_made_are_refused(config, saved, init):
    folder = edited(saved(lora())[0], init_lora_weights=init)
    template = LOFTQ if init == "loftq" else CHANGES_BASE
    assert refusals(config, folder) == [(template, {"folder": str(folder), "init": init})] * 2


def initialisations() -> list[str | bool]:
    """All that PEFT has, but LoftQ, which it can only do on a GPU."""
    return [
        True, False, "gaussian", "eva", "orthogonal", "mica", "pissa", "pissa_niter_2", "olora", "corda", "lora_ga",
    ]  # fmt: skip


@pytest.mark.parametrize("init", initialisations(), ids=str)
def test_just_those_initialisations_are_refused_that_change_a_base_weight(unsloth, init):
    from peft import LoraConfig, LoraGAConfig, get_peft_model

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 6, bias=False))
    layer = model[0]
    before = layer.weight.detach().clone()
    if init == "corda":
        u, s, v = torch.linalg.svd(before, full_matrices=False)
        layer.eigens = SimpleNamespace(U_WC=u[:, :2], S_WC=s[:2], V_WC=v[:2].T)
    layer._peft_loraga_grad = torch.randn(6, 8)
    more = {"lora_ga_config": LoraGAConfig()} if init == "lora_ga" else {}
    made = get_peft_model(model, LoraConfig(r=2, target_modules=["0"], init_lora_weights=init, **more))
    changed = not made.base_model.model[0].base_layer.weight.equal(before)
    assert changes_base(init) is changed


def test_the_list_of_initialisations_is_the_library_s():
    """When PEFT gets another one, look at whether it changes the base."""
    import typing

    from peft import LoraConfig

    text = str(typing.get_type_hints(LoraConfig, include_extras=True)["init_lora_weights"])
    known = {"gaussian", "eva", "olora", "pissa", "pissa_niter_[number of iters]", "corda", "loftq", "orthogonal"}
    assert set(text.split("'")[1::2]) == known | {"mica"}  # lora_ga is missing there


@pytest.mark.parametrize("init", ["gaussian", "eva", "mica"])
def test_under_the_others_the_base_stays_the_base(config, saved, base, init):
    folder, loaded = saved(lora(init_lora_weights=init))
    tuned = next_logits(loaded)
    assert not tuned.equal(base)
    for other in used_both_ways(config, folder):
        assert next_logits(other, base=True).equal(base) and next_logits(other).equal(tuned)


def test_an_adapter_that_builds_another_model_is_refused(config, saved):
    folder, _ = saved(lora(layer_replication=[(0, 3), (2, 5)]))
    assert refusals(config, folder) == [(REPEATS_LAYERS, {"folder": str(folder)})] * 2


def test_rows_given_as_a_list_are_those_of_the_input_embeddings(config, saved, base):
    folder, loaded = saved(lora(trainable_token_indices=[3, 403]))
    tuned = next_logits(loaded)
    for other in used_both_ways(config, folder):
        assert next_logits(other, base=True).equal(base) and next_logits(other).equal(tuned)
    assert rows_on(used_both_ways(config, folder)[0].model) == [3, 403]


def test_an_adapter_of_a_model_that_was_resized_says_so(config, saved):
    resized = lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    folder, _ = saved(resized, lambda model: model.resize_token_embeddings(516))
    values = {"folder": str(folder), "model": config.model.model_name, "theirs": 516, "ours": 512}
    assert refusals(config, folder) == [(OTHER_VOCABULARY, values)] * 2


def test_a_tokenizer_with_other_ids_is_refused(tmp_path):
    """A run of an earlier version, whose demo model had another tokenizer with as many tokens."""
    before = PROJECT / "tests" / "runs" / "written_before"
    (adapter,) = before.glob("runs/*/adapter")
    today, name = PROJECT / "presets" / "demo-llama", "presets/demo-llama"
    weights, settings = adapter / "adapter_model.safetensors", json.loads((adapter / "adapter_config.json").read_text())
    check_adapter(adapter, settings, weights, before / "demo-llama", name)
    with pytest.raises(ModelError) as caught:
        check_adapter(adapter, settings, weights, today, name)
    assert (caught.value.template, caught.value.values) == (OTHER_TOKENIZER, {"folder": str(adapter), "model": name})
    # More or fewer tokens may have been added, and a damaged file says nothing.
    other = tmp_path / "adapter"
    shutil.copytree(adapter, other)
    tokenizer = json.loads((today / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["new"] = len(tokenizer["model"]["vocab"])
    for text in (json.dumps(tokenizer), "{"):
        (other / "tokenizer.json").write_text(text, encoding="utf-8")
        check_adapter(other, settings, weights, today, name)


def test_weights_of_the_base_in_an_adapter_must_be_the_base_s(config, saved, base):
    folder, loaded = saved(lora(target_modules=["q_proj", "embed_tokens"]))
    tuned = next_logits(loaded)
    for other in used_both_ways(config, folder):
        assert next_logits(other, base=True).equal(base) and next_logits(other).equal(tuned)

    def change(model) -> None:
        model.get_input_embeddings().weight.data[7] += 1

    folder, _ = saved(lora(), change, name="other", save_embedding_layers=True)
    values = {"folder": str(folder), "weight": "lm_head.weight"}  # tied: the first of the two
    assert refusals(config, folder) == [(BRINGS_WEIGHTS, values)] * 2


def test_a_base_keeps_its_embeddings_when_an_adapter_s_tokenizer_has_more_tokens(config, saved, base, stories):
    folder, loaded = saved(lora())
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.add_tokens(["<new>", "<newer>"])
    tokenizer.save_pretrained(folder)
    continued = load(config.model, None, folder, use_gradient_checkpointing=False)
    assert len(continued.tokenizer) == 514 and next_logits(continued, base=True).equal(base)


def test_an_adapter_as_a_gguf_is_named(config, saved, tmp_path):
    folder = Path(shutil.copytree(saved(lora())[0], tmp_path / "gguf"))
    (folder / "adapter_model.safetensors").rename(folder / "adapter-f16.gguf")
    found = refusals(config, folder)
    assert [values for _, values in found] == [{"folder": str(folder), "file": "adapter-f16.gguf"}] * 2
