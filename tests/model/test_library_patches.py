"""What `core.model.library_patches` assumes about the libraries, checked on the real ones: run this after updating any.

Each test first checks that the library still behaves in the way that makes the function necessary, where that can be
seen without a GPU, and then that the function does what it says.
"""

import ast
import importlib.util
import itertools
import json
import logging
import os
import pickle
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from core.answering.logits import encode
from core.model.library_patches.model_parts import (
    checkpointing_in_use,
    computed_by_peft,
    folder_of,
    gather_original_embeddings,
    has_mismatched_weights,
    is_4bit,
    keep_weights_as_stored,
    made_up_weights,
    mode_restored,
    named,
    reset_offloading_buffers,
    wants_to_run_code,
    weight_as_computed,
)
from core.model.library_patches.peft_parts import (
    has_mismatched_adapter,
    hooks_restored,
    original,
    own_copy,
    rows_apart,
    share_original,
    show_bias,
    token_layers,
    trained_layers,
    whole_copies,
    without_rows,
)
from core.model.library_patches.trainer_parts import (
    end_callbacks,
    forget_embeddings,
    has_8bit_states,
    loss_scaler,
    modules_restored,
    release_memory_of,
    unwrapped_optimizer,
    with_own_checkpoints,
)
from core.model.new_adapter import attach_adapter
from core.model.views import for_inference
from core.training.step_probe import MadeUpRows
from core.training.trainer import build_trainer
from tests.conftest import PROMPT, fresh_model, next_logits, small_config


@pytest.fixture
def config(unsloth, stories, rows):
    return small_config(stories, rows)


@pytest.fixture
def base(config):
    return fresh_model(config)


@pytest.fixture
def whole(config):
    """A model with whole copies of the embeddings, which are tied."""
    loaded = fresh_model(config)
    attach_adapter(loaded, config.adapter, False, 1)
    return loaded


@pytest.fixture
def single_rows(config):
    """A model of which the rows 3 and 5 of the embeddings train."""
    config = config.with_settings(["adapter.trainable_tokens=seen"])
    loaded = fresh_model(config)
    attach_adapter(loaded, config.adapter, False, 1, [3, 5])
    return loaded


@pytest.fixture
def trainer(whole, config, tmp_path):
    """A run's trainer on that model, which has not been started."""
    return build_trainer(whole, config, MadeUpRows(4, 16, 512), tmp_path, None)[0]


def function_in(file: str, name: str, **names):
    """A function from the source of a library, for modules that cannot be imported without a GPU."""
    package, _, rest = file.partition("/")
    source = (Path(importlib.util.find_spec(package).origin).parent / rest).read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert len(found) == 1, f"{file} no longer has one function {name}"
    scope = dict(names)
    exec(compile(ast.Module(found, type_ignores=[]), file, "exec"), scope)
    return scope[name]


def copy_of_model(stories, folder):
    shutil.copytree(stories, folder)
    return folder


# transformers' models


def test_missing_weights_are_only_logged(unsloth, stories, tmp_path):
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    folder = copy_of_model(stories, tmp_path / "model")
    with made_up_weights() as found:
        AutoModelForCausalLM.from_pretrained(folder)
    assert found == []
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    handlers = list(logging.getLogger("transformers.modeling_utils").handlers)
    with made_up_weights() as found:
        AutoModelForCausalLM.from_pretrained(folder)
    assert len(found) == 1
    assert logging.getLogger("transformers.modeling_utils").handlers == handlers


def test_the_error_for_weights_of_other_shapes(unsloth, stories, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = copy_of_model(stories, tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"intermediate_size": 100}))
    with pytest.raises(RuntimeError) as caught:
        AutoModelForCausalLM.from_pretrained(folder)
    assert has_mismatched_weights(caught.value) and not wants_to_run_code(caught.value)


def test_the_error_for_code_of_a_model(unsloth, stories, tmp_path):
    from transformers import AutoConfig

    folder = copy_of_model(stories, tmp_path / "model")
    settings = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig"}
    (folder / "own.py").write_text("raise SystemExit('this code has run')")
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "own", "auto_map": classes}))
    with pytest.raises(ValueError) as caught:
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
    assert wants_to_run_code(caught.value) and not has_mismatched_weights(caught.value)


def test_a_model_knows_its_folder_and_can_be_renamed_for_a_while(base, stories):
    assert folder_of(base.model) == stories.resolve()
    with pytest.raises(KeyError), named(base.model, "embeddings"):
        assert base.model.config._name_or_path == "embeddings"
        raise KeyError
    assert folder_of(base.model) == stories.resolve()


def test_offloading_writes_below_the_name_of_the_model(base, tmp_path):
    offload_to_disk = function_in("unsloth/models/_utils.py", "offload_to_disk", os=os, torch=torch, pickle=pickle)
    with named(base.model, "embeddings"):
        offload_to_disk(base.model.get_input_embeddings(), base.model, "input", str(tmp_path))
    assert [path.name for path in (tmp_path / "embeddings").iterdir()] == ["input.pt"]


def test_unsloth_changes_the_mode_and_it_is_put_back(whole):
    def modes():
        return [module.training for module in whole.model.modules()]

    whole.model.eval()
    with for_inference(whole):
        pass
    assert all(modes())  # what makes it necessary
    whole.model.eval()
    with mode_restored(whole.model), for_inference(whole):
        pass
    assert not any(modes())


# PEFT


def test_the_error_for_an_adapter_of_other_shapes(whole, config, tmp_path):
    from peft import PeftModel

    whole.model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"r": 3}))
    with pytest.raises(RuntimeError) as caught:
        PeftModel.from_pretrained(fresh_model(config).model, str(tmp_path))
    assert has_mismatched_adapter(caught.value) and not has_mismatched_weights(caught.value)


def test_the_wrappers_of_whole_copies(whole, base):
    copies = dict(whole_copies(whole.model))
    assert list(copies) == ["embed_tokens", "lm_head"] and list(whole_copies(base.model)) == []
    assert trained_layers(whole.model) == ("embed_tokens", "lm_head") and trained_layers(base.model) == ()
    wrapper = copies["embed_tokens"]
    assert list(wrapper.modules_to_save) == ["default"]
    assert wrapper.original_module.weight.equal(base.model.get_input_embeddings().weight)
    assert original(wrapper) is wrapper.original_module and original(wrapper.original_module) is wrapper.original_module


def test_the_wrappers_of_single_rows(single_rows, whole, base):
    (layer,) = token_layers(single_rows.model)
    assert layer[0] == "embed_tokens" and list(token_layers(whole.model)) == []
    assert list(layer[1].token_indices["default"]) == [3, 5]
    assert layer[1].trainable_tokens_delta["default"].shape == (2, 64)
    assert trained_layers(single_rows.model) == ("embed_tokens", "lm_head")
    weight = base.model.get_input_embeddings().weight
    wrapper = single_rows.model.get_input_embeddings()
    assert original(wrapper).weight.equal(weight) and without_rows(wrapper).weight.equal(weight)
    assert without_rows(whole.model.get_input_embeddings()) is whole.model.get_input_embeddings()


def test_a_copy_of_a_layer_is_made_once_and_can_be_tied(base):
    model = base.model
    weight = model.get_input_embeddings().weight
    first = own_copy(model.get_input_embeddings(), model.set_input_embeddings, "default")
    assert first.weight.equal(weight) and first.weight.data_ptr() != weight.data_ptr()
    assert not first.weight.requires_grad
    assert own_copy(model.get_input_embeddings(), model.set_input_embeddings, "default") is first
    tied = own_copy(model.get_output_embeddings(), model.set_output_embeddings, "default", first)
    assert tied.weight is first.weight
    assert [name for name, _ in whole_copies(model)] == ["embed_tokens", "lm_head"]


def test_sharing_the_original_makes_a_pass_with_several_adapters_possible(whole, config):
    bare = config.with_settings(["adapter.modules_to_save=[]"]).adapter
    from peft import LoraConfig

    settings = LoraConfig(r=bare.r, target_modules=list(bare.target_modules), lora_alpha=bare.lora_alpha)
    whole.model.add_adapter("other", settings)
    wrappers = [wrapper for _, wrapper in whole_copies(whole.model)]
    inputs = encode(whole, [PROMPT, PROMPT])

    def logits():
        with torch.inference_mode(), hooks_restored(whole.model):
            return whole.model(**inputs, adapter_names=["default", "other"]).logits[:, -1]

    for wrapper in wrappers:
        assert "other" not in wrapper.modules_to_save and "other" not in wrapper._adapters
        share_original(wrapper, "other")
        assert wrapper.modules_to_save["other"] is wrapper.original_module
    with for_inference(whole):
        both = logits()
    assert both[0].equal(both[1]) and both.isfinite().all()  # two new adapters: both give the base's answer


def test_the_wrapper_of_rows_has_no_bias_until_it_is_shown(single_rows):
    head = single_rows.model.get_output_embeddings()
    assert head.bias is None  # `attach_adapter` has shown it
    del head.bias
    with pytest.raises(AttributeError):
        head.bias  # noqa: B018 what trl reads
    show_bias(single_rows.model)
    assert head.bias is None


def test_a_failed_pass_leaves_hooks_behind_unless_they_are_removed(whole):
    inputs = encode(whole, [PROMPT])
    wrong = {"input_ids": inputs["input_ids"] + 100_000, "attention_mask": inputs["attention_mask"]}

    def hooks() -> int:
        return sum(len(m._forward_pre_hooks) + len(m._forward_pre_hooks_with_kwargs) for m in whole.model.modules())

    before, fresh = hooks(), next_logits(whole)
    with for_inference(whole), torch.inference_mode():
        with pytest.raises(IndexError), hooks_restored(whole.model):
            whole.model(**wrong, adapter_names=["default"])
        assert hooks() == before
    assert next_logits(whole).equal(fresh)
    with for_inference(whole), torch.inference_mode(), pytest.raises(IndexError):
        whole.model(**wrong, adapter_names=["default"])
    assert hooks() > before  # what makes it necessary


@contextmanager
def counted_writes():
    """Yields a list that gets an item for each time that torch writes rows into a tensor by their numbers."""
    writes = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._index_put_impl_.default or function is torch.ops.aten.index_put_.default:
                writes.append(args[0].shape)
            return function(*args, **(kwargs or {}))

    with Counting():
        yield writes


def test_a_4bit_layer_computes_in_its_own_precision_when_its_weights_stay_as_stored():
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(64, 40, bias=False, quant_type="nf4")
    layer.weight.data.normal_(generator=torch.Generator().manual_seed(5))
    layer.to("cpu").eval()
    expected, inputs = weight_as_computed(layer), torch.ones(3, 64)
    layer.support_avx512bf16_for_cpu = True  # as on a processor that has it
    keep_weights_as_stored(layer)
    with torch.no_grad():
        assert layer(inputs).equal(inputs @ expected.T)


@pytest.mark.parametrize(("precision", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.01)])
def test_rows_get_their_matrices_where_they_lie(whole, precision, bound):
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    whole.model.add_adapter("other", LoraConfig(r=3, lora_alpha=7, target_modules=["q_proj", "down_proj"]))
    for _, wrapper in whole_copies(whole.model):
        share_original(wrapper, "other")
    layers = [module for module in whole.model.modules() if isinstance(module, LoraLayer)]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in layers:
            for name, matrix in layer.lora_B.items():
                matrix.weight.normal_(std=0.1, generator=generator)
                if name == "other":
                    layer.lora_A[name].to(precision), matrix.to(precision)
    names = ["__base__", "other", "default", "other"]
    inputs = encode(whole, [PROMPT, PROMPT, PROMPT, f"{PROMPT} {PROMPT}"])

    def logits():
        with torch.inference_mode(), hooks_restored(whole.model), counted_writes() as writes:
            return whole.model(**inputs, adapter_names=names).logits[:, -1], len(writes)

    with for_inference(whole):
        by_peft, copied = logits()
        with rows_apart(whole.model, names):
            own, own_copied = logits()
        again, _ = logits()
    assert copied - own_copied == sum(len(layer.lora_B) for layer in layers)  # what makes it necessary
    assert again.equal(by_peft)
    largest = by_peft.abs().max()
    # Not bit-equal: here the product is added in one step. PEFT may round the input of "default" for the other's sake.
    differences = (own - by_peft).abs().amax(-1) / largest
    assert differences[0] < 1e-6 and differences.max() < bound
    between = [(own[one] - own[two]).abs().max() / largest for one, two in itertools.combinations(range(4), 2)]
    assert min(between) > 0.05  # no row has the answers of another


def test_naming_an_adapter_twice_changes_nothing_else(whole):
    from peft.tuners.lora import LoraLayer

    layers = [module for module in whole.model.modules() if isinstance(module, LoraLayer)]
    inputs = encode(whole, [PROMPT])
    answers = []
    with for_inference(whole), torch.inference_mode(), whole.model.disable_adapter():
        answers.append(whole.model(**inputs).logits)
        with computed_by_peft(whole.model):
            assert {tuple(layer.active_adapters) for layer in layers} == {("default", "default")}
            answers.append(whole.model(**inputs).logits)
    assert answers[0].equal(answers[1])
    assert {tuple(layer.active_adapters) for layer in layers} == {("default",)}


def test_unsloth_leaves_layers_with_several_adapters_to_peft(whole):
    has_several = function_in("unsloth/kernels/utils.py", "_has_multiple_active_adapters")
    layer = whole.model.base_model.model.model.layers[0].self_attn.q_proj
    assert not has_several(layer)
    with computed_by_peft(whole.model):
        assert has_several(layer)


# Unsloth


def test_a_wrapper_shows_the_weight_of_the_trained_copy(whole):
    wrapper = dict(whole_copies(whole.model))["embed_tokens"]
    assert wrapper.weight is wrapper.modules_to_save["default"].weight
    moved: list = []
    gather_original_embeddings(whole.model, moved)
    assert moved == []  # without offloading both are on one device


def test_the_buffers_of_offloading_can_be_reset(unsloth, monkeypatch):
    name = "reset_unsloth_gradient_checkpointing_buffers"
    function_in("unsloth_zoo/gradient_checkpointing.py", name)
    calls: list = []
    loaded = SimpleNamespace(**{name: lambda: calls.append(name)})  # the module itself works only with a GPU
    monkeypatch.delitem(sys.modules, "unsloth_zoo.gradient_checkpointing", raising=False)
    reset_offloading_buffers()
    monkeypatch.setitem(sys.modules, "unsloth_zoo.gradient_checkpointing", loaded)
    reset_offloading_buffers()
    assert calls == [name]


def test_where_unsloth_says_which_checkpointing_it_chose(base, unsloth):
    source = (Path(unsloth.__file__).parent / "models/llama.py").read_text(encoding="utf-8")
    assert "model._unsloth_gradient_checkpointing = use_gradient_checkpointing" in source
    assert checkpointing_in_use(base.model) is None
    assert checkpointing_in_use(SimpleNamespace(_unsloth_gradient_checkpointing=True)) is True


# bitsandbytes


def test_4_bit_weights_as_the_model_computes_with_them(base):
    from safetensors.torch import load_file

    layer = base.model.model.layers[0].mlp.up_proj
    assert is_4bit(layer) and not is_4bit(base.model.get_output_embeddings())
    weight = weight_as_computed(layer)
    saved = load_file(folder_of(base.model) / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    assert weight.shape == (layer.out_features, layer.in_features) == saved.shape != layer.weight.shape
    assert 0 < float((weight.float() - saved.float()).norm() / saved.float().norm()) < 0.15
    one = torch.zeros(1, layer.in_features, dtype=weight.dtype)
    one[0, 7] = 1
    with torch.inference_mode():
        assert layer(one)[0].float().allclose(weight[:, 7].float(), atol=1e-2)
    head = base.model.get_output_embeddings()
    assert weight_as_computed(head) is head.weight


def test_which_states_are_kept_in_8_bits(unsloth):
    from bitsandbytes.optim import AdamW8bit

    large, small, other = (torch.nn.Parameter(torch.ones(size)) for size in (8192, 100, 1))
    optimizer = AdamW8bit([large, small])
    for place, weight in enumerate((large, small)):
        told = has_8bit_states(optimizer, weight)
        optimizer.init_state(optimizer.param_groups[0], weight, 0, place)
        assert told is (optimizer.state[weight]["state1"].dtype == torch.uint8) is (weight is large)
    assert has_8bit_states(torch.optim.AdamW([large]), large) is None
    with pytest.raises(LookupError):
        has_8bit_states(optimizer, other)


def test_embeddings_of_earlier_models_are_forgotten(unsloth):
    from bitsandbytes.optim import GlobalOptimManager

    manager = GlobalOptimManager.get_instance()
    manager.register_module_override(torch.nn.Embedding(2, 2), "weight", {"optim_bits": 32})
    assert manager.module_weight_config_triple
    forget_embeddings()
    assert manager.module_weight_config_triple == [] and manager.pid2config == {}


# The trainer and Accelerate


def test_the_trainer_saves_and_loads_with_the_functions_it_is_given(trainer, tmp_path):
    calls = []

    def note(name: str):
        return lambda *values: calls.append((name, *values))

    own = with_own_checkpoints(
        type(trainer), note("save"), note("adapter"), note("optimizer"), note("scaler"), note("random")
    )
    for name in vars(own).keys() - {"__module__", "__doc__"}:
        assert hasattr(type(trainer), name), f"transformers no longer calls {name}"
    trainer.__class__ = own
    folder = str(tmp_path)
    trainer._save_checkpoint(trainer.model, None)
    trainer._load_from_checkpoint(folder)
    for load in (trainer._load_optimizer_and_scheduler, trainer._load_scaler, trainer._load_rng_state):
        load(None)
        load(folder)
    assert calls == [
        ("save",),
        ("adapter", tmp_path, trainer.model),
        ("optimizer", tmp_path, trainer),
        ("scaler", tmp_path, trainer),
        ("random", tmp_path),
    ]


def test_a_training_leaves_traces_on_its_model_that_are_removed(trainer, whole):
    def traces():
        return [(set(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in whole.model.modules()]

    before = traces()
    with modules_restored(whole.model):
        trainer.train()
        during = traces()
    assert during != before  # what makes it necessary
    assert traces() == before


def test_callbacks_can_be_ended_and_the_optimizer_released(trainer):
    from transformers import TrainerCallback

    ended = []

    class Ends(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            ended.append(state)

    trainer.add_callback(Ends())
    end_callbacks(trainer)
    assert ended == [trainer.state]
    trainer.create_optimizer_and_scheduler(1)
    assert trainer.optimizer is not None and trainer.lr_scheduler is not None
    release_memory_of(trainer)
    assert trainer.optimizer is None and trainer.lr_scheduler is None and trainer.callback_handler.callbacks == []


def test_what_accelerate_wraps_can_be_unwrapped(trainer):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    wrapped = trainer.accelerator.prepare_optimizer(optimizer)
    assert wrapped is not optimizer and unwrapped_optimizer(wrapped) is optimizer
    assert unwrapped_optimizer(optimizer) is optimizer
    assert loss_scaler(trainer) is None and hasattr(trainer.accelerator, "scaler")
