"""The estimate against real models: their weights, adapters, optimizers, what autograd keeps, and published runs."""

import json
import statistics
from pathlib import Path

import pytest

from core.disk.sizes import GIB
from core.memory.activations_and_logits import layer_kept, logits_at_the_loss
from core.memory.cards import Card, find_card, this_machine
from core.memory.estimate import estimate, verdict
from core.memory.hardware import Machine, MemoryStats
from core.memory.model_shape import ModelShape, shape_of
from core.memory.parts import PARTS
from core.memory.probe_record import ProbeRecord
from core.memory.suggestions import suggestions, to_fit
from core.memory.weights_and_states import adapter_parameters, optimizer, trained_parameters, weights
from core.memory.workload import Workload, workload
from core.problems import ConfigError, ModelError
from core.settings.presets import PRESETS_DIR, list_presets
from core.settings.run_config import RunConfig
from core.settings.sections import ALL_TARGET_MODULES, ModelConfig
from tests.app_process import run_app
from tests.conftest import load_for, prepare_for, small_config
from tests.hub_server import Hub
from tests.memory.saved_tensors import bytes_saved

BIG = Card(name="big", memory_gib=96)
LLAMA_8B = ModelConfig(model_name="unsloth/Meta-Llama-3.1-8B-bnb-4bit")


CONFIG_8B = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
}


def on(card: Card, *settings: str, model: str = "unsloth/Meta-Llama-3.1-8B-bnb-4bit"):
    config = RunConfig().with_settings([f"model.model_name={model}", *settings])
    return estimate(config, shape_of(config.model), card)


@pytest.mark.parametrize(
    ("name", "parameters", "tied"),
    [  # as on the models' cards and in the index of their weights
        ("meta-llama/Llama-3.2-1B", 1_235_814_400, True),
        ("unsloth/Llama-3.2-3B-Instruct-bnb-4bit", 3_212_749_824, True),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", 8_030_261_248, False),
        ("unsloth/tinyllama-bnb-4bit", 1_100_048_384, False),
        ("meta-llama/Llama-2-7b-hf", 6_738_415_616, False),
        ("unsloth/Llama-3.3-70B-Instruct", 70_553_706_496, False),
    ],
)
def test_shapes_that_are_known_have_as_many_weights_as_the_models(name, parameters, tied):
    shape = shape_of(ModelConfig(model_name=name))
    assert (shape.parameters, shape.tied_embeddings) == (parameters, tied)
    assert shape.is_prequantized is name.endswith("bnb-4bit")


@pytest.mark.parametrize("model", ["presets/demo-llama", "stories"])
def test_weights_are_those_of_the_real_model(unsloth, request, rows, model):
    folder = request.getfixturevalue("stories") if model == "stories" else PRESETS_DIR / "demo-llama"
    config = small_config(folder, rows)
    loaded, shape = load_for(config, with_adapter=False), shape_of(config.model)
    assert shape.parameters == loaded.report.parameters
    # Embeddings and norms are in 16-bit only where the processor has bfloat16.
    element = loaded.model.get_input_embeddings().weight.element_size()
    work = Workload(
        shape=shape, batch=1, length=1, checkpointing=False, on_gpu=False, element=element, stream_element=element
    )
    # bitsandbytes double-quantizes only what has at least 256 constants, so small matrices take a little more.
    found = weights(work)
    assert found == pytest.approx(loaded.report.memory_gib * GIB, rel=0.1)


def test_adapter_and_optimizer_are_those_of_the_real_run(trained):
    config, shape = trained.config, shape_of(trained.config.model)
    work = workload(config, shape, False, True, float("inf"), None)
    named = {name: weight for name, weight in trained.loaded.model.named_parameters() if "lora_" in name}
    assert adapter_parameters(work) == sum(weight.numel() for weight in named.values())
    (receipt,) = trained.events_of("receipt")
    assert adapter_parameters(work) + trained_parameters(work) == receipt.trainable_parameters
    assert optimizer(work) == 8 * receipt.trainable_parameters  # what the card's 8-bit one is replaced by here


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ALL_TARGET_MODULES], ids=["two", "all"])
@pytest.mark.parametrize("inputs", ["float32", "shared", "copied"])
def test_a_layer_keeps_what_autograd_really_keeps(unsloth, inputs, targets, attention):
    """Bytes a token and layer, counted at the tensors that a real Llama with a real adapter saves for the way back."""
    import torch

    precision = torch.bfloat16 if inputs == "shared" else torch.float32
    few, config = _bytes_saved(2, targets, precision, inputs == "copied", attention)
    many, _ = _bytes_saved(4, targets, precision, inputs == "copied", attention)
    shape = ModelShape.build(config, "a Llama")
    work = Workload(
        shape=shape,
        batch=2,
        length=64,
        r=4,
        targets=tuple(targets),
        kernels="torch",
        attention=attention,
        adapter_inputs=inputs,
    )
    # Besides, each adapted matrix keeps r values of each token, and the attention a sum.
    assert layer_kept(work) == pytest.approx((many - few) / 2 / work.tokens, rel=0.04)


def _bytes_saved(layers: int, targets: list[str], precision, autocast: bool, attention: str) -> tuple[int, dict]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=512, hidden_size=128, intermediate_size=352, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation=attention,
    )  # fmt: skip
    model = get_peft_model(LlamaForCausalLM(config).to(torch.bfloat16), LoraConfig(r=4, target_modules=list(targets)))
    for weight in model.parameters():
        weight.data = weight.data.to(precision) if weight.requires_grad else weight.data
    saved = bytes_saved(model, torch.arange(128).reshape(2, 64), autocast)
    return saved, config.to_dict()


def test_published_measurements_are_met(shared_data):
    from bench.memory import read_points

    path = shared_data.parent / "vram_points.csv"
    if not path.exists():
        pytest.skip("there are no published measurements beside the project")
    points, left_out = read_points(path)
    assert [row for row, _ in left_out if row["seq_len"]] == []
    assert len(points) == 31 and {why for _, why in left_out} == {"its length is not given"}
    measured = [abs(point.error) for point in points if point.row["kind"] == "measured"]
    assert len(measured) == 23 and statistics.median(measured) <= 0.10
    assert [point.row for point in points if abs(point.error) > 0.25] == []


def test_parts_add_up_and_each_setting_moves_its_own():
    def parts(*settings: str) -> dict[str, float]:
        return on(BIG, "adapter.modules_to_save=[]", *settings).parts

    plain = parts()
    assert list(plain) == list(PARTS) and plain["embeddings"] == 0
    assert on(BIG).total_gib == pytest.approx(sum(on(BIG).parts.values()))
    whole = parts("model.load_in_4bit=no", "model.model_name=unsloth/Meta-Llama-3.1-8B")
    assert whole["weights"] == pytest.approx(2 * 8_030_261_248 / GIB)
    doubled = parts("adapter.r=32")
    assert doubled["adapter"] == 2 * plain["adapter"] and doubled["gradients"] == 2 * plain["gradients"]
    assert parts("training.optim=adamw_torch")["optimizer"] == pytest.approx(plain["optimizer"] * 8 / 2.03125)
    assert (
        parts("training.optim=sgd")["optimizer"]
        == 0
        < parts("training.optim=adafactor")["optimizer"]
        < plain["optimizer"]
    )
    usual, off = parts("training.use_gradient_checkpointing=yes"), parts("training.use_gradient_checkpointing=no")
    total = [sum(found.values()) for found in (plain, usual, off)]
    assert total == sorted(total)
    # Usual checkpointing keeps each layer's input on the card, Unsloth's but two.
    tokens, hidden = 2 * 2048, 2 * 4096
    work = [
        Workload(shape=shape_of(LLAMA_8B), batch=2, length=2048, checkpointing=kind, loss="full")
        for kind in ("unsloth", True)
    ]
    assert tokens * hidden * (32 - 2) == pytest.approx(_peak(work[1]) - _peak(work[0]))


def _peak(work: Workload) -> float:
    from core.memory.estimate import of_workload

    found = of_workload(work, holds_unused=False)
    return (found.parts["activations"] + found.parts["logits"]) * GIB


def test_trained_embeddings_cost_copy_gradient_and_states():
    size = 128256 * 4096
    found, without = on(BIG), on(BIG, "adapter.modules_to_save=[]")
    assert found.parts["embeddings"] == pytest.approx(2 * 2 * size / GIB)
    assert found.parts["gradients"] - without.parts["gradients"] == pytest.approx(2 * 2 * size / GIB)
    # 32-bit states for the embeddings, 8-bit ones for the head.
    assert found.parts["optimizer"] - without.parts["optimizer"] == pytest.approx((8 + 2.03125) * size / GIB)
    # Unsloth's offloading leaves the originals of both in the computer's memory.
    assert without.parts["weights"] - found.parts["weights"] == pytest.approx(2 * 2 * size / GIB)
    tied = on(BIG, model="unsloth/Llama-3.2-1B-bnb-4bit")
    assert tied.parts["embeddings"] == pytest.approx(2 * 128256 * 2048 / GIB)


def test_logits_grow_with_the_vocabulary_and_the_fused_loss_takes_a_part_at_a_time():
    shape = shape_of(LLAMA_8B)
    full = Workload(shape=shape, batch=2, length=2048, loss="full")
    assert logits_at_the_loss(full) == 14 * 128256 * 4096
    fused = Workload(shape=shape, batch=2, length=2048)
    # 16 bytes for each of them are 7.8 GiB: of 16 GiB free, at most 4 GiB at a time, so four parts.
    assert logits_at_the_loss(fused, 16 * GIB) == 14 * 128256 * 4096 / 4
    assert logits_at_the_loss(fused, 2 * GIB) == 14 * 128256 * 4096 / 8


def quantized(**settings) -> ModelShape:
    return ModelShape.build(CONFIG_8B | {"quantization_config": {"load_in_4bit": True} | settings}, "it")


def test_what_stays_16_bit_and_double_quantisation_are_read_from_the_config():
    def gib(shape: ModelShape) -> float:
        return estimate(RunConfig().with_settings(["adapter.modules_to_save=[]"]), shape, BIG).parts["weights"]

    plain, linear = gib(quantized()), 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    # A 32-bit constant for 64 weights, in place of an 8-bit one and a 32-bit one for 256 of those.
    assert gib(quantized(bnb_4bit_use_double_quant=False)) - plain == pytest.approx(
        linear * (4 / 64 - 1 / 64 - 4 / 64 / 256) / GIB
    )
    # Two inner layers and one matrix, as the dynamic ones of Unsloth name them; a name that is none covers nothing.
    kept = [
        "lm_head",
        "model.layers.1.mlp",
        "model.layers.31.mlp",
        "model.layers.5.self_attn.o_proj",
        "multi_modal_projector",
    ]
    whole = 2 * 3 * 4096 * 14336 + 4096**2
    in_4bit = 0.5 + 1 / 64 + 4 / 64 / 256
    assert gib(quantized(llm_int8_skip_modules=kept)) - plain == pytest.approx(whole * (2 - in_4bit) / GIB)


def test_tied_embeddings_train_as_one_whichever_is_named():
    found = [on(BIG, f"adapter.modules_to_save=[{names}]", model="unsloth/Llama-3.2-3B-bnb-4bit").parts
             for names in ("embed_tokens", "lm_head", "embed_tokens, lm_head")]  # fmt: skip
    assert found[0] == found[1] == found[2]


def test_a_processor_without_bfloat16_computes_in_32_bit():
    card = Card(name="old", memory_gib=64, is_gpu=False, has_bfloat16=False)
    whole = "model.load_in_4bit=no", "adapter.modules_to_save=[]"
    old, new = on(card, *whole), on(card.model_copy(update={"has_bfloat16": True}), *whole)
    assert old.parts["weights"] == 2 * new.parts["weights"]


def test_a_probe_corrects_its_own_settings_exactly_and_others_in_proportion(tmp_path):
    config = RunConfig().with_settings(["model.model_name=unsloth/Llama-3.2-1B-bnb-4bit"])
    shape = shape_of(config.model)
    raw = estimate(config, shape, BIG)
    for measured in (raw.comparable_gib * 1.2, raw.comparable_gib * 0.9, raw.comparable_gib * 3, 0.5):
        probe = ProbeRecord(
            machine="it",
            total_gib=96,
            model=config.model.base,
            settings={},
            length=2048,
            estimate=raw,
            peak_gib=measured,
            seconds_per_step=1,
        )
        found = estimate(config, shape, BIG, probe)
        assert found.comparable_gib == pytest.approx(measured) and found.is_corrected
        assert min(found.parts.values()) >= 0
        larger = config.with_settings(["training.per_device_train_batch_size=4"])
        assert estimate(larger, shape, BIG, probe).comparable_gib >= measured


def test_advice_at_the_limits_of_the_settings():
    config = RunConfig().with_settings(
        [
            "training.per_device_train_batch_size=4",
            "training.gradient_accumulation_steps=1024",
            "model.max_seq_length=8192",
        ]
    )
    shape = shape_of(LLAMA_8B)
    # More accumulation than the settings allow would be needed, and fewer rows in a step are another training.
    assert not any("batch" in change.words for change in suggestions(config, shape, BIG))
    packed = config.with_settings(["training.packing=yes"])
    lengths = [change.set for change in suggestions(packed, shape, BIG, longest=300) if "length" in change.words]
    assert lengths == ["model.max_seq_length=4096"]
    auto = config.with_settings(
        ["training.per_device_train_batch_size=auto", "training.gradient_accumulation_steps=840"]
    )
    card = Card(name="it", memory_gib=24)
    found = estimate(auto, shape, card)
    sizes = [size for size in range(1, 841) if 840 % size == 0]
    fitting = [n for n in sizes if verdict(estimate(auto.with_batch(n, 840 // n), shape, card), card) == "fits"]
    assert found.batch == max(fitting, default=1)


def test_what_cannot_be_a_token_is_refused_and_not_sent():
    with pytest.raises(ModelError, match="token"):
        shape_of(ModelConfig(model_name="somebody/nothing"), "é")


def test_rows_shorter_than_the_length_take_less_and_packed_ones_do_not():
    config = RunConfig().with_settings(["model.model_name=unsloth/Meta-Llama-3.1-8B-bnb-4bit"])
    shape = shape_of(config.model)
    whole, short = estimate(config, shape, BIG), estimate(config, shape, BIG, longest=100)
    halved = config.with_settings(["model.max_seq_length=100"])
    assert short.parts == estimate(halved, shape, BIG).parts and short.total_gib < whole.total_gib
    packed = config.with_settings(["training.packing=yes"])
    assert estimate(packed, shape, BIG, longest=100).parts == whole.parts


@pytest.mark.parametrize(("gib", "judged"), [(6, "no"), (16, "fits")])
def test_what_is_suggested_saves_what_it_says(gib, judged):
    card = Card(name="it", memory_gib=gib)
    config = RunConfig().with_settings(
        ["model.model_name=unsloth/Llama-3.2-1B-bnb-4bit", "training.per_device_train_batch_size=8"]
    )
    shape = shape_of(config.model)
    now = estimate(config, shape, card)
    assert verdict(now, card) == judged
    found = suggestions(config, shape, card)
    assert [change.saves_gib for change in found] == sorted((change.saves_gib for change in found), reverse=True)
    assert {change.set for change in found} >= {"training.per_device_train_batch_size=4", "adapter.modules_to_save=[]"}
    for change in found:
        alone = estimate(config.with_settings([change.set]), shape, card)
        assert now.total_gib - alone.total_gib == pytest.approx(change.saves_gib), change
        together = config.with_settings([change.set, *change.also])
        assert together.training.effective_batch == config.training.effective_batch


def test_the_changes_that_make_it_fit_do_and_none_is_needless():
    card = Card(name="it", memory_gib=8)
    config = RunConfig().with_settings(
        [
            "model.model_name=unsloth/llama-3-8b-bnb-4bit",
            "training.per_device_train_batch_size=16",
            "training.optim=adamw_torch",
        ]
    )
    shape = shape_of(config.model)
    made = to_fit(config, shape, card)
    settings = [setting for change in made for setting in (change.set, *change.also)]
    after = estimate(config.with_settings(settings), shape, card)
    assert verdict(after, card) != "no"
    assert sum(change.saves_gib for change in made) == pytest.approx(
        estimate(config, shape, card).total_gib - after.total_gib
    )
    assert "without embed_tokens and lm_head" in [change.words for change in made]
    for change in made:
        others = [s for other in made if other != change for s in (other.set, *other.also)]
        assert verdict(estimate(config.with_settings(others), shape, card), card) == "no", change
    assert to_fit(config, shape, Card(name="small", memory_gib=4)) == []  # the weights alone are more
    assert to_fit(config, shape, BIG) == []  # it fits as it is


def test_this_machine_leaves_others_what_they_have():
    memory = MemoryStats(total_gib=24, in_use_gib=6, available_gib=18, process_gib=2, peak_process_gib=2)
    found = this_machine(Machine(name="CPU, 2 cores", is_gpu=False, total_gib=24), memory)
    assert (found.memory_gib, found.usable_gib, found.is_gpu) == (24, 20, False)
    on_a_card = memory.model_copy(update={"reserved_gib": 4.0})
    found = this_machine(Machine(name="NVIDIA GeForce RTX 3090", is_gpu=True, total_gib=24), on_a_card)
    assert found.usable_gib == pytest.approx(24 - (6 - 4 - 0.45)) and found.has_bfloat16
    assert not this_machine(Machine(name="Tesla T4", is_gpu=True, total_gib=15), on_a_card).has_bfloat16


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("RTX 3060 12GB", "RTX 3060 12GB"), ("rtx3060", "RTX 3060 12GB"), ("NVIDIA GeForce RTX 4090", "RTX 4090 24GB"),
        ("RTX 4060", "RTX 4060 8GB"), ("L4", "L4 24GB"), ("45GB", "a card of 45GB"),  # no A4500
        ("NVIDIA GeForce RTX 4070 Laptop GPU", "RTX 4070 Laptop 8GB"), ("3060 laptop", "RTX 3060 Laptop 6GB"),
        ("10", "a card of 10GB"),
        ("h100", "H100 80GB"), ("12GB", "a card of 12GB"),
        ("7.5 GiB", "a card of 7.5GB"),
        ("T4", "Tesla T4 16GB"),
    ],
)  # fmt: skip
def test_a_card_is_found_as_people_write_it(said, name):
    assert find_card(said).name == name


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("A100", {"card": "A100", "known": "A100 40GB, A100 80GB"}),
        ("RTX 4091 24GB", {"card": "RTX 4091 24GB", "near": "RTX 4090 24GB or RTX 4070 12GB or RTX 3090 24GB"}),
        ("", {"card": ""}),
    ],
)
def test_an_unknown_card_is_refused_with_those_it_may_be(said, values):
    with pytest.raises(ConfigError) as caught:
        find_card(said)
    assert caught.value.values == values


# A model that is no Llama in spite of its fields: eight MLPs instead of one.
MIXTRAL = json.dumps(CONFIG_8B | {"model_type": "mixtral", "num_local_experts": 8})
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads")
TOO_LARGE = json.dumps(dict.fromkeys(SIZES, 10**6) | {"num_hidden_layers": 9999})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "missing"),
        ("{", "damaged"),
        (MIXTRAL, "experts"),
        ('{"model_type": "bert", "hidden_size": 3}', "Llama"),
        ('{"hidden_size": 64, "num_attention_heads": 0}', "Llama"),
        (TOO_LARGE, "weights"),
    ],
    ids=["no config.json", "cut off", "Mixtral", "BERT", "no heads", "too large"],
)
def test_a_folder_without_a_llama_is_refused(tmp_path, text, word):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        shape_of(ModelConfig(model_name=str(tmp_path)))
    assert str(tmp_path) in caught.value.values.values()
    assert word in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["./gone", "/gone/model", "~/gone", "gone", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused_without_asking_the_hub(name):
    with pytest.raises(ModelError) as caught:
        shape_of(ModelConfig(model_name=name))
    assert caught.value.values == {"folder": name}


def test_from_the_hub_the_config_alone_is_fetched_and_once():
    with Hub({"somebody/a-llama": PRESETS_DIR / "demo-llama"}) as hub:
        found = run_app(
            "estimate", "demo-yoda", "--set", "model.model_name=somebody/a-llama", "--gpu", "8GB", "--json",
            environment={"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"},
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        assert {Path(request.path).name for request in hub.requests} == {"config.json"}
    assert json.loads(found.stdout)["total_gib"] == on_the_command_line("--gpu", "8GB")["total_gib"]


def on_the_command_line(*options: str) -> dict:
    found = run_app("estimate", "demo-yoda", "--json", *options)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_the_command_line_says_what_the_page_says():
    found = on_the_command_line(
        "--gpu", "RTX 3060 12GB", "--set", "model.model_name=unsloth/Meta-Llama-3.1-8B-bnb-4bit"
    )
    assert set(found) >= {"total_gib", "parts", "fits", "suggestions"} and found["parts"].keys() == PARTS.keys()
    assert found["total_gib"] == pytest.approx(sum(found["parts"].values()))
    assert found["fits"] is False and found["to_fit"]
    settings = [setting for change in found["to_fit"] for setting in (change["set"], *change["also"])]
    again = on_the_command_line(
        "--gpu", "RTX 3060 12GB", "--set", "model.model_name=unsloth/Meta-Llama-3.1-8B-bnb-4bit",
        *(word for setting in settings for word in ("--set", setting)),
    )  # fmt: skip
    assert again["fits"] is True
    bad = run_app("estimate", "demo-yoda", "--gpu", "Voodoo 2")
    assert (bad.returncode, bad.stdout) == (2, "") and "'Voodoo 2'" in bad.stderr


def test_every_preset_can_be_estimated_without_a_network():
    for preset in list_presets():
        found = estimate(preset.config, shape_of(preset.config.model, fetch=False), BIG)
        assert 0.5 < found.total_gib < 48, preset.name
        assert verdict(found, BIG) == "fits"


def test_rows_of_a_real_run_are_measured_by_the_longest(trained):
    data = prepare_for(trained.config, trained.loaded)
    longest = int(data.train.figures["kept"].max())
    card = Card(name="a computer", memory_gib=24, is_gpu=False)
    shape = shape_of(trained.config.model)
    known, unknown = (estimate(trained.config, shape, card, longest=tokens) for tokens in (longest, None))
    assert longest < 128 and known.parts["logits"] == pytest.approx(unknown.parts["logits"] * longest / 128)
