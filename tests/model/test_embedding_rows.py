"""Trained embeddings: what they cost, before and in the run, and training the rows of some tokens alone."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.answering.logits import next_token_logits
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.memory.cards import Card
from core.memory.embeddings_cost import embeddings_cost
from core.memory.model_shape import shape_of
from core.model.adapter_files import NOT_FINITE
from core.model.adapters_on_base import FIRST_ADAPTER, put_on, take_off
from core.model.embedding_rows import (
    NO_CONTINUING_ON_A_GPU,
    NO_NEW_TOKENS,
    check_going_on,
    new_tokens,
    rows_on,
    rows_to_train,
    seen_tokens,
)
from core.model.library_patches.peft_parts import token_layers
from core.model.load import load
from core.model.new_adapter import attach_adapter
from core.model.views import adapter_view, for_inference
from core.problems import ModelError, RunError
from core.runs.checkpoint_list import list_checkpoints
from core.runs.events import Receipt, StepDone, from_line, to_line
from core.settings.run_config import RunConfig
from core.settings.unsloth_limits import NO_SINGLE_ROWS_ON_A_GPU
from core.workbench.workbench import Workbench
from tests.conftest import PROMPT, fresh_model, greedy_text, next_logits, prepare_for, small_config, train_for
from ui.train.receipt_view import embeddings_text, receipt_text

pytestmark = pytest.mark.slow

CPU = Card(name="this machine", memory_gib=8, is_gpu=False)  # with bfloat16
WIDTH, VOCABULARY = 64, 512


def in_bfloat16(model: Path, rows: Path, *settings: str) -> RunConfig:
    """Settings of a small run in the same precision on every machine: sizes, and which rows look new, depend on it."""
    return small_config(model, rows, "model.dtype=bfloat16", *settings)


def begun(config: RunConfig):
    """A base with a new adapter on it as a run puts it there, and the rows."""
    loaded = fresh_model(config)
    data = prepare_for(config, loaded)
    ids = rows_to_train(config.adapter, loaded, data)
    attach_adapter(loaded, config.adapter, False, config.training.seed, ids)
    return loaded, data


@dataclass
class Run:
    """A finished run.

    `states` are the optimizer's tensors for the embeddings, `held` is the size of the embeddings' trained weights in
    bytes.
    """

    config: RunConfig
    folder: Path
    loaded: Any = None
    data: Any = None
    fresh: Any = None
    events: list = field(default_factory=list)
    states: list = field(default_factory=list)
    held: int = 0

    @property
    def receipt(self) -> Receipt:
        return next(event for event in self.events if isinstance(event, Receipt))

    def saved(self) -> dict:
        from safetensors.torch import load_file

        return load_file(self.folder / "adapter/adapter_model.safetensors")

    def embeddings_on_disk(self) -> int:
        return sum(w.numel() * w.element_size() for name, w in self.saved().items() if "lora_" not in name)


def finished(config: RunConfig, folder: Path) -> Run:
    import core.training.receipt
    import core.training.train

    run = Run(config, folder)
    run.loaded, run.data = begun(config)
    run.fresh = next_logits(run.loaded, base=True)

    def looking(loaded, config, data, trainer, asked, optimizer):
        group = next((group for group in optimizer.param_groups if group["lr"] == 0.001), {"params": []})
        run.held = sum(weight.numel() * weight.element_size() for weight in group["params"])
        run.states = [optimizer.optimizer.state[weight] for weight in group["params"]]
        return core.training.receipt.make_receipt(loaded, config, data, trainer, asked, optimizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.training.train, "make_receipt", looking)
        core.training.train.train(run.loaded, config, run.data, folder / "adapter", run.events.append, lambda: False)
    return run


@pytest.fixture(scope="module")
def untied(unsloth, stories, tmp_path_factory) -> Path:
    """The stories with a head of its own."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("untied") / "stories"
    shutil.copytree(stories, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(1).contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return folder


@pytest.fixture(scope="module")
def runs(unsloth, stories, untied, rows, tmp_path_factory):
    """A run by model (tied or untied) and further settings, made once."""
    made: dict[tuple, Run] = {}

    def run(model: str, *settings: str) -> Run:
        if (model, settings) not in made:
            config = in_bfloat16({"tied": stories, "untied": untied}[model], rows, "training.max_steps=4", *settings)
            made[model, settings] = finished(config, tmp_path_factory.mktemp("run"))
        return made[model, settings]

    return run


SEEN = ("adapter.trainable_tokens=seen",)
# In float32: a CPU without bfloat16 cannot train embed_tokens alone with an untied head in bfloat16.
EMBED_TOKENS_ALONE = ("adapter.modules_to_save=[embed_tokens]", "model.dtype=float32")
BOTH_MODELS = pytest.mark.parametrize("model", ["tied", "untied"])


# Which rows


def tokens_of(data) -> list[int]:
    return sorted({id for example in data.train for id in example.input_ids})


def test_seen_are_all_tokens_of_the_training_rows_and_no_others(runs):
    data = runs("tied", *SEEN).data
    assert seen_tokens(data) == tokens_of(data)
    only_checked = {id for example in data.validation for id in example.input_ids} - set(tokens_of(data))
    assert len(tokens_of(data)) == 47 and only_checked  # words that only the validation rows have


def test_new_are_rows_that_are_zero_or_like_the_mean_or_like_one_another(unsloth, stories, rows):
    import torch

    loaded = fresh_model(in_bfloat16(stories, rows))
    weight = loaded.model.get_input_embeddings().weight
    # Letters and signs that its stories hold in no other way than as bytes: never seen, they are all nearly the mean.
    assert new_tokens(loaded) == [29, 50, 86, 125]
    with torch.no_grad():
        weight[300], weight[301] = 0, weight.float().mean(0)
        weight[400] = weight[410]
    assert new_tokens(loaded) == [29, 50, 86, 125, 300, 301, 400, 410]


def test_tokens_added_as_transformers_adds_them_are_new(unsloth, stories, rows):
    import torch

    loaded = fresh_model(in_bfloat16(stories, rows))
    loaded.tokenizer.add_tokens(["<think>", "</think>", "<a>"])
    torch.manual_seed(0)
    loaded.model.resize_token_embeddings(len(loaded.tokenizer))
    assert new_tokens(loaded)[-3:] == [512, 513, 514]
    loaded.model.resize_token_embeddings(600)  # rows of no token are none
    assert new_tokens(loaded)[-3:] == [512, 513, 514]


def test_where_none_is_new_it_says_so(unsloth, stories, rows):
    import torch

    loaded = fresh_model(in_bfloat16(stories, rows))
    with torch.no_grad():
        weight = loaded.model.get_input_embeddings().weight
        for id in (29, 50, 86, 125):
            weight[id] = weight[id - 1] * 1.5
    with pytest.raises(ModelError) as caught:
        new_tokens(loaded)
    assert (caught.value.template, caught.value.values) == (NO_NEW_TOKENS, {"name": str(stories)})


def test_a_gpu_is_refused_before_anything_is_trained(runs):
    import torch

    run = runs("tied", *SEEN)
    there = SimpleNamespace(
        device=torch.device("cuda"), model=SimpleNamespace(peft_config=run.loaded.model.peft_config)
    )
    with pytest.raises(ModelError) as caught:
        rows_to_train(run.config.adapter, there, run.data)
    assert caught.value.template == NO_SINGLE_ROWS_ON_A_GPU
    with pytest.raises(ModelError) as caught:
        check_going_on(there)
    assert caught.value.template == NO_CONTINUING_ON_A_GPU
    check_going_on(run.loaded)
    whole = run.config.with_settings(["adapter.trainable_tokens=all"]).adapter
    assert rows_to_train(whole, there, run.data) is None


# What trains


@BOTH_MODELS
def test_only_the_rows_of_the_chosen_tokens_move(runs, model):
    run = runs(model, *SEEN)
    ids, base = tokens_of(run.data), fresh_model(run.config).model
    layers = dict(token_layers(run.loaded.model))
    assert list(layers) == (["embed_tokens"] if model == "tied" else ["embed_tokens", "lm_head"])
    own = {"embed_tokens": base.get_input_embeddings().weight, "lm_head": base.get_output_embeddings().weight}
    for name, layer in layers.items():
        assert layer.get_base_layer().weight.equal(own[name])
        now = layer.get_merged_weights(["default"])
        differs = (now != own[name]).any(1).nonzero().flatten().tolist()
        # What only ever ends a row is asked for, but never read: of embeddings of its own it gets no gradient.
        read = sorted({id for example in run.data.train for id in example.input_ids[:-1]})
        assert differs == (read if (model, name) == ("untied", "embed_tokens") else ids)
    if model == "tied":
        assert run.loaded.model.get_output_embeddings().weight.equal(run.loaded.model.get_input_embeddings().weight)


@BOTH_MODELS
def test_the_base_stays_the_base_and_tuned_is_the_same_from_disk(runs, model):
    run = runs(model, *SEEN)
    tuned, reloaded = (
        next_logits(run.loaded),
        load(run.config.model, None, run.folder / "adapter", use_gradient_checkpointing=False),
    )
    assert run.fresh.equal(next_logits(fresh_model(run.config)))
    assert run.fresh.equal(next_logits(run.loaded, base=True)) and run.fresh.equal(next_logits(reloaded, base=True))
    assert tuned.equal(next_logits(reloaded)) and not tuned.equal(run.fresh)
    assert rows_on(reloaded.model) == tokens_of(run.data)
    same = {"parameters", "linear_layers", "linear_layers_4bit", "tied_embeddings", "dtype"}
    assert reloaded.report.model_dump(include=same) == run.loaded.report.model_dump(include=same)


def test_rows_learn_at_the_rate_of_embeddings(runs):
    groups = [(group.name, group.learning_rate, group.parameters) for group in runs("tied", *SEEN).receipt.groups]
    assert groups == [("adapter", 0.01, 46240), ("embeddings", 0.001, 47 * WIDTH)]
    groups = [(group.name, group.learning_rate, group.parameters) for group in runs("untied", *SEEN).receipt.groups]
    assert groups == [("adapter", 0.01, 46240), ("embeddings", 0.001, 2 * 47 * WIDTH)]


def test_the_head_alone_of_a_tied_pair_takes_the_embeddings_along(runs):
    run = runs("tied", *SEEN, "adapter.modules_to_save=[lm_head]")
    assert run.receipt.embeddings.layers == ("embed_tokens", "lm_head")
    assert run.loaded.model.get_output_embeddings().weight.equal(run.loaded.model.get_input_embeddings().weight)
    alone = runs("untied", *SEEN, "adapter.modules_to_save=[lm_head]")
    assert alone.receipt.embeddings.layers == ("lm_head",) and alone.receipt.embeddings.parameters == 47 * WIDTH


def test_going_on_from_a_checkpoint_ends_bit_equal(unsloth, stories, rows, tmp_path):
    settings = ("training.max_steps=5", "training.save_steps=2", "training.eval_steps=2", "adapter.lora_dropout=0.1")
    config = in_bfloat16(stories, rows, *SEEN, *settings, "training.save_total_limit=9")
    whole = finished(config, tmp_path / "whole")
    checkpoint = next(c for c in list_checkpoints(tmp_path / "whole/checkpoints") if c.step == 2)
    again = tmp_path / "again"
    shutil.copytree(checkpoint.folder, again / "checkpoints/step-2")
    loaded, _ = begun(config)
    _, events, _ = train_for(
        config, again / "adapter", loaded=loaded, resume_from=list_checkpoints(again / "checkpoints")[0]
    )
    told = [(e.step, e.loss, e.grad_norm) for e in whole.events if isinstance(e, StepDone)]
    assert [(e.step, e.loss, e.grad_norm) for e in events if isinstance(e, StepDone)] == told[2:] and len(told) == 5
    ends = [(folder / "adapter/adapter_model.safetensors").read_bytes() for folder in (tmp_path / "whole", again)]
    assert ends[0] == ends[1]


def test_a_checkpoint_of_as_many_other_rows_is_refused(runs, unsloth, stories, rows, tmp_path):
    from core.training.checkpoint_files import restore_adapter

    run = runs("tied", *SEEN)
    loaded = fresh_model(run.config)
    others = [id + 1 for id in tokens_of(run.data)]
    attach_adapter(loaded, run.config.adapter, False, 1, others)
    with pytest.raises(RunError, match="was made for other layers than these settings train"):
        restore_adapter(run.folder / "adapter", loaded.model)


def test_an_adapter_of_rows_is_trained_further(runs, tmp_path):
    run = runs("tied", *SEEN)
    loaded = load(run.config.model, None, run.folder / "adapter", use_gradient_checkpointing=False)
    config = run.config.with_settings(["adapter.continue_from=earlier", "adapter.trainable_tokens=all"])
    _, events, _ = train_for(config, tmp_path / "adapter", loaded=loaded)
    receipt = next(event for event in events if isinstance(event, Receipt))
    assert [(c.setting, c.asked, c.runs, c.reason) for c in receipt.changes if c.setting == "trainable_tokens"] == [
        ("trainable_tokens", "all", "47 rows", "the adapter that this run continues from")
    ]
    assert [(g.name, g.learning_rate) for g in receipt.groups] == [("adapter", 0.01), ("embeddings", 0.001)]
    assert receipt.embeddings.rows == 47 and not next_logits(loaded).equal(next_logits(run.loaded))
    assert next_logits(loaded, base=True).equal(run.fresh)


def test_a_run_after_a_probe_is_the_run_without(runs, tmp_path):
    from core.training.step_probe import measure
    from core.training.train import train

    run = runs("tied", *SEEN)
    loaded, data = begun(run.config)
    measure(loaded, run.config, data)
    train(loaded, run.config, data, tmp_path / "adapter", lambda event: None, lambda: False)
    ends = [(folder / "adapter/adapter_model.safetensors").read_bytes() for folder in (run.folder, tmp_path)]
    assert ends[0] == ends[1]


def test_attaching_without_the_rows_that_are_asked_for_is_a_fault(unsloth, stories, rows):
    config = in_bfloat16(stories, rows, *SEEN)
    with pytest.raises(ValueError, match="if and only if"):
        attach_adapter(fresh_model(config), config.adapter, False, 1)


# Several adapters, and two answers at once


KINDS = {
    "seen": SEEN,
    "new": ("adapter.trainable_tokens=new", "training.seed=5"),
    "whole": ("training.seed=3",),
    "none": ("adapter.modules_to_save=[]", "training.seed=2"),
}


def through(loaded, name: str | None):
    with for_inference(loaded), adapter_view(loaded, name):
        encoded = loaded.tokenizer([PROMPT], add_special_tokens=False, return_tensors="pt")
        return next_token_logits(loaded, {key: encoded[key] for key in ("input_ids", "attention_mask")})


@BOTH_MODELS
@pytest.mark.parametrize(
    "order", [("seen", "new"), ("seen", "whole", "none"), ("whole", "new"), ("none", "seen")], ids="-".join
)
def test_beside_others_each_is_what_it_was_alone_to_the_bit(runs, model, order):
    alone = [runs(model, *KINDS[kind]) for kind in order]
    loaded = fresh_model(alone[0].config)
    names = [FIRST_ADAPTER, "pane-2", "pane-3"][: len(order)]
    for name, run in zip(names, alone, strict=True):
        put_on(loaded, run.folder / "adapter", name)
    for name, run in zip(names, alone, strict=True):
        assert through(loaded, name).equal(next_logits(run.loaded))
    assert through(loaded, None).equal(alone[0].fresh)
    *_, answers = stream(
        loaded, [PROMPT] * (len(names) + 1), [None, *names], Sampling(max_new_tokens=12), lambda: False
    )
    base = fresh_model(alone[0].config)
    assert [a.text for a in answers] == [
        greedy_text(base, PROMPT, 12),
        *(greedy_text(run.loaded, PROMPT, 12) for run in alone),
    ]
    take_off(loaded, FIRST_ADAPTER)
    assert through(loaded, names[1]).equal(next_logits(alone[1].loaded)) and through(loaded, None).equal(alone[0].fresh)


@BOTH_MODELS
def test_another_is_put_beside_rows_that_were_just_trained(runs, model, tmp_path):
    just, other = finished(runs(model, *SEEN).config, tmp_path), runs(model, *KINDS["whole"])
    tuned = next_logits(just.loaded)
    put_on(just.loaded, other.folder / "adapter", "pane-2")
    assert through(just.loaded, FIRST_ADAPTER).equal(tuned) and through(just.loaded, "pane-2").equal(
        next_logits(other.loaded)
    )
    assert through(just.loaded, None).equal(just.fresh)


@BOTH_MODELS
def test_base_and_just_trained_rows_answer_side_by_side(runs, model):
    run = runs(model, *SEEN)
    *_, (base, tuned) = stream(
        run.loaded, [PROMPT] * 2, [None, FIRST_ADAPTER], Sampling(max_new_tokens=12), lambda: False
    )
    bare = fresh_model(run.config)
    assert (base.text, tuned.text) == (greedy_text(bare, PROMPT, 12), greedy_text(run.loaded, PROMPT, 12))
    assert base.text != tuned.text


def test_damaged_rows_are_refused(runs, tmp_path):
    run = runs("tied", *SEEN)
    hurt = tmp_path / "hurt"
    shutil.copytree(run.folder / "adapter", hurt)
    settings = json.loads((hurt / "adapter_config.json").read_text())
    settings["trainable_token_indices"]["embed_tokens"][-1] = 5000
    (hurt / "adapter_config.json").write_text(json.dumps(settings))
    loaded = fresh_model(run.config)
    put_on(loaded, run.folder / "adapter", FIRST_ADAPTER)
    with pytest.raises(ModelError, match="damaged") as caught:
        put_on(loaded, hurt, "pane-2")
    assert caught.value.values == {"folder": str(hurt)}
    assert list(loaded.model.peft_config) == [FIRST_ADAPTER] and through(loaded, FIRST_ADAPTER).equal(
        next_logits(run.loaded)
    )


def test_rows_that_are_nan_are_a_fault_of_the_adapter(runs, tmp_path):
    from safetensors.torch import save_file

    run = runs("tied", *SEEN)
    hurt = tmp_path / "hurt"
    shutil.copytree(run.folder / "adapter", hurt)
    weights = {name: w if "lora_" in name else w * float("nan") for name, w in run.saved().items()}
    save_file(weights, hurt / "adapter_model.safetensors", {"format": "pt"})
    for use in (
        lambda: load(run.config.model, None, hurt, use_gradient_checkpointing=False),
        lambda: put_on(fresh_model(run.config), hurt, FIRST_ADAPTER),
    ):
        with pytest.raises(ModelError) as caught:
            use()
        assert (caught.value.template, caught.value.values) == (NOT_FINITE, {"folder": str(hurt)})


@BOTH_MODELS
def test_what_moved_is_the_same_just_trained_and_put_on(runs, model):
    from core.model.weight_changes import moved

    run = runs(model, *SEEN)
    now = moved(run.loaded, FIRST_ADAPTER).embeddings
    assert [(e.name, e.rows, e.rows_moved) for e in now] == {
        "tied": [("embed_tokens and lm_head", VOCABULARY, 47)],
        "untied": [("embed_tokens", VOCABULARY, 46), ("lm_head", VOCABULARY, 47)],  # the end mark is never read
    }[model]
    assert all({token.id for token in e.most} <= set(tokens_of(run.data)) and len(e.most) == 24 for e in now)
    loaded = fresh_model(run.config)
    put_on(loaded, run.folder / "adapter", FIRST_ADAPTER)
    assert moved(loaded, FIRST_ADAPTER).embeddings == now


# What they cost


@BOTH_MODELS
@pytest.mark.parametrize("settings", [(), SEEN, EMBED_TOKENS_ALONE], ids=["whole", "seen", "one"])
def test_the_size_told_before_and_in_the_run_is_that_of_the_file(runs, model, settings):
    run = runs(model, *settings)
    told, rows = run.receipt.embeddings, 47 if settings == SEEN else None
    before = embeddings_cost(run.config, shape_of(run.config.model), CPU, rows)
    assert run.embeddings_on_disk() == told.disk_bytes == before.disk_bytes
    assert told.adapter_bytes == sum(weight.numel() * weight.element_size() for weight in run.saved().values())
    assert (before.is_tied, before.parameters, before.is_at_most) == (told.is_tied, told.parameters, False)
    assert before.disk_gib == before.disk_bytes / 1024**3


@BOTH_MODELS
@pytest.mark.parametrize("settings", [(), SEEN], ids=["whole", "seen"])
def test_the_receipt_is_what_the_optimizer_holds(runs, model, settings):
    run = runs(model, *settings)
    told, states = run.receipt.embeddings, 0
    for state in run.states:
        states += sum(tensor.numel() * tensor.element_size() for tensor in state.values() if tensor.dim())
    matrices = 1 if model == "tied" else 2
    originals = run.held if settings else 0
    assert run.held == told.parameters * 4 == matrices * (47 if settings else VOCABULARY) * WIDTH * 4
    assert states == 2 * run.held
    assert told.memory_gib * 1024**3 == 2 * run.held + originals + states  # weights, their gradients, states
    # A whole matrix to compute with, in the precision of the base, and its gradient.
    element = run.loaded.model.get_input_embeddings().original_module.weight.element_size()
    assert told.passing_gib * 1024**3 == (2 * VOCABULARY * WIDTH * element if settings or element == 2 else 0)
    assert told.share == told.parameters / run.receipt.trainable_parameters
    assert (told.rows, told.of_rows) == (47 if settings else VOCABULARY, VOCABULARY)


def test_states_are_counted_as_each_optimizer_keeps_them(unsloth):
    import torch
    from bitsandbytes.optim import AdamW8bit, GlobalOptimManager
    from transformers.optimization import Adafactor

    from core.training.embeddings_receipt import state_bytes

    def kept(optimizer, weight) -> int:
        tables = ("qmap1", "qmap2")  # one for all weights
        state = optimizer.state[weight]
        return sum(
            t.numel() * t.element_size()
            for key, t in state.items()
            if torch.is_tensor(t) and t.dim() and key not in tables
        )

    for kind in (torch.optim.AdamW, torch.optim.SGD, Adafactor):
        weight = torch.nn.Parameter(torch.ones(VOCABULARY, WIDTH, dtype=torch.float32))
        optimizer = kind([weight]) if kind is Adafactor else kind([weight], lr=0.1)
        before = state_bytes(optimizer, weight)
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        assert before == kept(optimizer, weight)
    assert before == 4 * (VOCABULARY + WIDTH)
    embeddings, head = torch.nn.Embedding(VOCABULARY, WIDTH), torch.nn.Linear(WIDTH, VOCABULARY, bias=False)
    small = torch.nn.Parameter(torch.ones(10, 10))
    optimizer = AdamW8bit([embeddings.weight, head.weight, small])
    GlobalOptimManager.get_instance().register_module_override(
        embeddings, "weight", {"optim_bits": 32}
    )  # as Unsloth does
    told = [state_bytes(optimizer, weight) for weight in (embeddings.weight, head.weight, small)]
    for place, weight in enumerate((embeddings.weight, head.weight, small)):
        optimizer.init_state(optimizer.param_groups[0], weight, 0, place)
        assert told[place] == kept(optimizer, weight)
    assert told == [8 * 32768, 2 * 32768 + 2 * 4 * 128, 800]


# What the person sees


def test_the_page_tells_it(runs):
    text = receipt_text(runs("tied", *SEEN).receipt)
    assert "embed_tokens and lm_head, tied: they train as one" in text and "47 of 512" in text
    assert "<dd>6.1% (3,008 weights)</dd>" in text and "0.01 MiB of 0.18 MiB on disk" in text
    assert "all 512" in receipt_text(runs("untied").receipt) and "each by itself" in receipt_text(
        runs("untied").receipt
    )
    none = runs("tied", "adapter.modules_to_save=[]").receipt
    assert none.embeddings is None and "embed_tokens and lm_head are not trained." in receipt_text(none)


def test_a_warning_and_markup_in_a_receipt_are_shown_as_they_are(runs):
    receipt = runs("tied").receipt
    found = receipt.embeddings.model_copy(update={"warning": "Large <b>.", "layers": ("<i>",)})
    text = embeddings_text(receipt.model_copy(update={"embeddings": found}))
    assert 'class="notice warning"' in text and "Large &lt;b&gt;." in text and "&lt;i&gt;" in text and "<i>" not in text


def test_a_receipt_of_before_is_still_read(runs):
    receipt = runs("tied").receipt
    assert from_line(to_line(receipt)) == receipt
    line = json.loads(to_line(receipt))
    del line["embeddings"]
    old = from_line(json.dumps(line))
    assert old.embeddings is None and "are not trained" not in receipt_text(old)  # its groups tell that they do


def test_a_run_from_the_page_trains_only_the_rows_of_its_tokens(unsloth, stories, rows, tmp_path):
    config = in_bfloat16(stories, rows, *SEEN, "training.save_steps=1")
    bench = Workbench(tmp_path / "runs")
    run = bench.start(config, "rows")
    bench.wait(120)
    assert bench.snapshot.status == "completed", bench.snapshot.message
    assert bench.snapshot.receipt.embeddings.rows == 47 and bench.snapshot.heldout.rows == 2
    *_, (base, tuned, difference) = bench.lab.compare(PROMPT, "", Sampling(max_new_tokens=6))
    assert difference > 0 and base.text != tuned.text
    bench.lab.load_run(run.id)
    *_, answers = bench.lab.compare(PROMPT, "", Sampling(max_new_tokens=6))
    assert (answers[0].text, answers[1].text, answers[2]) == (base.text, tuned.text, difference)
