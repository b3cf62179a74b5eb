"""Training for real: it runs as asked, it learns, it stops at once, and it leaves nothing behind."""

import gc
import json
import math
import os
import subprocess
import sys
import weakref

import pytest

from core.memory.cards import this_machine
from core.memory.hardware import detect_machine
from core.problems import TrainingError
from core.training.train import train
from tests.conftest import PROJECT, differing, load_for, next_logits, prepare_for, small_config, train_for
from tests.warm_process import warm_python

IN_16_BIT = "model.load_in_4bit=no"
WITHOUT_BFLOAT16 = """
import json, sys
from pathlib import Path
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.settings.run_config import RunConfig
from core.data.prepared.prepare import prepare
from core.model.new_adapter import attach_adapter
from core.model.load import load
from core.training.train import train

config = RunConfig.from_yaml(sys.argv[2])
loaded = load(config.model, use_gradient_checkpointing=False)
attach_adapter(loaded, config.adapter, False, config.training.seed)
data = prepare(config.data, loaded.tokenizer, 128, True)
result = train(loaded, config, data, Path(sys.argv[1]), lambda event: None, lambda: False)
short = Sampling(max_new_tokens=5)
*_, (base, tuned) = stream(loaded, ["Once upon a time"] * 2, [None, "default"], short, lambda: False)
print(json.dumps({"steps": result.steps, "layers": loaded.report.linear_layers_4bit, "dtype": loaded.report.dtype,
                  "base": base.tokens, "tuned": tuned.tokens, "pair": loaded.supports_rows}))
"""


def adapter_of(adapter_dir):
    from safetensors.torch import load_file

    return load_file(adapter_dir / "adapter_model.safetensors")


def count_forwards(loaded) -> list:
    """A list that grows by one with every micro-batch of training."""
    passes = []
    loaded.model.register_forward_pre_hook(lambda module, inputs: passes.append(None) if module.training else None)
    return passes


def test_the_steps_and_their_figures(trained):
    steps, result = trained.events_of("step"), trained.result
    assert [step.step for step in steps] == list(range(1, 13)) and result.steps == 12 and not result.was_stopped
    assert {step.max_steps for step in steps} == {12}
    assert result.train_loss == sum(step.loss for step in steps) / 12
    # 10 rows, 2 at a time, 2 micro-batches a step: 3 steps an epoch, the last of them with one micro-batch.
    assert [round(step.epoch, 6) for step in steps[:4]] == [0.4, 0.8, 1.0, 1.4]
    tokens = sum(len(example.input_ids) for example in trained.data.train)
    assert (steps[2].tokens, steps[11].tokens, result.tokens) == (tokens, 4 * tokens, 4 * tokens)
    assert all(a.elapsed < b.elapsed <= result.seconds for a, b in zip(steps, steps[1:], strict=False))
    assert [round(step.learning_rate, 9) for step in steps[:3]] == [0.01, round(0.11 / 12, 9), round(0.1 / 12, 9)]


def test_what_it_does_between_steps_and_after_the_last_is_told(trained):
    kinds = [event for event in trained.events if event.type in ("step", "working", "evaluated", "checkpoint")]
    told = [event.in_words if event.type == "working" else event.type for event in kinds]
    check = [f"Computing the loss on the validation rows, {rows} of 2" for rows in (0, 2)]
    end_of_check = [*check, "evaluated", "Saving a checkpoint", "checkpoint"]
    assert told == [
        *["step"] * 6, *end_of_check, "", *["step"] * 6, *end_of_check, "Checking the trained weights",
        "Saving the adapter",
    ]  # fmt: skip


def test_the_receipt_comes_first_and_lists_what_runs(trained):
    receipt = trained.events[0]
    assert receipt.type == "receipt" and len(trained.events_of("receipt")) == 1
    lora = sum(w.numel() for n, w in trained.loaded.model.named_parameters() if "lora_" in n)
    assert receipt.trainable_parameters == lora + 512 * 64  # tied: one matrix for both
    assert (receipt.train_rows, receipt.validation_rows, receipt.max_steps) == (10, 2, 12)
    assert receipt.trained_tokens_share == trained.data.trained_tokens_share
    assert (
        receipt.precision.startswith("35 of 36 layers in 4-bit, ") and "trained weights in float32" in receipt.precision
    )
    assert receipt.optimizer == "AdamW"
    assert [(c.setting, c.asked, c.runs, c.reason) for c in receipt.changes] == [
        ("optim", "adamw_8bit", "adamw_torch_fused", "this optimizer needs a GPU")
    ]
    kept_in = trained.loaded.report.dtype
    *notes, same = receipt.notes
    assert [kept_in in note for note in notes] == ([] if kept_in == "float32" else [True])
    assert same.startswith('12 of 12 rows (100%) have the same answer, "the cat":')
    assert (receipt.embeddings.layers, receipt.embeddings.is_tied) == (("embed_tokens", "lm_head"), True)


def test_embeddings_have_their_own_learning_rate(trained):
    groups = {rate: names for rate, names in trained.optimizer_groups if names}
    assert set(groups) == {0.01, 0.001}
    assert all("modules_to_save.default" in name for name in groups[0.001]) and groups[0.001]
    assert all(".lora_" in name for name in groups[0.01]) and len(groups[0.01]) == 70
    reported = {group.name: group for group in trained.events[0].groups}
    assert (reported["embeddings"].learning_rate, reported["adapter"].learning_rate) == (0.001, 0.01)
    assert (reported["embeddings"].weight_decay, reported["embeddings"].parameters) == (0.01, 32768)
    assert sum(group.parameters for group in reported.values()) == trained.events[0].trainable_parameters
    rates = [(step.learning_rate, step.embedding_learning_rate) for step in trained.events_of("step")]
    assert rates[0] == (0.01, 0.001) and all(of_rows == pytest.approx(rate / 10) for rate, of_rows in rates)


def test_it_learns(trained):
    losses = [step.loss for step in trained.events_of("step")]
    assert losses[-1] < losses[0] / 3  # with steps as large as these, it depends on how a processor rounds
    first, last = trained.events_of("evaluated")
    assert (first.step, last.step) == (6, 12) and last.eval_loss < first.eval_loss < losses[0]
    assert trained.result.eval_loss == last.eval_loss


def test_the_first_loss_is_that_of_the_base(trained):
    from core.evaluation.heldout import measure_heldout

    first = trained.events_of("step")[0]
    base = measure_heldout(trained.loaded, trained.data.train, lambda: False).base_loss
    assert first.loss == pytest.approx(base, rel=0.1)  # the first step has 4 of the 10 rows


def test_all_trained_weights_changed_and_no_others(trained):
    saved = adapter_of(trained.adapter_dir)
    assert all(weight.abs().max() > 0 for name, weight in saved.items() if "lora_B" in name)
    loaded = load_for(trained.config, with_adapter=False)
    fresh = loaded.model.get_input_embeddings().weight
    assert not saved["base_model.model.model.embed_tokens.weight"].equal(fresh)
    frozen = dict(loaded.model.named_parameters())
    now = dict(trained.loaded.model.named_parameters())
    for name, weight in now.items():
        if "lora_" not in name and "modules_to_save" not in name:
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "").replace(".original_module", "")
            assert weight.equal(frozen[plain]), name


def test_the_training_leaves_nothing_behind(trained):
    assert trained.optimizer_is_gone
    assert all(weight.grad is None for weight in trained.loaded.model.parameters())
    assert "autocast" not in repr(trained.loaded.model.forward)
    assert sorted(file.name for file in trained.adapter_dir.parent.iterdir()) == ["adapter", "checkpoints"]


def test_the_same_seed_gives_the_same_adapter_bit_for_bit(unsloth, stories, rows, tmp_path):
    config = small_config(stories, rows)
    saved = {}
    for name, seed in (("first", 0), ("second", 0), ("other", 1)):
        train_for(config.with_settings([f"training.seed={seed}"]), tmp_path / name / "adapter")
        saved[name] = adapter_of(tmp_path / name / "adapter")
    assert differing(saved["first"], saved["second"]) == []
    assert differing(saved["first"], saved["other"]) != []


@pytest.mark.parametrize(("last_pass", "steps"), [(1, 0), (2, 1), (3, 1)])
def test_it_stops_within_the_micro_batch_of_the_request(unsloth, stories, rows, tmp_path, last_pass, steps):
    """A step has two micro-batches. The stop is requested during the given one, and no further one is trained."""
    config = small_config(stories, rows, IN_16_BIT, "training.max_steps=50")
    loaded = load_for(config)
    passes = count_forwards(loaded)
    _, events, result = train_for(config, tmp_path / "adapter", lambda: len(passes) >= last_pass, loaded)
    assert len(passes) == last_pass
    assert (result.steps, result.was_stopped) == (steps, True)
    assert [event.step for event in events if event.type == "step"] == list(range(1, steps + 1))
    assert (tmp_path / "adapter" / "adapter_config.json").is_file() == (steps > 0)
    assert all(weight.grad is None for weight in loaded.model.parameters())
    if steps:
        assert all(weight.isfinite().all() for weight in adapter_of(tmp_path / "adapter").values())


def test_it_stops_while_it_evaluates(unsloth, stories, rows, tmp_path):
    config = small_config(stories, rows, IN_16_BIT, "training.max_steps=50", "training.eval_steps=1")
    loaded, evaluated = load_for(config), []
    loaded.model.register_forward_pre_hook(lambda module, inputs: None if module.training else evaluated.append(None))
    _, events, result = train_for(config, tmp_path / "adapter", lambda: bool(evaluated), loaded)
    assert len(evaluated) == 1 and (result.steps, result.was_stopped, result.eval_loss) == (1, True, None)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


def test_a_loss_that_is_not_finite_ends_the_run_and_the_next_one_works(unsloth, stories, rows, tmp_path):
    config = small_config(stories, rows, IN_16_BIT)
    for poison in (math.nan, math.inf):
        loaded = load_for(config)
        next(w for n, w in loaded.model.named_parameters() if "lora_A" in n).data.fill_(poison)
        with pytest.raises(TrainingError) as failed:
            train_for(config, tmp_path / "adapter", loaded=loaded)
        assert failed.value.values["step"] == 1 and math.isnan(failed.value.values["loss"])
        assert not (tmp_path / "adapter").exists()
    _, _, result = train_for(config, tmp_path / "next" / "adapter")
    assert result.steps == 2 and 0 < result.train_loss < 20


def test_epochs_and_no_validation(unsloth, stories, rows, tmp_path):
    config = small_config(
        stories, rows, IN_16_BIT, "training.max_steps=-1", "training.num_train_epochs=2", "data.validation_share=0",
        "adapter.modules_to_save=[]",
    )  # fmt: skip
    _, events, result = train_for(config, tmp_path / "adapter")
    assert (result.steps, result.eval_loss) == (6, None)  # 12 rows, 4 a step, twice
    receipt = events[0]
    assert [group.name for group in receipt.groups] == ["adapter"]
    assert ["the same answer" in note for note in receipt.notes] == [True]
    assert not any("embed" in name or "lm_head" in name for name in adapter_of(tmp_path / "adapter"))


def test_continuing_from_an_adapter_trains_that_one(trained, tmp_path):
    from core.model.load import load

    config = trained.config.with_settings(
        [f"adapter.continue_from={trained.adapter_dir}", "adapter.r=4", "training.max_steps=2"]
    )
    loaded = load(config.model, None, trained.adapter_dir, use_gradient_checkpointing=False)
    _, events, result = train_for(config, tmp_path / "adapter", loaded=loaded)
    first = trained.events_of("step")[0].loss
    assert next(event for event in events if event.type == "step").loss < first / 5
    change = next(change for change in events[0].changes if change.setting == "r")
    assert (change.asked, change.runs, change.reason) == ("4", "8", "the adapter that this run continues from")
    assert {group.name: group.learning_rate for group in events[0].groups} == {"adapter": 0.01, "embeddings": 0.001}
    assert next_logits(loaded, base=True).equal(trained.logits["fresh base"])


def test_the_receipt_lists_layers_that_could_not_be_4_bit(unsloth, stories, rows, tmp_path):
    """Unsloth loads 16-bit weights where 4-bit is not possible; a run that asked for 4-bit must report it."""
    loaded = load_for(small_config(stories, rows, IN_16_BIT))
    _, events, _ = train_for(small_config(stories, rows), tmp_path / "adapter", loaded=loaded)
    change = next(change for change in events[0].changes if change.setting == "load_in_4bit")
    assert (change.asked, change.runs) == ("yes", "no") and events[0].precision.startswith("0 of 36 layers in 4-bit")


@pytest.mark.slow  # a process of its own
def test_4_bit_with_trained_embeddings_works_without_bfloat16(stories, rows, tmp_path):
    # Unsloth reads the variable when it is imported; where the processor has no bfloat16, it makes no difference.
    python = sys.executable if this_machine(detect_machine()).has_bfloat16 else warm_python()
    answer = subprocess.run(
        [python, "-c", WITHOUT_BFLOAT16, str(tmp_path / "adapter"), small_config(stories, rows).to_yaml()],
        cwd=PROJECT, env=os.environ | {"UNSLOTH_CPU_BF16": "0"}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-2000:]
    printed = json.loads(answer.stdout.splitlines()[-1])
    assert printed == {"steps": 2, "layers": 35, "dtype": "float32", "base": 5, "tuned": 5, "pair": True}


def test_an_error_while_emitting_an_event_is_not_swallowed(unsloth, stories, rows, tmp_path):
    config = small_config(stories, rows, IN_16_BIT)
    loaded = load_for(config)

    def emit(event) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        train(loaded, config, prepare_for(config, loaded), tmp_path / "adapter", emit, lambda: False)
    assert all(weight.grad is None for weight in loaded.model.parameters())


def test_an_embedding_that_bitsandbytes_registered_is_forgotten_after_a_run(unsloth, stories, rows, tmp_path):
    import bitsandbytes
    import torch

    embedding = torch.nn.Embedding(10, 64)
    weight = weakref.ref(embedding.weight)
    bitsandbytes.optim.GlobalOptimManager.get_instance().register_module_override(
        embedding, "weight", {"optim_bits": 32}
    )
    train_for(small_config(stories, rows), tmp_path / "adapter")
    del embedding
    gc.collect()
    assert weight() is None
