"""The log of probes: the newest of the same settings is found, damage loses nothing, and only so many are kept."""

import pytest

from core.memory.hardware import Machine
from core.memory.parts import FORMULAS, PARTS, Estimate
from core.memory.probe_log import MAX_LINES, exact_probe, keep, latest_probe
from core.memory.probe_record import ProbeRecord, memory_settings
from core.settings.run_config import RunConfig

MACHINE = Machine(name="A card", is_gpu=True, total_gib=12.0)
ESTIMATE = Estimate(parts=dict.fromkeys(PARTS, 0.5), context_gib=0.25)


def record_for(config: RunConfig, **values) -> ProbeRecord:
    known = {
        "machine": "A card", "total_gib": 12.0, "model": config.model.base, "settings": memory_settings(config),
        "length": 2048, "estimate": ESTIMATE, "formulas": FORMULAS, "peak_gib": 5.5, "seconds_per_step": 2.0,
        "at": "2026-01-02T03:04:05",
    }  # fmt: skip
    return ProbeRecord(**known | values)


def test_the_newest_of_the_same_settings_comes_first(tmp_path):
    config = RunConfig()
    smaller = config.with_settings(["adapter.r=8"])
    assert latest_probe(tmp_path, MACHINE, config) is None
    first, second, other = record_for(config, peak_gib=5.0), record_for(config), record_for(smaller, peak_gib=4.0)
    longer = record_for(config, length=4096, peak_gib=9.0)
    for record in (first, longer, second, other):
        keep(tmp_path, record)
    assert latest_probe(tmp_path, MACHINE, config) == second and latest_probe(tmp_path, MACHINE, smaller) == other
    unlike = config.with_settings(["adapter.r=64"])
    assert latest_probe(tmp_path, MACHINE, unlike) == other and exact_probe(tmp_path, MACHINE, unlike) is None
    (file,) = (tmp_path / "probes").iterdir()
    assert len(file.read_text().splitlines()) == 3  # the second took the first's place
    assert [exact_probe(tmp_path, MACHINE, config, longest).length for longest in (4096, 2048, 512, None)] == [
        4096,
        2048,
        2048,
        2048,
    ]
    # Rates, seeds and rows change no memory; another model or machine is another.
    assert (
        exact_probe(tmp_path, MACHINE, config.with_settings(["training.seed=1", "training.learning_rate=0.1"]))
        == second
    )
    assert latest_probe(tmp_path, MACHINE, config.with_settings(["model.load_in_4bit=no"])) is None
    assert latest_probe(tmp_path, Machine(name="A card", is_gpu=True, total_gib=24.0), config) is None
    assert latest_probe(tmp_path, Machine(name="Another", is_gpu=True, total_gib=12.0), config) is None


def test_what_was_held_against_older_formulas_corrects_nothing(tmp_path):
    config = RunConfig()
    keep(tmp_path, record_for(config, formulas=FORMULAS - 1))
    (file,) = (tmp_path / "probes").iterdir()
    file.write_text(file.read_text() + record_for(config, length=512).model_dump_json(exclude={"formulas"}) + "\n")
    assert latest_probe(tmp_path, MACHINE, config) is None and exact_probe(tmp_path, MACHINE, config) is None
    keep(tmp_path, record_for(config))
    assert latest_probe(tmp_path, MACHINE, config) == record_for(config)
    assert len(file.read_text().splitlines()) == 2, "it takes the place of the older one"


@pytest.mark.parametrize(
    "setting",
    ["adapter.r=8", "adapter.target_modules=[q_proj]", "adapter.modules_to_save=[]", "adapter.lora_dropout=0.1",
     "training.optim=sgd", "training.per_device_train_batch_size=4", "training.gradient_accumulation_steps=1",
     "training.use_gradient_checkpointing=yes", "training.packing=yes", "model.max_seq_length=1024",
     "model.dtype=float32"],
)  # fmt: skip
def test_what_memory_depends_on_is_told_apart(setting):
    assert memory_settings(RunConfig().with_settings([setting])) != memory_settings(RunConfig())


def test_the_order_of_layers_and_more_accumulation_change_nothing():
    config = RunConfig().with_settings(["adapter.target_modules=[q_proj, v_proj]"])
    turned = RunConfig().with_settings(
        ["adapter.target_modules=[v_proj, q_proj]", "training.gradient_accumulation_steps=8"]
    )
    assert memory_settings(config) == memory_settings(turned)


@pytest.mark.parametrize("damage", ["{", "", "[]", '{"machine": 1}', '"\ud800"', "NaN"])
def test_a_damaged_line_loses_nothing(tmp_path, damage):
    config = RunConfig()
    keep(tmp_path, record_for(config))
    (file,) = (tmp_path / "probes").iterdir()
    whole = file.read_text()
    beyond = (
        whole.replace("5.5", "NaN"),
        whole.replace('"weights"', '"other"'),
        whole.replace('"total_gib":12.0', '"total_gib":-1'),
    )
    file.write_text(f"{damage}\n".encode("utf-8", "replace").decode() + whole + "".join(beyond) + whole[:50])
    assert latest_probe(tmp_path, MACHINE, config) == record_for(config)
    another = config.with_settings(["adapter.r=8"])
    keep(tmp_path, record_for(another))
    assert exact_probe(tmp_path, MACHINE, config) == record_for(config)
    assert exact_probe(tmp_path, MACHINE, another) == record_for(another)
    assert whole[:50] in file.read_text().splitlines()


def test_what_is_no_file_is_no_probe(tmp_path):
    keep(tmp_path, record_for(RunConfig()))
    (file,) = (tmp_path / "probes").iterdir()
    file.unlink()
    file.mkdir()
    assert latest_probe(tmp_path, MACHINE, RunConfig()) is None


def test_only_so_many_are_kept(tmp_path):
    configs = [RunConfig().with_settings([f"adapter.r={r}"]) for r in range(1, MAX_LINES + 3)]
    keep(tmp_path, record_for(configs[0]))
    (file,) = (tmp_path / "probes").iterdir()
    # Written in one go up to the limit, because each call writes the whole file.
    file.write_text("".join(record_for(config).model_dump_json() + "\n" for config in configs[:MAX_LINES]))
    for config in configs[MAX_LINES:]:
        keep(tmp_path, record_for(config))
    assert len(file.read_text().splitlines()) == MAX_LINES
    assert exact_probe(tmp_path, MACHINE, configs[-1]) and exact_probe(tmp_path, MACHINE, configs[1]) is None
