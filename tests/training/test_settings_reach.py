"""Settings that people bring from notebooks: each reaches the real trainer, and the exported script does the same.

One run has all of them, on a copy of the stories model with room for new tokens, in 4-bit.
"""

import json
import math
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from core.answering.rows_in_one_pass import supports_rows
from core.answering.sampling import Sampling
from core.answering.stream import stream
from core.memory.model_shape import shape_of
from core.memory.weights_and_states import adapter_parameters, trained_parameters
from core.memory.workload import workload
from core.model.embedding_rows import rows_to_train
from core.model.load import load, load_tokenizer
from core.model.weight_changes import _added, moved
from core.runs.checkpoint_list import list_checkpoints
from core.runs.run_folder import create_run
from core.training.receipt import NO_SECOND_MOMENT, UNTRAINED_MARKS
from core.training.script_export import write_script
from tests.conftest import differing, fresh_model, load_for, next_logits, prepare_for, small_config, train_for
from tests.training.test_script_export import execute

pytestmark = pytest.mark.slow

SETTINGS = [
    "data.prompt_template=chat", "model.chat_template=chatml", "adapter.use_dora=yes", "training.max_steps=6",
    "training.max_grad_norm=0.3", "training.adam_beta2=0.95", "training.lr_scheduler_type=cosine_with_restarts",
    "training.num_cycles=3", "training.train_sampling_strategy=group_by_length", "training.neftune_noise_alpha=5",
    "training.eval_steps=0.67", "training.save_steps=0.34", "training.save_total_limit=100",
]  # fmt: skip


@pytest.fixture(scope="module")
def roomy(stories, tmp_path_factory) -> Path:
    """The stories with four embeddings more than tokens, as long as the others."""
    import torch

    folder = tmp_path_factory.mktemp("roomy") / "stories"
    shutil.copytree(stories, folder)
    weights = load_file(folder / "model.safetensors")
    rows = weights["model.embed_tokens.weight"]
    spare = torch.randn(4, rows.shape[1], generator=torch.Generator().manual_seed(0)).to(rows.dtype)
    weights["model.embed_tokens.weight"] = torch.cat([rows, spare * rows.float().std()]).contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(settings | {"vocab_size": 516}), encoding="utf-8")
    return folder


@dataclass
class Watched:
    """A finished run, and what its trainer was just before the first step."""

    config: Any
    folder: Path
    loaded: Any = None
    events: list = field(default_factory=list)
    arguments: dict = field(default_factory=dict)
    betas: set = field(default_factory=set)
    cycles: list = field(default_factory=list)
    sampler: Any = None
    hooks: int = 0

    @property
    def receipt(self):
        return self.events[0]

    def of(self, kind: str) -> list:
        return [event for event in self.events if event.type == kind]


def watched(config, folder: Path) -> Watched:
    """Trains and looks at the trainer when the receipt is made."""
    import core.training.receipt
    import core.training.train

    run = Watched(config, folder)

    def looking(loaded, config, data, trainer, asked, optimizer):
        run.arguments = {name: getattr(trainer.args, name) for name in ("max_grad_norm", "neftune_noise_alpha")}
        run.betas = {group.get("betas") for group in optimizer.param_groups}
        run.cycles = [rate.keywords.get("num_cycles") for rate in trainer.lr_scheduler.lr_lambdas]
        run.sampler = trainer._get_train_sampler()
        run.hooks = len(loaded.model.get_input_embeddings()._forward_hooks)
        return core.training.receipt.make_receipt(loaded, config, data, trainer, asked, optimizer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.training.train, "make_receipt", looking)
        run.loaded, run.events, _ = train_for(config, folder / "adapter")
    return run


@pytest.fixture(scope="module")
def whole(unsloth, roomy, rows, tmp_path_factory) -> Watched:
    return watched(small_config(roomy, rows, *SETTINGS), tmp_path_factory.mktemp("whole"))


def test_the_trainer_has_them(whole):
    assert whole.arguments == {"max_grad_norm": 0.3, "neftune_noise_alpha": 5.0}
    assert whole.betas == {(0.9, 0.95)} and set(whole.cycles) == {3}
    assert type(whole.sampler).__name__ == "LengthGroupedSampler"
    data = prepare_for(whole.config, whole.loaded)
    assert whole.sampler.lengths == [len(example.input_ids) for example in data.train]
    assert whole.sampler.batch_size == 4  # of a whole step


def test_the_rate_starts_again_in_every_cycle(whole):
    rates = [step.learning_rate for step in whole.of("step")]
    assert rates == pytest.approx([0.01, 0.005, 0.01, 0.005, 0.01, 0.005])


def test_noise_is_added_once_while_it_trains_and_nothing_of_it_is_left(whole):
    assert whole.hooks == 1
    assert not whole.loaded.model.get_input_embeddings()._forward_hooks


def test_noise_is_removed_after_a_stop_as_well(unsloth, stories, rows, tmp_path):
    config = small_config(stories, rows, "training.neftune_noise_alpha=5", "training.max_steps=50")
    loaded, steps = load_for(config), []
    loaded.model.register_forward_pre_hook(lambda module, inputs: steps.append(module.training))
    _, _, result = train_for(config, tmp_path / "adapter", lambda: len(steps) > 1, loaded)
    assert result.was_stopped and not loaded.model.get_input_embeddings()._forward_hooks


def test_shares_of_an_epoch_become_steps_and_the_receipt_says_so(whole):
    """10 rows, 4 a step: an epoch has 3 steps."""
    assert [check.step for check in whole.of("evaluated")] == [2, 4, 6]
    assert [saved.step for saved in whole.of("checkpoint")] == [1, 2, 3, 4, 5, 6]
    changes = {change.setting: (change.asked, change.runs, change.reason) for change in whole.receipt.changes}
    assert changes.pop("eval_steps") == ("0.67", "2", "an epoch has 3 steps")
    assert changes.pop("save_steps") == ("0.34", "1", "an epoch has 3 steps")
    assert set(changes) == {"optim"}


def test_a_resumed_run_ends_like_one_without_a_pause(whole, tmp_path):
    shutil.copytree(whole.folder / "checkpoints/step-4", tmp_path / "checkpoints/step-4")
    train_for(whole.config, tmp_path / "adapter", resume_from=list_checkpoints(tmp_path / "checkpoints")[0])
    name = "adapter/adapter_model.safetensors"
    assert differing(load_file(tmp_path / name), load_file(whole.folder / name)) == []


def test_dora_trains_magnitudes_and_is_read_back(whole):
    saved = load_file(whole.folder / "adapter/adapter_model.safetensors")
    assert sum("lora_magnitude_vector" in name for name in saved) == 35
    assert json.loads((whole.folder / "adapter/adapter_config.json").read_text())["use_dora"] is True
    again = load(whole.config.model, None, whole.folder / "adapter", use_gradient_checkpointing=False)
    assert next_logits(again).equal(next_logits(whole.loaded))
    assert not next_logits(again).equal(next_logits(again, base=True))
    short = Sampling(max_new_tokens=3)
    *_, (base, tuned) = stream(again, ["Once upon"] * 2, [None, "default"], short, lambda: False)
    assert base.tokens and tuned.tokens and base.text != tuned.text
    again.supports_rows = True  # as a LoRA adapter that was there before has left it
    assert not supports_rows(again)


def test_the_estimate_counts_the_magnitudes(whole):
    work = workload(whole.config, shape_of(whole.config.model), False, True, math.inf, None)
    assert adapter_parameters(work) + trained_parameters(work) == whole.receipt.trainable_parameters
    plain = replace(work, has_magnitudes=False)
    assert adapter_parameters(work) - adapter_parameters(plain) == 5 * (64 + 32 + 32 + 64 + 172 + 172 + 64)


def test_what_dora_has_moved_is_the_change_of_the_whole_weight(whole):
    import torch
    from peft.utils.integrations import dequantize_module_weight

    layer = whole.loaded.model.base_model.model.model.layers[0].self_attn.q_proj
    weight = dequantize_module_weight(layer.get_base_layer()).double()
    with torch.no_grad():
        tuned = weight + layer.scaling["default"] * (
            layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
        )
        tuned *= (layer.lora_magnitude_vector["default"].weight.double() / tuned.norm(dim=1)).unsqueeze(1)
        expected = float((tuned - weight).square().sum())
    with torch.inference_mode():
        assert _added(layer, "default") == pytest.approx(expected, rel=1e-4)
    assert not moved(whole.loaded, "default").is_nothing


def test_the_new_tokens_end_the_answers_and_are_saved_with_the_adapter(whole):
    tokenizer = whole.loaded.tokenizer
    assert tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]) == [512, 513]
    assert whole.loaded.new_ids == (512, 513) and 513 in whole.loaded.eos_token_ids
    example = prepare_for(whole.config, whole.loaded).train[0]
    assert example.input_ids.count(512) == 3  # a system prompt, a question, an answer
    assert [label for label in example.labels if label >= 0][-1] == 513
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(whole.folder / "adapter")
    said = [{"role": "user", "content": "Hi"}]
    alone = load_tokenizer(whole.config.model)
    texts = {one.apply_chat_template(said, tokenize=False) for one in (saved, tokenizer, alone.tokenizer)}
    assert texts == {"<s><|im_start|>user\nHi<|im_end|>\n"} and alone.eos_token_ids == whole.loaded.eos_token_ids


def test_tokens_that_nothing_trains_are_told(whole, roomy, rows, tmp_path):
    config = whole.config.with_settings(["adapter.modules_to_save=[]", "training.max_steps=1"])
    _, events, _ = train_for(config, tmp_path / "adapter")
    assert UNTRAINED_MARKS in events[0].notes and UNTRAINED_MARKS not in whole.receipt.notes


def test_only_the_new_tokens_can_be_trained(whole, roomy, rows):
    config = whole.config.with_settings(["adapter.trainable_tokens=new"])
    loaded = fresh_model(config)
    assert rows_to_train(config.adapter, loaded, prepare_for(config, loaded)) == [512, 513]


def test_the_gradient_is_cut_to_the_norm(unsloth, stories, rows, tmp_path):
    """With plain gradient descent, a step is as long as the rate times the gradient."""
    config = small_config(
        stories, rows, "training.optim=sgd", "training.max_grad_norm=0.001", "training.adam_beta2=0.9",
        "training.weight_decay=0", "training.max_steps=1", "adapter.modules_to_save=[]", "model.load_in_4bit=no",
    )  # fmt: skip
    loaded = load_for(config)
    before = {name: w.detach().clone() for name, w in loaded.model.named_parameters() if w.requires_grad}
    _, events, _ = train_for(config, tmp_path / "adapter", loaded=loaded)
    after = dict(loaded.model.named_parameters())
    squares = sum(float((after[name].detach() - weight).double().square().sum()) for name, weight in before.items())
    assert math.sqrt(squares) == pytest.approx(0.01 * 0.001, rel=0.01)
    change = next(change for change in events[0].changes if change.setting == "adam_beta2")
    assert (change.asked, change.runs, change.reason) == ("0.9", "none", NO_SECOND_MOMENT)


def test_the_exported_script_does_the_same(whole, tmp_path):
    run = create_run(tmp_path / "runs", "Stories", whole.config)
    script, _ = write_script(run, tmp_path / "script")
    done = execute(script)
    assert done.returncode == 0, done.stderr[-3000:]
    made, ours = script.parent / "adapter", whole.folder / "adapter"
    assert (made / "adapter_model.safetensors").read_bytes() == (ours / "adapter_model.safetensors").read_bytes()
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (made / name).read_bytes() == (ours / name).read_bytes()
