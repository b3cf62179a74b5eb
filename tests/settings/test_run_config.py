"""The settings: what is accepted, what is refused and why, and the way to YAML and back."""

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from core.problems import ConfigError
from core.settings.paths import PROJECT_DIR, resolve_path
from core.settings.plain_yaml import parse_yaml
from core.settings.reasons import REASONS, reason_of
from core.settings.run_config import RunConfig, fields, flatten


def refusal(values) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        RunConfig.build(values)
    assert "\n" not in str(caught.value)
    return caught.value


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
    assert list(fields())[0] == "model.model_name" and len(fields()) == 65


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
    ("values", "setting", "near"),
    [
        ({"trainin": {}}, "trainin", "training"),
        ({"training": {"learning_rat": 1}}, "training.learning_rat", "training.learning_rate"),
    ],
)
def test_a_misspelled_name_is_refused_with_the_nearest_one(values, setting, near):
    assert refusal(values).values == {"setting": setting, "near": near}


def test_a_name_that_is_near_none_is_refused_alone():
    assert refusal({"qqqqqq": {}}).values == {"setting": "qqqqqq"}


@pytest.mark.parametrize(
    ("setting", "title", "value", "reason"),
    [
        ("training.learning_rate", "Learning rate", "fast", "a number"),
        ("training.learning_rate", "Learning rate", float("nan"), "finite"),
        ("training.learning_rate", "Learning rate", 0, "above 0"),
        ("training.max_steps", "Steps", 0, "at least 1"),
        ("adapter.r", "Rank", 0, "at least 1"),
        ("adapter.target_modules", "Adapted layers", [], "at least 1"),
        ("model.model_name", "Model", "", "at least 1"),
        ("data.validation_share", "Validation share", 0.6, "at most 0.5"),
        ("data.path", "Dataset", " ", "name"),
    ],
)
def test_a_refused_value_is_named_with_its_setting_and_the_reason(setting, title, value, reason):
    part, _, field = setting.partition(".")
    error = refusal({part: {field: value}})
    found = error.values
    assert (found["setting"], found["title"], found["value"]) == (setting, title, value) or value != value
    assert reason in found["reason"] and repr(value) in str(error)


def test_each_kind_of_fault_has_a_reason_of_its_own():
    texts = ["", "x", "true", "9" * 5000, b"\xff"]
    values = [None, -5, 10**30, 0.5, float("inf"), [], ["x"], ["a = b"] * 200, {"a": 1}, *texts]
    faults = {}
    for name in fields():
        part, _, field = name.partition(".")
        for value in values:
            try:
                RunConfig.model_validate({part: {field: value}})
            except ValidationError as error:
                faults |= {fault["type"]: fault for fault in error.errors(include_url=False)}
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"model": "x"})
    faults |= {fault["type"]: fault for fault in caught.value.errors(include_url=False)}
    assert set(faults) == {*REASONS, "string_too_short", "too_short", "too_long", "value_error"}
    for kind, fault in faults.items():
        words = reason_of(fault)
        assert words[:1].islower() and not words.endswith(".") and "input" not in words
        if kind in REASONS:
            assert words.startswith("it must be ")


@pytest.mark.parametrize("value", [[1], None, "model", 3])
def test_settings_that_are_not_sections(value):
    assert refusal(value).values == {"value": value}


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("adapter", "target_modules", ["q_proj", "x"]),
        ("adapter", "modules_to_save", ["norm"]),
        ("model", "dtype", "int8"),
        ("model", "max_seq_length", 15),
        ("training", "optim", "adam"),
        ("training", "use_gradient_checkpointing", "some"),
        ("training", "max_steps", -2),
        ("training", "warmup_steps", -0.1),
        ("training", "eval_steps", 2.5),
        ("training", "save_steps", -1),
        ("training", "adam_beta2", 1),
        ("training", "max_grad_norm", -0.1),
        ("training", "num_cycles", 0),
        ("training", "train_sampling_strategy", "batch_rebalance"),
        ("training", "neftune_noise_alpha", -5),
        ("model", "chat_template", "chatgpt"),
        ("data", "seed", -1),
        ("data", "seed", 2**32),
    ],
)
def test_values_out_of_bounds(part, field, value):
    assert refusal({part: {field: value}}).values["setting"] == f"{part}.{field}"


def test_steps_are_whole_and_shares_of_an_epoch_stay_shares():
    config = RunConfig().with_settings(["training.eval_steps=0.25", "training.save_steps=50.0"])
    assert repr((config.training.eval_steps, config.training.save_steps)) == "(0.25, 50)"
    assert "save_steps: 50\n" in config.to_yaml() and RunConfig.from_yaml(config.to_yaml()) == config
    assert repr(RunConfig().training.eval_steps) == "20"


def test_a_chat_template_without_the_chat_prompt_is_refused():
    values = {"model": {"chat_template": "chatml"}, "data": {"prompt_template": "alpaca"}}
    error = refusal(values)
    assert (error.settings, error.values) == (("model.chat_template",), {"name": "chatml"})
    assert RunConfig.faults(values).keys() == {"model.chat_template"}
    assert RunConfig.build({"model": {"chat_template": "chatml"}}).model.chat_template == "chatml"


def test_a_model_with_another_chat_template_is_another_base_and_others_stay_as_they_were():
    plain, named = RunConfig().model, RunConfig.build({"model": {"chat_template": "chatml"}}).model
    assert plain.base == (plain.model_name, None, True, "auto") and named.base == (*plain.base, "chatml")


def test_a_very_long_value_is_not_quoted_whole():
    assert len(str(refusal({"training": {"optim": "x" * 5000}}))) < 400


def test_repeated_names_count_once():
    config = RunConfig.build({"adapter": {"target_modules": ["v_proj", "q_proj", "v_proj"]}})
    assert config.adapter.target_modules == ["v_proj", "q_proj"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [", 1),
        ("a: 1\nb: 'x", 2),
        ("a: 1\nb: !!python/object/apply:os.getcwd []", 2),
        ("a: &x 1\nb: *x", 2),
        ("a: 1\nb: " + "[" * 30 + "]" * 30, 2),
    ],
)
def test_yaml_that_is_refused_names_the_line(text, line):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text)
    assert caught.value.values["line"] == line and "\n" not in str(caught.value)


def test_yaml_without_a_line_to_name():
    with pytest.raises(ConfigError) as caught:
        parse_yaml("a: 2020-99-99")
    assert caught.value.values == {}
    with pytest.raises(ConfigError) as caught:
        parse_yaml("x" * 1_000_001)
    assert caught.value.values == {"found": 1_000_001, "limit": 1_000_000}


def test_settings_on_top():
    config = RunConfig().with_settings(
        ["training.max_steps=20", "adapter.modules_to_save=[]", "model.load_in_4bit = no", "data.path=a=b.json"]
    )
    assert (config.training.max_steps, config.adapter.modules_to_save) == (20, [])
    assert (config.model.load_in_4bit, config.data.path) == (False, "a=b.json")
    assert RunConfig().training.max_steps == 60


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("x", {"setting": "x"}),
        ("max_steps=3", {"setting": "max_steps=3"}),
        ("a.b=1", {"section": "a", "known": "model, data, adapter, training"}),
        ("training.max_step=1", {"setting": "training.max_step", "near": "training.max_steps"}),
    ],
)
def test_bad_settings(setting, values):
    with pytest.raises(ConfigError) as caught:
        RunConfig().with_settings([setting])
    assert caught.value.values == values


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
        ("### Response:", "### Response:"),
        ("Price is $ #1", "Price is $ #1"),
        ("#", "#"),
        (" a ", " a "),
        ("010", "010"),
        ("1e3", "1e3"),
        ("2020-01-02", "2020-01-02"),
        ("10:30", "10:30"),
        ("~", "~"),
        ("yes", "yes"),
        ("No", "No"),
        ("a\\nb\\", "a\\nb\\"),
        ("@a", "@a"),
        ("%{a}", "%{a}"),
        ("`a`", "`a`"),
        ("*a", "*a"),
        ("&a b", "&a b"),
        ("!a", "!a"),
        ("? a", "? a"),
        ("| a", "| a"),
        ("{{a}} {b: c}", "{{a}} {b: c}"),
        ("- {a}\n- {b}", "- {a}\n- {b}"),
        ("[/INST]", "[/INST]"),
        ("[INST] {a} [/INST]", "[INST] {a} [/INST]"),
        ('"a" and "b"', '"a" and "b"'),
        ('"a" # "b"', '"a" # "b"'),
        ('"C:\\models"', '"C:\\models"'),
        ("'", "'"),
        ("--- a", "--- a"),
        ("a\x00b", "a\x00b"),
        ('"### Response:"', "### Response:"),
        ('"{a}\\n{b} "', "{a}\n{b} "),
        ("'it''s #1'", "it's #1"),
        ("'\\n'", "\\n"),
        (' "개 😀" ', "개 😀"),
        ('"null"', "null"),
    ],
)
def test_a_text_setting_is_taken_as_it_stands(text, value):
    """`response_starts_after` may be empty, `prompt_template` may not."""
    config = RunConfig().with_settings([f"data.prompt_template={text}", f"data.response_starts_after={text}"])
    assert (config.data.prompt_template, config.data.response_starts_after) == (value, value)


def test_every_setting_that_takes_text_takes_a_comment_as_text():
    texts = [name for name, info in fields().items() if str in (info.annotation, *get_args(info.annotation))]
    assert {"model.model_name", "data.path", "data.response_starts_after"} <= set(texts)
    values = dict.fromkeys(texts, "a #1") | {"model.trust_remote_code": "null", "data.fill_in": "a = #1"}
    flat = flatten(RunConfig().with_settings([f"{name}={value}" for name, value in values.items()]))
    expected = values | {
        "model.trust_remote_code": None, "training.sample_prompts": ["a #1"], "data.fill_in": ["a = #1"],
    }  # fmt: skip
    assert {name: flat[name] for name in texts} == expected


def test_null_or_nothing_empties_a_setting_that_may_be_empty():
    full = RunConfig().with_settings(["data.answer_column=A", "data.validation_path=b.csv", "training.stop_at_loss=1"])
    for empty in ("null", ""):
        names = ("data.answer_column", "data.validation_path", "training.stop_at_loss")
        assert full.with_settings([f"{name}={empty}" for name in names]) == RunConfig()
    for name in ("data.path", "model.model_name"):
        assert flatten(full.with_settings([f"{name}=null"]))[name] == "null"
        with pytest.raises(ConfigError) as caught:
            full.with_settings([f"{name}="])
        assert (caught.value.values["setting"], caught.value.values["value"]) == (name, "")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("training.max_steps=010", 10),
        ("training.max_steps= 20 ", 20),
        ("training.learning_rate=1e-3", 0.001),
        ("training.warmup_steps=5", 5.0),
        ("training.stop_at_loss=1.5", 1.5),
        ("model.load_in_4bit=no", False),
        ("model.load_in_4bit=1", True),
        ("data.header=no", "no"),
        ("data.header=yes", "yes"),
        ("training.report_to=none", "none"),
        ("training.use_gradient_checkpointing=off", False),
        ("training.use_gradient_checkpointing=unsloth", "unsloth"),
        ("adapter.target_modules=[q_proj, 'v_proj']", ["q_proj", "v_proj"]),
        ("adapter.modules_to_save=[]", []),
        ("training.sample_prompts=Who #1?\n10:30", ["Who #1?", "10:30"]),
        ("training.sample_prompts=[yes, 010, null, 'a, b']", ["yes", "010", "null", "a, b"]),
        ("data.fill_in=name = Ada\nby=a #1", ["name = Ada", "by=a #1"]),
        ("data.path=[007.csv, 2020-01-01]", "007.csv\n2020-01-01"),
        ('data.validation_path=["a #1.csv", b.csv]', "a #1.csv\nb.csv"),
        ("data.path = rows #1.csv", "rows #1.csv"),
    ],
)
def test_a_setting_is_read_by_its_type(setting, value):
    name = setting.partition("=")[0].strip()
    found = flatten(RunConfig().with_settings([setting]))[name]
    assert (found, type(found)) == (value, type(value))


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
    [(2.5, "a whole number"), (0, "at least 1"), (1025, "at most 1,024")],
)
def test_other_batches_are_refused_under_the_settings_own_name(value, why):
    error = refusal({"training": {"per_device_train_batch_size": value}})
    assert (error.values["setting"], error.values["value"]) == ("training.per_device_train_batch_size", value)
    assert why in error.values["reason"]


@pytest.mark.parametrize("value", ["most", "", "2.5", "³", "1e3", None])
def test_a_batch_that_is_not_a_number_is_refused_with_a_word_about_auto(value):
    error = refusal({"training": {"per_device_train_batch_size": value}})
    assert (error.values["setting"], error.values["value"]) == ("training.per_device_train_batch_size", value)
    assert "auto" in error.values["reason"]


def test_a_batch_can_be_settled_in_a_copy():
    config = RunConfig().with_settings(
        ["training.per_device_train_batch_size=auto", "training.gradient_accumulation_steps=8"]
    )
    settled = config.with_batch(2, 4)
    assert (settled.training.per_device_train_batch_size, settled.training.gradient_accumulation_steps) == (2, 4)
    assert settled.training.effective_batch == config.training.effective_batch == 8
    assert config.training.per_device_train_batch_size == "auto"
    assert RunConfig.from_yaml(settled.to_yaml()) == settled


def test_all_settings_that_cannot_be_used_are_told_by_name():
    values = RunConfig().model_dump()
    assert RunConfig.faults(values) == {}
    values["adapter"]["r"], values["training"]["per_device_train_batch_size"] = 9000, 0
    values["model"]["trust_remote_code"] = "a/b"
    found = RunConfig.faults(values)
    names = ["model.trust_remote_code", "adapter.r", "training.per_device_train_batch_size"]
    assert list(found) == names
    assert [found[name].settings for name in names] == [(name,) for name in names]
    assert found["adapter.r"].values["value"] == 9000
    with pytest.raises(ConfigError) as caught:
        RunConfig.build(values)
    assert str(caught.value) == str(found["model.trust_remote_code"])
    values["model"]["model_name"] = ""
    assert list(RunConfig.faults(values)) == ["model.model_name", *names[1:]], "of a model without a name, no code"
