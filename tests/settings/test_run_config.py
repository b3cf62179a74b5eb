"""The settings: what is accepted, what is refused and in which words, and the way to YAML and back."""

from pathlib import Path

import pytest

from core.problems import ConfigError
from core.settings.paths import PROJECT_DIR, resolve_path
from core.settings.plain_yaml import parse_yaml
from core.settings.run_config import RunConfig, fields


def refusal(values) -> str:
    with pytest.raises(ConfigError) as caught:
        RunConfig.build(values)
    return str(caught.value)


def test_the_defaults_are_a_whole_run():
    config = RunConfig()
    assert RunConfig.build({}) == config == RunConfig.from_yaml("{}")
    assert config.training.embedding_learning_rate == config.training.learning_rate / 4
    assert (config.adapter.r, config.adapter.lora_alpha, config.adapter.use_rslora) == (16, 32, True)
    assert config.adapter.target_modules == [
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    ]  # fmt: skip


def test_every_setting_has_a_title_a_description_and_a_default():
    for name, info in fields().items():
        assert info.title and info.description and info.description.endswith("."), name
        assert not info.is_required(), name
    assert list(fields())[0] == "model.model_name" and len(fields()) == 54


def test_two_configs_share_nothing():
    first, second = RunConfig(), RunConfig()
    first.adapter.modules_to_save.clear()
    first.adapter.target_modules.clear()
    assert second.adapter.modules_to_save == ["embed_tokens", "lm_head"] and len(second.adapter.target_modules) == 7


def test_yaml_and_back():
    config = RunConfig.build(
        {
            "model": {"model_name": "owner/모델", "revision": "main", "dtype": "float32"},
            "data": {"path": "a: b.json", "prompt_template": "### {title}\n{text}\n", "validation_share": 0.0},
            "adapter": {"modules_to_save": [], "continue_from": "korean-cpt"},
            "training": {"learning_rate": 1e-5, "max_steps": -1, "use_gradient_checkpointing": False},
        }
    )
    assert RunConfig.from_yaml(config.to_yaml()) == config
    assert "owner/모델" in config.to_yaml()


@pytest.mark.parametrize(
    ("text", "number"), [("2e-4", 2e-4), ("2.0e-4", 2e-4), ("0.0002", 2e-4), ("1e-05", 1e-5), ("1", 1.0)]
)
def test_a_rate_may_be_written_as_people_write_it(text, number):
    assert RunConfig.from_yaml(f"training: {{learning_rate: {text}}}").training.learning_rate == number


def test_an_empty_section_means_as_usual():
    assert RunConfig.from_yaml("model:\ndata:\n") == RunConfig()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"trainin": {}}, "trainin is not a setting; did you mean training?"),
        ({"training": {"learning_rat": 1}}, "training.learning_rat is not a setting; did you mean training.learning_rate?"),
        ({"qqqqqq": {}}, "qqqqqq is not a setting."),
        ({"training": {"learning_rate": "fast"}},
         "Learning rate (training.learning_rate) cannot be 'fast': input should be a valid number, unable to parse string as a number."),
        ({"training": {"learning_rate": float("nan")}},
         "Learning rate (training.learning_rate) cannot be nan: input should be a finite number."),
        ({"training": {"learning_rate": 0}}, "Learning rate (training.learning_rate) cannot be 0: input should be greater than 0."),
        ({"training": {"max_steps": 0}},
         "Steps (training.max_steps) cannot be 0: 0 steps train nothing; give at least 1, or -1 to go by epochs."),
        ({"adapter": {"r": 0}}, "Rank (adapter.r) cannot be 0: input should be greater than or equal to 1."),
        ({"adapter": {"target_modules": []}},
         "Adapted layers (adapter.target_modules) cannot be []: list should have at least 1 item after validation, not 0."),
        ({"model": {"model_name": ""}},
         "Model (model.model_name) cannot be '': string should have at least 1 character."),
        ({"data": {"validation_share": 0.6}},
         "Validation share (data.validation_share) cannot be 0.6: input should be less than or equal to 0.5."),
        ([1], "Settings are four sections (model, data, adapter, training), not [1]."),
        (None, "Settings are four sections (model, data, adapter, training), not None."),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_sentence(values, sentence):
    assert refusal(values) == sentence


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [("adapter", "target_modules", ["q_proj", "x"]), ("adapter", "modules_to_save", ["norm"]), ("model", "dtype", "int8"),
     ("training", "optim", "adam"), ("training", "use_gradient_checkpointing", "some"), ("training", "max_steps", -2),
     ("model", "max_seq_length", 15), ("data", "seed", -1), ("data", "seed", 2**32), ("training", "warmup_steps", -0.1)],
)  # fmt: skip
def test_values_out_of_bounds(part, field, value):
    sentence = refusal({part: {field: value}})
    assert f"({part}.{field}) cannot be " in sentence and "\n" not in sentence


def test_a_very_long_value_is_not_quoted_whole():
    assert len(refusal({"training": {"optim": "x" * 5000}})) < 400


def test_repeated_names_count_once():
    config = RunConfig.build({"adapter": {"target_modules": ["v_proj", "q_proj", "v_proj"]}})
    assert config.adapter.target_modules == ["v_proj", "q_proj"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "This is not valid YAML in line 1: did not find expected node content."),
        ("a: 1\nb: 'x", "This is not valid YAML in line 2: found unexpected end of stream."),
        ("a: !!python/object/apply:os.getcwd []", "Settings are plain values: in line 1 is one with the tag"),
    ],
)
def test_bad_yaml_names_the_line(text, sentence):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_settings_on_top():
    config = RunConfig().with_settings(
        ["training.max_steps=20", "adapter.modules_to_save=[]", "model.load_in_4bit = no", "data.path=a=b.json"]
    )
    assert (config.training.max_steps, config.adapter.modules_to_save) == (20, [])
    assert (config.model.load_in_4bit, config.data.path) == (False, "a=b.json")
    assert RunConfig().training.max_steps == 60


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("x", "'x' is no setting; write part.field=value, as in training.max_steps=20."),
        ("max_steps=3", "'max_steps=3' is no setting; write part.field=value, as in training.max_steps=20."),
        ("a.b=1", "'a' is no part of the settings; there are model, data, adapter, training."),
        ("training.max_step=1", "training.max_step is not a setting; did you mean training.max_steps?"),
    ],
)
def test_bad_settings(setting, sentence):
    with pytest.raises(ConfigError) as caught:
        RunConfig().with_settings([setting])
    assert str(caught.value) == sentence


def test_paths_are_found_here_and_beside_the_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text("[]")
    assert resolve_path("mine.json") == (tmp_path / "mine.json").resolve()
    assert resolve_path("core/settings/run_config.py") == PROJECT_DIR / "core" / "settings" / "run_config.py"
    assert resolve_path("owner/model") is None


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "~no-such-user-here/x"])
def test_what_is_no_path_at_all_is_not_found(path):
    assert resolve_path(path) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{Q}", "{Q}"),
        ("{Q} says: {A}", "{Q} says: {A}"),
        ("a: b", "a: b"),
        ("chat", "chat"),
        ('"chat"', "chat"),
        ("1.50", "1.50"),
    ],
)
def test_a_text_setting_is_taken_as_it_stands(text, value):
    assert RunConfig().with_settings([f"data.prompt_template={text}"]).data.prompt_template == value


def test_several_files_are_a_list_or_lines():
    for text in ("[a.csv, b.csv]", "a.csv\nb.csv", '["a.csv", "b.csv"]'):
        assert RunConfig().with_settings([f"data.path={text}"]).data.path.split() == ["a.csv", "b.csv"], text
    assert RunConfig().with_settings(["data.answer_column=null"]).data.answer_column is None


@pytest.mark.parametrize(
    ("value", "batch", "rows"),
    [("auto", "auto", 8), (" AUTO", "auto", 8), ("3", 3, 24), (3, 3, 24), (1024, 1024, 8192)],
)
def test_a_batch_is_a_number_or_left_to_be_found(value, batch, rows):
    values = {"training": {"per_device_train_batch_size": value, "gradient_accumulation_steps": 8}}
    config = RunConfig.build(values)
    assert (config.training.per_device_train_batch_size, config.training.effective_batch) == (batch, rows)
    assert RunConfig.from_yaml(config.to_yaml()) == config
    assert (
        RunConfig()
        .with_settings([f"training.per_device_train_batch_size={value}"])
        .training.per_device_train_batch_size
        == batch
    )


@pytest.mark.parametrize(
    ("value", "why"),
    [(2.5, "a valid integer"), (0, "greater than or equal to 1"), (1025, "less than or equal to 1024")],
)
def test_other_batches_are_refused_under_the_settings_own_name(value, why):
    sentence = refusal({"training": {"per_device_train_batch_size": value}})
    assert sentence.startswith(
        f"Batch size (training.per_device_train_batch_size) cannot be {value!r}: input should be {why}"
    )


@pytest.mark.parametrize("value", ["most", "", "2.5", "³", "1e3", None])
def test_of_a_batch_that_is_no_number_it_says_that_it_may_be_auto(value):
    sentence = refusal({"training": {"per_device_train_batch_size": value}})
    why = "give a number from 1 to 1,024, or auto."
    assert sentence == f"Batch size (training.per_device_train_batch_size) cannot be {value!r}: {why}"


def test_a_batch_can_be_settled_in_a_copy():
    config = RunConfig().with_settings(
        ["training.per_device_train_batch_size=auto", "training.gradient_accumulation_steps=8"]
    )
    settled = config.with_batch(2, 4)
    assert (settled.training.per_device_train_batch_size, settled.training.gradient_accumulation_steps) == (2, 4)
    assert settled.training.effective_batch == config.training.effective_batch == 8
    assert config.training.per_device_train_batch_size == "auto"
    assert RunConfig.from_yaml(settled.to_yaml()) == settled
