"""The proof that the base is unchanged and tuned differs, and which weights moved, on the real model in 4-bit."""

import json
from pathlib import Path

import gradio as gr
import pytest
import torch

from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.comparing.proof import load_proof, prove_adapter
from core.model.adapters_on_base import put_on
from core.model.fingerprint import PROMPT, fingerprint
from core.model.views import adapter_view
from core.model.weight_changes import moved, token_name
from core.runs.adapter_ref import BASE, Pane
from core.runs.events import StatusChanged
from core.runs.run_folder import create_run
from core.workbench.prove_run import prove
from core.workbench.workbench import Workbench
from tests.conftest import load_for, small_config, train_for
from ui.report.proof_and_report_tab import ProofTab

PANE = Pane("yoda")


@pytest.fixture(scope="module")
def several(trained):
    """The base with the trained adapter and a zeroed one on it, and its fingerprint from before either."""
    loaded = load_for(trained.config, with_adapter=False)
    loaded.fingerprint = fingerprint(loaded)
    put_on(loaded, trained.adapter_dir, "tuned")
    put_on(loaded, trained.adapter_dir, "nothing")
    with torch.no_grad():
        for name, module in loaded.model.named_modules():
            if name.endswith("lora_B.nothing"):
                module.weight.zero_()
            if type(module).__name__ == "ModulesToSaveWrapper":
                module.modules_to_save["nothing"].weight.copy_(module.original_module.weight)
    return loaded


def flags(loaded) -> list:
    return [(module.training, getattr(module, "gradient_checkpointing", None)) for module in loaded.model.modules()]


@pytest.mark.parametrize("checkpointing", [False, "unsloth"])
def test_a_fingerprint_leaves_the_model_as_it_was(trained, checkpointing):
    from core.model.load import load

    loaded = load(trained.config.model, use_gradient_checkpointing=checkpointing)
    before = flags(loaded), torch.get_rng_state().tolist(), loaded.tokenizer.padding_side
    assert not loaded.model.training
    first = fingerprint(loaded)
    assert len(first) == 64 and fingerprint(loaded) == first
    assert (flags(loaded), torch.get_rng_state().tolist(), loaded.tokenizer.padding_side) == before
    loaded.model.train()
    assert fingerprint(loaded) == first and all(module.training for module in loaded.model.modules())


def test_a_fingerprint_does_not_change_what_training_makes(trained, tmp_path):
    weights = []
    for hashed in (False, True):
        loaded = load_for(trained.config, with_adapter=False)
        if hashed:
            before = fingerprint(loaded)
        from core.model.new_adapter import attach_adapter

        attach_adapter(loaded, trained.config.adapter, False, trained.config.training.seed)
        config = trained.config.with_settings(["training.max_steps=3"])
        train_for(config, tmp_path / str(hashed), loaded=loaded)
        weights.append({name: w.detach().clone() for name, w in loaded.model.named_parameters() if w.requires_grad})
    assert weights[0].keys() == weights[1].keys() and len(weights[0]) > 50
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert fingerprint(loaded) == before  # and training left the base as it was


def test_the_base_stays_the_base_while_adapters_come_and_go(several):
    before = several.fingerprint
    assert fingerprint(several) == before
    sampling = Sampling(temperature=1.0, max_new_tokens=8)
    for names in ([None, "tuned"], ["tuned", "nothing", None], ["nothing", "tuned"]):
        list(stream(several, [PROMPT] * len(names), names, sampling, lambda: False))
        with adapter_view(several, names[0]):
            pass
        assert fingerprint(several) == before
    assert fingerprint(several) == prove_adapter(several, "tuned", PANE).base_now == before


def test_what_a_good_proof_says(several):
    proof = prove_adapter(several, "tuned", PANE)
    assert proof.base_is_equal is True and proof.tuned_differs
    assert proof.base_before == proof.base_now == several.fingerprint != proof.tuned
    assert proof.tokens == len(several.tokenizer(PROMPT, add_special_tokens=False)["input_ids"])
    encoded = several.tokenizer([PROMPT], add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        with adapter_view(several, None):
            base = several.model.eval()(input_ids=encoded).logits
        with adapter_view(several, "tuned"):
            tuned = several.model(input_ids=encoded).logits
    assert proof.difference == pytest.approx(float((base - tuned).abs().max()), rel=1e-6) and proof.difference > 1
    assert [kind for kind, _ in proof.sentences()] == ["good", "good"]
    assert "bit for bit" in proof.sentences()[0][1]


def test_an_adapter_that_changes_nothing_is_reported(several):
    proof = prove_adapter(several, "nothing", PANE)
    assert proof.difference == 0 and proof.tuned == proof.base_now and not proof.tuned_differs
    assert proof.moved.is_nothing and {group.change for group in proof.moved.kinds} == {0.0}
    assert [(part.rows_moved, part.most) for part in proof.moved.embeddings] == [(0, ())]
    kind, words = proof.sentences()[1]
    assert kind == "warning" and "no weight" in words


@pytest.mark.parametrize(
    "part",
    ["embed_tokens.original_module", "layers.0.self_attn.q_proj.base_layer", "layers.4.mlp.down_proj.base_layer"],
)
def test_one_bit_of_the_base_is_noticed(several, part):
    module = next(module for name, module in several.model.named_modules() if name.endswith(part))
    weight = module.weight.data.view(torch.uint8).flatten()
    if "embed" in part:  # of a token that is in the prompt
        token = several.tokenizer(PROMPT, add_special_tokens=False)["input_ids"][3]
        place = token * module.weight[0].numel() * module.weight.element_size()
        bit = 0b1000000  # of bfloat16 the highest bit of the fraction
    else:
        place, bit = 5, 0b10000
    weight[place] ^= bit
    try:
        proof = prove_adapter(several, "tuned", PANE)
    finally:
        weight[place] ^= bit
    assert proof.base_is_equal is False
    kind, words = proof.sentences()[0]
    assert kind == "error" and "load" in words
    assert prove_adapter(several, "tuned", PANE).base_is_equal is True


def test_without_a_hash_from_before_it_is_a_warning(several, monkeypatch):
    monkeypatch.setattr(several, "fingerprint", None)
    proof = prove_adapter(several, "tuned", PANE)
    assert proof.base_is_equal is None
    kind, words = proof.sentences()[0]
    assert kind == "warning" and "load" in words


# What moved


def test_how_far_each_layer_moved_is_what_plain_sums_say(several, trained):
    from bitsandbytes.functional import dequantize_4bit

    added, base = {}, {}
    for name, module in several.model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        kind, layer = name.rpartition(".")[2], f"layer {name.split('.layers.')[1].split('.')[0]}"
        weight = dequantize_4bit(module.base_layer.weight.data, module.base_layer.weight.quant_state).double()
        # rsLoRA: alpha / √rank, here from the settings and not from the layer
        scale = trained.config.adapter.lora_alpha / trained.config.adapter.r**0.5
        delta = scale * module.lora_B["tuned"].weight.double() @ module.lora_A["tuned"].weight.double()
        for key in (kind, layer):
            added.setdefault(key, []).append(delta.flatten())
            base.setdefault(key, []).append(weight.flatten())
    expected = {key: float(torch.cat(added[key]).norm() / torch.cat(base[key]).norm()) for key in added}
    found = moved(several, "tuned")
    assert [group.name for group in found.kinds] == "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
    assert [group.name for group in found.layers] == [f"layer {number}" for number in range(5)]
    assert {(group.name, group.tensors) for group in found.kinds} == {(group.name, 5) for group in found.kinds}
    for group in (*found.kinds, *found.layers):
        assert group.change == pytest.approx(expected[group.name], rel=1e-6) and group.change > 0.01


def test_how_far_the_embeddings_moved_is_what_plain_sums_say(several, monkeypatch):
    wrapper = next(m for m in several.model.modules() if type(m).__name__ == "ModulesToSaveWrapper")
    before, now = wrapper.original_module.weight.double(), wrapper.modules_to_save["tuned"].weight.double()
    expected, rows = float((now - before).norm() / before.norm()), (now - before).norm(dim=1)
    for values in (1, 64 * 7, 1024**2):  # of a block: a row, seven, and all
        monkeypatch.setattr("core.model.weight_changes.BLOCK_VALUES", values)
        (part,) = moved(several, "tuned").embeddings
        assert part.name == "embed_tokens and lm_head"
        assert part.change == pytest.approx(expected, rel=1e-6)
        assert (part.rows, part.rows_moved) == (512, int((rows > 0).sum()))
        assert [token.id for token in part.most[:5]] == rows.topk(5).indices.tolist()
        typical = float(before.norm()) / 512**0.5
        assert part.most[0].change == pytest.approx(float(rows.max()) / typical, rel=1e-6)


def test_embeddings_that_are_not_one_are_listed_apart(several):
    head = next(m for n, m in several.model.named_modules() if n.endswith("lm_head") and hasattr(m, "modules_to_save"))
    kept = head.modules_to_save["tuned"].weight
    changed = kept.detach().clone()
    changed[7] += 1.0
    head.modules_to_save["tuned"].weight = torch.nn.Parameter(changed, requires_grad=False)
    try:
        parts = moved(several, "tuned").embeddings
    finally:
        head.modules_to_save["tuned"].weight = kept
    assert [part.name for part in parts] == ["embed_tokens", "lm_head"]
    assert parts[1].most[0].id == 7 and parts[1].change > parts[0].change


def test_an_adapter_without_embeddings_has_none(trained, stories, rows, tmp_path):
    config = small_config(stories, rows, "adapter.modules_to_save=[]", "adapter.target_modules=[q_proj]")
    loaded, _, _ = train_for(config, tmp_path / "adapter")
    found = moved(loaded, "default")
    assert found.embeddings == () and [group.name for group in found.kinds] == ["q_proj"]
    assert not found.is_nothing


def test_tokens_by_name(tokenizer, demo_tokenizer):
    for known in (tokenizer, demo_tokenizer):
        names = [token_name(known, id) for id in range(len(known))]
        assert all(name and name.isprintable() and " " not in name for name in names)
    newline = next(id for id in range(len(tokenizer)) if tokenizer.convert_ids_to_tokens(id) == "<0x0A>")
    assert token_name(tokenizer, newline) == "\\n"
    tail = next(id for id in range(len(tokenizer)) if tokenizer.convert_ids_to_tokens(id) == "<0xE2>")
    assert token_name(tokenizer, tail) == "<0xE2>…"
    word = next(id for id in range(len(tokenizer)) if tokenizer.convert_ids_to_tokens(id) == "▁the")
    assert token_name(tokenizer, word) == "␣the"
    assert token_name(tokenizer, 100_000) == "row 100,000, no token"
    tokenizer.add_tokens(["\u202eevil", "w" * 90])
    # This tokenizer puts a space before a word that was added.
    assert token_name(tokenizer, len(tokenizer) - 2) == "␣\\u202eevil"
    assert token_name(tokenizer, len(tokenizer) - 1) == "␣" + "w" * 38 + "…"


# With the workbench


@pytest.fixture(scope="module")
def proved(trained, tmp_path_factory):
    """A run whose adapter is the trained one, in a workbench."""
    import shutil

    runs_dir = tmp_path_factory.mktemp("runs")
    run = create_run(runs_dir, "stories", trained.config)
    shutil.copytree(trained.adapter_dir, run.adapter_dir)
    run.append(StatusChanged(status="completed", message="Done."))
    return Workbench(runs_dir), run


def test_prove_writes_what_it_found(proved):
    workbench, run = proved
    workbench.lab.load_run(run.id)
    proof = prove(workbench.lab, run)
    assert proof.pane == run.id and proof.base_is_equal is True and proof.tuned_differs
    assert load_proof(run.folder) == proof
    written = json.loads((run.folder / "proof.json").read_text(encoding="utf-8"))
    assert written["base_is_equal"] is True and written["tuned_differs"] is True
    asked = [[{"role": "user", "content": "Hi"}]] * 2
    list(workbench.lab.answer([BASE, Pane(run.id)], asked, Sampling(max_new_tokens=4)))
    assert prove(workbench.lab, run).base_now == proof.base_now
    assert not workbench.busy_with


def test_the_tab_proves_and_makes_the_report(proved):
    workbench, run = proved
    (run.folder / "proof.json").unlink(missing_ok=True)
    with gr.Blocks():
        tab = ProofTab(workbench, gr.Textbox())
        tab.connect()
    workbench.lab.load_run(run.id)
    shown = tab.live()
    assert shown[tab.prove] == {"interactive": True, "value": "Prove it"} and shown[tab.receipt]["value"] == ""
    assert shown[tab.file] == {"visible": False, "value": None}
    assert tab._prove() == ""
    assert "bit for bit" in tab.live()[tab.receipt]["value"]
    assert "is ready" in tab._report()
    offered = tab.live()[tab.file]
    assert offered["visible"] and Path(offered["value"]).read_bytes() == (run.folder / "report.html").read_bytes()
    assert "bit for bit" in (run.folder / "report.html").read_text(encoding="utf-8")
    first = tab.live()[tab.receipt]["value"]
    assert tab.live()[tab.receipt]["value"] is first  # not drawn anew each second
    with workbench.lab.using([BASE], "answers are being measured"):
        assert tab.live()[tab.prove]["interactive"] is False
        assert "answers are being measured" in tab.live()[tab.hint]["value"]
        assert "must wait" in tab._prove()


def test_the_tab_without_a_model_says_what_to_do(tmp_path):
    with gr.Blocks():
        tab = ProofTab(Workbench(tmp_path / "runs"), gr.Textbox())
    shown = tab.live()
    assert shown[tab.prove]["interactive"] is False and shown[tab.make]["interactive"] is False
    assert "load one on the Compare tab" in shown[tab.hint]["value"]
    assert "There is no tuned model" in tab._prove() and "There is no tuned model" in tab._report()


def test_a_proof_that_cannot_be_read_is_none(tmp_path):
    assert load_proof(tmp_path) is None
    for text in ("", "{", "[]", '{"pane": 3}', '{"tokens": 1}'):
        (tmp_path / "proof.json").write_text(text, encoding="utf-8")
        assert load_proof(tmp_path) is None
