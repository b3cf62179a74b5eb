"""Every preset against the real functions that its values go to."""

import dataclasses
import inspect
from contextlib import suppress

import pytest

from core.data.columns.chosen_columns import template_columns
from core.data.prompts.prompt_templates import TEMPLATES
from core.disk.tolerant_reading import Unreadable
from core.problems import ConfigError
from core.settings.presets import (
    DEMO,
    DEMO_TIME,
    PRESETS_DIR,
    TITLE_CHARACTERS,
    Preset,
    default_preset,
    delete_preset,
    find_preset,
    left_over,
    list_presets,
    own_presets_dir,
    read_preset,
    save_preset,
    with_settings_of,
)
from core.settings.run_config import RunConfig
from core.settings.sections import AdapterConfig, DataConfig, ModelConfig
from core.settings.training_section import TrainingConfig
from tests.conftest import PROJECT, tmpfs

# Of these, HearthTune itself makes what the libraries take.
OF_OUR_OWN = {
    "use_gradient_checkpointing", "completion_only_loss", "continue_from", "early_stopping_patience", "stop_at_loss",
    "sample_prompts", "trainable_tokens", "auto_batch_headroom", "chat_template", "num_cycles",
}  # fmt: skip
FILES = sorted(PRESETS_DIR.glob("*.yaml"))
OF_OTHER_MODELS = {
    "gemma-2-2b", "gemma-3-1b", "granite-3.2-2b", "mistral-7b", "phi-4-mini", "qwen2.5-7b", "qwen3-14b", "qwen3-4b",
    "smollm3-3b",
}  # fmt: skip


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def preset(request) -> Preset:
    return read_preset(request.param)


def test_there_are_presets_for_both_kinds_of_machine():
    names = [preset.name for preset in list_presets()]
    assert names[0] == DEMO and names[1:] == sorted(names[1:], key=lambda name: (name in OF_OTHER_MODELS, name))
    assert default_preset(has_gpu=False) in names and default_preset(has_gpu=True) in names
    assert set(names) == {path.stem for path in FILES}


def test_what_a_run_does_is_one_line():
    config = find_preset(DEMO).config
    assert config.summary == "Demo Llama on yoda.jsonl · rank 16 · 160 steps"
    by_epochs = config.with_settings(["training.max_steps=-1", "training.num_train_epochs=2", "data.path=ada/reviews"])
    assert by_epochs.summary == "Demo Llama on reviews · rank 16 · 2 epochs"


def test_the_time_of_the_demo_is_the_same_everywhere():
    assert DEMO_TIME == "about a minute" and DEMO_TIME in find_preset(DEMO).description
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert readme.count(DEMO_TIME) == 2
    for place in ("README.md", "app.py", "presets/*.yaml", "ui/**/*.py", "ui/**/*.html", "core/**/*.py"):
        for file in PROJECT.glob(place):
            words = " ".join(file.read_text(encoding="utf-8").replace("\n#", " ").split()).casefold()
            assert "half a minute" not in words, file


def test_a_preset_says_what_it_is(preset):
    assert preset.title and preset.description.endswith(".") and preset.card
    assert find_preset(preset.name) == preset


def test_field_names_are_the_arguments_of_the_libraries(unsloth):
    import datasets
    import peft

    language_model = unsloth.FastLanguageModel
    model = set(ModelConfig.model_fields) - OF_OUR_OWN
    assert model <= set(inspect.signature(language_model.from_pretrained).parameters)
    adapter = set(AdapterConfig.model_fields) - OF_OUR_OWN
    for_peft = {field.name for field in dataclasses.fields(peft.LoraConfig)}  # what get_peft_model hands on
    assert adapter <= {*inspect.signature(language_model.get_peft_model).parameters, *for_peft}
    assert "use_gradient_checkpointing" in inspect.signature(language_model.get_peft_model).parameters
    known = {field.name for field in dataclasses.fields(unsloth.UnslothTrainingArguments)} | {"embedding_learning_rate"}
    assert set(TrainingConfig.model_fields) - OF_OUR_OWN <= known
    assert {"path", "name", "split"} <= set(inspect.signature(datasets.load_dataset).parameters)
    assert {"path", "name", "split"} <= set(DataConfig.model_fields)


def test_its_values_are_taken_by_the_training_arguments(unsloth, preset, tmp_path):
    asked = preset.config.training.model_dump(exclude=OF_OUR_OWN)
    # CPU memory has no 8-bit optimizer: Unsloth says so and takes another; all else must be as asked.
    args = unsloth.UnslothTrainingArguments(**asked, output_dir=str(tmp_path), bf16=False, fp16=False)
    for name in set(asked) - {"optim"}:
        runs = getattr(args, name)
        assert getattr(runs, "value", runs) == ([] if asked[name] == "none" else asked[name]), name


def test_its_values_fit_the_other_calls(unsloth, preset):
    import datasets

    config = preset.config
    inspect.signature(unsloth.FastLanguageModel.from_pretrained).bind(**config.model.model_dump(exclude=OF_OUR_OWN))
    adapter = config.adapter.model_dump(exclude=OF_OUR_OWN)
    inspect.signature(unsloth.FastLanguageModel.get_peft_model).bind("model", **adapter)
    data = config.data
    inspect.signature(datasets.load_dataset).bind(data.path, data.name, split=data.split, token=None)
    assert data.prompt_template in ("chat", *TEMPLATES) or template_columns(data.prompt_template)


def test_a_second_stage_goes_on_from_a_preset_of_the_same_shape(preset):
    first = preset.config.adapter.continue_from
    if first is None:
        return
    before = find_preset(first).config
    assert before.model.model_name == preset.config.model.model_name
    for name in ("r", "lora_alpha", "use_rslora", "target_modules", "modules_to_save"):
        assert getattr(before.adapter, name) == getattr(preset.config.adapter, name)


def test_what_a_preset_names_by_path_is_there(preset):
    for path in (preset.config.model.model_name, preset.config.data.path):
        if path.startswith("presets/"):
            assert (PROJECT / path).exists(), path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("training: {max_step: 1}", {"setting": "training.max_step", "near": "training.max_steps"}),
        ("- a", {}),
        ("a: [", {"line": 1, "reason": "did not find expected node content"}),
    ],
)
def test_a_bad_preset_is_refused_with_its_name_and_the_reason(tmp_path, text, values):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        find_preset(str(path))
    found = caught.value.values
    assert found["file"] == "bad.yaml" and found["reason"].values == values
    assert str(caught.value) == f"bad.yaml: {found['reason']}"


def test_a_preset_of_ones_own_and_one_that_is_not_there(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {max_steps: 3}")
    mine = find_preset(str(path))
    assert (mine.name, mine.title, mine.description, mine.config.training.max_steps) == ("mine", "mine", "", 3)
    with pytest.raises(ConfigError) as caught:
        find_preset("nothing")
    known = ", ".join(preset.name for preset in list_presets())
    assert caught.value.values == {"name": "nothing", "known": known}
    with pytest.raises(ConfigError) as caught:
        find_preset(str(tmp_path / "gone.yaml"))
    assert caught.value.values["file"] == "gone.yaml" and isinstance(caught.value.values["reason"], Unreadable)


def test_what_a_person_saves_comes_after_the_presets_of_the_program(runs_dir):
    config = RunConfig().with_settings(["training.max_steps=7", "data.allow_left_out=true", "data.path=내 파일.csv"])
    saved = save_preset(runs_dir, "  Reviews,\n 한국어 #2 ", config)
    assert (saved.name, saved.title, saved.is_own) == ("reviews-한국어-2", "Reviews, 한국어 #2", True)
    assert saved.description == config.summary
    assert saved.config == config.with_settings(["data.allow_left_out=false"]), "the consent is for rows read once"
    first = save_preset(runs_dir, "A: first", RunConfig())
    assert list_presets(runs_dir) == [*list_presets(), first, saved]
    assert find_preset(saved.name, runs_dir) == saved
    delete_preset(runs_dir, saved.name)
    delete_preset(runs_dir, saved.name)
    delete_preset(runs_dir, DEMO)
    assert list_presets(runs_dir) == [*list_presets(), first] and list_presets()[0].name == DEMO
    with pytest.raises(ConfigError):
        find_preset(saved.name, runs_dir)


@pytest.mark.parametrize(
    ("title", "values"),
    [
        ("", {}),
        (" / ?", {}),
        ("x" * (TITLE_CHARACTERS + 1), {"most": TITLE_CHARACTERS, "found": TITLE_CHARACTERS + 1}),
        ("Demo: YODA", {"name": DEMO}),
        ("mine!", {"name": "mine"}),
    ],
)
def test_a_title_that_cannot_be_used(runs_dir, title, values):
    save_preset(runs_dir, "Mine", RunConfig())
    with pytest.raises(ConfigError) as caught:
        save_preset(runs_dir, title, RunConfig())
    assert caught.value.values == values
    assert [path.name for path in own_presets_dir(runs_dir).iterdir()] == ["mine.yaml"]


def test_a_title_leads_to_no_other_folder(runs_dir):
    saved = save_preset(runs_dir, "../../etc/passwd", RunConfig())
    assert saved.name == "etc-passwd" and (own_presets_dir(runs_dir) / "etc-passwd.yaml").is_file()


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path):
    with tmpfs(tmp_path / "disk", "size=64k") as reason:
        if reason:
            pytest.skip(reason)
        runs_dir = tmp_path / "disk/runs"
        save_preset(runs_dir, "Before", RunConfig())
        with suppress(OSError):
            (tmp_path / "disk/ballast").write_bytes(bytes(2**20))
        with pytest.raises(ConfigError) as caught:
            save_preset(runs_dir, "After", RunConfig())
        assert caught.value.values == {"folder": str(own_presets_dir(runs_dir)), "reason": "no space left on device"}
        assert [file.name for file in own_presets_dir(runs_dir).iterdir()] == ["before.yaml"]


def test_settings_left_over_from_the_preset_of_another_model():
    demo, other = find_preset(DEMO), find_preset("llama-3.2-1b")
    mine = ["training.learning_rate=1e-4", "data.path=mine.csv", "training.sample_prompts=[Why?]"]
    config = demo.config.with_settings([f"model.model_name={other.config.model.model_name}", *mine])
    assert left_over(config, demo, other) == [
        "model.max_seq_length", "adapter.lora_alpha", "adapter.modules_to_save", "training.embedding_learning_rate",
        "training.per_device_train_batch_size", "training.gradient_accumulation_steps", "training.max_steps",
        "training.warmup_steps", "training.lr_scheduler_type", "training.optim", "training.weight_decay",
        "training.use_gradient_checkpointing", "training.eval_steps",
    ]  # fmt: skip
    suited = with_settings_of(config, other)
    assert suited.data == config.data.model_copy(update={"prompt_template": other.config.data.prompt_template})
    assert suited.training.sample_prompts == ["Why?"] and suited.training.learning_rate == 2e-4
    assert (suited.model, suited.adapter) == (other.config.model, other.config.adapter)
    assert left_over(suited, demo, other) == left_over(suited, other, other) == []
