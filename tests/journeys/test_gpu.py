"""Tests that need a GPU: Unsloth's kernels, its offloading gradient checkpointing, and GPU memory.

They use a small Llama with random weights and no network. They are skipped if torch sees no CUDA device.
"""

import gc
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.answering.logits import next_token_logits
from core.answering.rows_in_one_pass import supports_rows
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.data.prepared.prepare import prepare
from core.disk.sizes import GIB
from core.model.adapters_on_base import FIRST_ADAPTER
from core.model.load import load
from core.model.new_adapter import attach_adapter
from core.model.views import adapter_view, for_inference
from core.runs.checkpoint_list import list_checkpoints
from core.runs.events import CheckpointSaved, Evaluated, Receipt, Sampled, StepDone
from core.settings.run_config import RunConfig
from core.training.train import train
from core.workbench.workbench import Workbench
from tests.conftest import PROJECT

pytestmark = pytest.mark.gpu

LENGTH = 1024  # Unsloth offloads from length 512
SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
PROMPTS = ("old red sun cat river", "stone quiet under again letter seven")
MEMORY_TOLERANCE = 1.02  # a second run may use this much more


@pytest.fixture(scope="session", autouse=True)
def card():
    """Runs first, so that without a GPU these tests do not even import Unsloth."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")


@pytest.fixture(scope="module")
def place(card, unsloth, tmp_path_factory):
    """The current folder, with a tied Llama and rows. With an absolute path Unsloth would write next to the model."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("card")
    tokenizer = AutoTokenizer.from_pretrained(PROJECT / "presets/demo-llama")
    torch.manual_seed(0)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    words = {"vocab_size": len(tokenizer), "tie_word_embeddings": True}
    shape = LlamaConfig(**SHAPE, **special, **words, max_position_embeddings=2048)
    LlamaForCausalLM(shape).to(torch.bfloat16).save_pretrained(folder / "llama")
    tokenizer.save_pretrained(folder / "llama")
    words = " ".join(PROMPTS).split()
    texts = [" ".join(words[(number + at * at) % len(words)] for at in range(LENGTH)) for number in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def settings(*more: str) -> RunConfig:
    """Trains both matrices with offloading checkpointing for four steps; every second one is evaluated and saved."""
    return RunConfig().with_settings([
        "model.model_name=llama", f"model.max_seq_length={LENGTH}", "data.path=rows.jsonl", "data.text_column=text",
        "data.validation_share=0.1", "adapter.r=8", "training.max_steps=4", "training.learning_rate=0.01",
        "training.embedding_learning_rate=0.001", "training.warmup_steps=0", "training.gradient_accumulation_steps=2",
        "training.eval_steps=2", "training.save_steps=2", "training.completion_only_loss=no", *more,
    ])  # fmt: skip


@dataclass
class Ran:
    """A run, and the logits of base and tuned at several stages."""

    loaded: Any
    events: list = field(default_factory=list)
    result: Any = None
    logits: dict[str, Any] = field(default_factory=dict)

    def of(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def with_adapter(config: RunConfig):
    checkpointing = config.training.use_gradient_checkpointing
    loaded = load(config.model, use_gradient_checkpointing=checkpointing)
    attach_adapter(loaded, config.adapter, checkpointing, config.training.seed)
    return loaded


def train_on(loaded, config: RunConfig, folder: Path, should_stop=lambda ran: False, resume_from=None) -> Ran:
    ran = Ran(loaded)
    data = prepare(config.data, loaded.tokenizer, LENGTH, config.training.completion_only_loss)
    ran.result = train(loaded, config, data, folder, ran.events.append, lambda: should_stop(ran), resume_from)
    return ran


def logits_of(loaded, base: bool = False):
    with for_inference(loaded), adapter_view(loaded, None if base or not loaded.has_adapter else FIRST_ADAPTER):
        ids = loaded.tokenizer([PROMPTS[0]], add_special_tokens=False, return_tensors="pt")["input_ids"]
        ids = ids.to(loaded.report.device)
        return next_token_logits(loaded, {"input_ids": ids, "attention_mask": ids.new_ones(ids.shape)}).cpu()


def answers(loaded, adapters: list[str | None]) -> list[str]:
    prompts = [PROMPTS[0]] * len(adapters)
    *_, last = stream(loaded, prompts, adapters, Sampling(max_new_tokens=12), lambda: False)
    return [answer.text for answer in last]


@pytest.fixture(scope="module")
def ran(place) -> Ran:
    """Shared by many tests: read only, do not train it further."""
    config = settings("training.sample_prompts=[old red sun]")
    loaded = load(config.model, use_gradient_checkpointing="unsloth")
    logits = {"fresh": logits_of(loaded)}
    attach_adapter(loaded, config.adapter, "unsloth", config.training.seed)
    logits |= {"attached base": logits_of(loaded, base=True), "attached tuned": logits_of(loaded)}
    run = train_on(loaded, config, place / "shared" / "adapter")
    logits |= {"trained tuned": logits_of(loaded), "trained base": logits_of(loaded, base=True)}
    run.logits = logits | {"tuned after base": logits_of(loaded)}
    return run


@pytest.mark.parametrize("name", ["llama", "stories260K"])
def test_every_layer_but_the_head_is_loaded_in_4_bit(place, name, request):
    model = name if name == "llama" else request.getfixturevalue("stories")
    report = load(settings(f"model.model_name={model}").model).report
    assert report.device.startswith("cuda")
    layers = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    assert (report.linear_layers_4bit, report.linear_layers) == (7 * layers, 7 * layers + 1)


def test_embeddings_have_their_own_learning_rate(ran):
    (receipt,) = ran.of(Receipt)
    assert {(group.name, group.learning_rate) for group in receipt.groups} == {("adapter", 0.01), ("embeddings", 0.001)}
    tokens, width = len(ran.loaded.tokenizer), SHAPE["hidden_size"]
    assert [g.parameters for g in receipt.groups if g.name == "embeddings"] == [tokens * width]  # tied, so only once


def test_no_setting_is_replaced_as_it_would_be_on_a_cpu(ran):
    """After get_peft_model the first weight is in system memory, but the model is still on the GPU."""
    (receipt,) = ran.of(Receipt)
    assert receipt.changes == ()
    assert not any("no GPU" in note for note in receipt.notes)


def test_training_embeddings_does_not_change_the_base(ran, record_property):
    """If Unsloth offloads, the original matrices are kept in system memory."""
    import torch

    embeddings = ran.loaded.model.get_input_embeddings()
    record_property("original embedding lies on", str(embeddings.original_module.weight.device))
    for view in ("attached base", "trained base"):
        difference = (ran.logits[view] - ran.logits["fresh"]).abs().max().item()
        record_property(f"{view} differs by", difference)
        assert torch.equal(ran.logits[view], ran.logits["fresh"]), f"{view} differs by {difference}"


def test_the_tuned_model_differs_and_is_restored_after_viewing_the_base(ran):
    import torch

    assert torch.equal(ran.logits["attached tuned"], ran.logits["attached base"])  # a new adapter has no effect
    assert (ran.logits["trained tuned"] - ran.logits["trained base"]).abs().max() > 0.1
    assert torch.equal(ran.logits["tuned after base"], ran.logits["trained tuned"])


def test_training_evaluates_and_answers_along_the_way(ran):
    assert [event.step for event in ran.of(StepDone)] == [1, 2, 3, 4]
    losses = [event.loss for event in ran.of(StepDone)]
    assert losses[-1] < losses[0]
    assert [event.step for event in ran.of(Evaluated)] == [2, 4]
    assert [(event.step, event.by) for event in ran.of(Sampled)] == [(0, "base"), (2, "tuned"), (4, "tuned")]


def test_several_rows_in_one_pass_are_used_only_where_each_gets_its_own_adapter(ran, record_property):
    with for_inference(ran.loaded):
        supports = supports_rows(ran.loaded)
    record_property("several rows in one pass", supports)
    alone = answers(ran.loaded, [None]) + answers(ran.loaded, [FIRST_ADAPTER])
    assert alone[0] != alone[1]
    assert answers(ran.loaded, [None, FIRST_ADAPTER]) == alone


def test_mixed_up_rows_are_detected_even_with_an_untrained_adapter(ran, place):
    """It has no effect, so a pass that gives every row the adapter would look correct."""
    untrained = with_adapter(settings("adapter.modules_to_save=[]"))
    with for_inference(untrained), for_inference(ran.loaded):
        assert supports_rows(untrained) == supports_rows(ran.loaded)


def test_a_stop_keeps_what_was_trained(place):
    config = settings("training.save_steps=0", "training.eval_steps=0")
    loaded = with_adapter(config)
    ran = train_on(loaded, config, place / "stopped" / "adapter", lambda ran: len(ran.of(StepDone)) == 2)
    assert (ran.result.was_stopped, ran.result.steps) == (True, 2)
    again = load(config.model, None, place / "stopped" / "adapter")
    difference = (logits_of(again) - logits_of(loaded)).abs().max()
    assert difference <= 0.02 * logits_of(loaded).abs().max()  # saved in the base's precision


def test_a_run_resumes_from_its_checkpoint(ran, place):
    assert [event.step for event in ran.of(CheckpointSaved)] == [2, 4]
    config = settings()
    checkpoint = list_checkpoints(place / "shared" / "checkpoints")[0]
    resumed = train_on(with_adapter(config), config, place / "resumed" / "adapter", resume_from=checkpoint)
    losses = {event.step: event.loss for event in ran.of(StepDone)}
    resumed_losses = {event.step: event.loss for event in resumed.of(StepDone)}
    assert resumed_losses == pytest.approx({3: losses[3], 4: losses[4]}, rel=0.02)


def test_running_out_of_memory_fails_only_that_run(place):
    import torch

    bench = Workbench(place / "runs")
    config = settings("training.max_steps=2", "training.save_steps=0", "training.eval_steps=0")
    bench.load_model(config.model)
    limit = torch.cuda.memory_reserved() + 0.1 * GIB
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    try:
        bench.start(config.with_settings(["training.per_device_train_batch_size=16"]), "too much")
        bench.wait(300)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert bench.snapshot.status == "failed"
    assert bench.snapshot.message.startswith("The card's memory is full. What would help most: ")
    gc.collect()
    assert torch.cuda.memory_allocated() < 0.05 * GIB
    bench.start(config, "enough")
    bench.wait(300)
    assert (bench.snapshot.status, bench.snapshot.finished.steps) == ("completed", 2)


def test_a_second_run_takes_no_more_memory_than_the_first(place):
    import torch

    bench = Workbench(place / "two")
    config = settings("training.max_steps=2", "training.save_steps=0", "training.eval_steps=0")
    peaks, remaining = [], []
    for name in ("warm-up", "first", "second"):
        torch.cuda.reset_peak_memory_stats()
        bench.start(config, name)
        bench.wait(300)
        assert bench.snapshot.status == "completed", bench.snapshot.message
        peaks.append(torch.cuda.max_memory_allocated())
        remaining.append(torch.cuda.memory_allocated())
    assert peaks[2] <= MEMORY_TOLERANCE * peaks[1]
    assert remaining[2] <= MEMORY_TOLERANCE * remaining[1]


def test_a_probe_uses_the_same_memory_as_the_run_and_does_not_change_it(ran, place):
    bench = Workbench(place / "probed")
    config = settings("training.max_steps=2", "training.save_steps=0", "training.eval_steps=0")
    record = bench.probe(config)
    bench.start(config, "after the probe")
    bench.wait(300)
    assert bench.snapshot.status == "completed", bench.snapshot.message
    assert bench.snapshot.finished.peak_memory_gib == pytest.approx(record.peak_gib, rel=0.05)
    losses = [event.loss for event in ran.of(StepDone)][:2]
    assert [step.loss for step in bench.snapshot.steps] == pytest.approx(losses, rel=0.01)


def test_the_base_is_the_same_for_a_trained_and_a_loaded_adapter(place):
    """Nothing is offloaded for the one loaded from disk."""
    import torch

    config = settings("training.max_steps=1", "training.save_steps=0", "training.eval_steps=0")
    loaded = with_adapter(config)
    train_on(loaded, config, place / "kept" / "adapter")
    again = load(config.model, None, place / "kept" / "adapter")
    assert torch.equal(logits_of(again, base=True), logits_of(loaded, base=True))
