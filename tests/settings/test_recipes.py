"""Recipes: every file of the program, and what is refused, each with its class and values."""

import json
from typing import get_args

import pytest
import yaml

from core.data.columns.recognise import recognise
from core.demo.recipe_rows import FILES
from core.disk.tolerant_reading import Unreadable
from core.export.wanted import Kind, wanted_of
from core.problems import ConfigError
from core.runs.run_folder import Run
from core.settings.recipes import (
    CONTINUES_LATER,
    NOT_A_STAGE_SETTING,
    RECIPES_DIR,
    TWICE,
    Export,
    Measures,
    Recipe,
    find_recipe,
    list_recipes,
    read_recipe,
)
from core.workbench.recipe_record import Record, Step, step_in_words, steps_of
from tests.conftest import PROJECT

NAMES = ["dialogue-summaries", "korean-60-steps", "korean-two-stages", "price-from-text", "yoda"]
DATA = RECIPES_DIR / "data"
# The columns of the datasets that the recipes train on.
COLUMNS = {
    "dialogues.jsonl": ["id", "dialogue", "summary", "topic"],
    "korean-articles.jsonl": ["id", "url", "title", "text"],
    "korean-conversation.jsonl": ["instruction", "input", "output"],
    "korean-instructions.jsonl": ["id", "conversations"],
    "prices.jsonl": ["text", "price"],
    "yoda.jsonl": ["sentence", "translation", "translation_extra"],
}


def rows_of(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def a_recipe(tmp_path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(params=NAMES)
def recipe(request) -> Recipe:
    return find_recipe(request.param)


@pytest.fixture
def small(recipe) -> Recipe:
    return find_recipe(recipe.name, small=True)


def test_the_program_has_five():
    assert [recipe.name for recipe in list_recipes()] == NAMES


def test_a_recipe_says_what_it_is_and_the_small_one_says_the_same(recipe, small):
    assert recipe.title and recipe.description.endswith(".") and recipe.card.endswith(" GB")
    assert (small.title, small.is_small, recipe.is_small) == (recipe.title, True, False)
    assert [stage.name for stage in small.stages] == [stage.name for stage in recipe.stages]
    assert all(stage.title for stage in recipe.stages)
    assert small.before == recipe.before and len(small.exports) == len(recipe.exports)
    assert bool(small.questions) == bool(recipe.questions) and 0 < small.measures.rows < recipe.measures.rows


def test_small_needs_nothing_from_the_network(small):
    for model in small.models or ("",):
        for stage in small.stages:
            config = small.config_of(stage, model)
            assert config.model.model_name == "presets/demo-llama" and config.model.max_seq_length <= 512
            assert config.data.path.startswith("presets/recipes/data/") and (PROJECT / config.data.path).is_file()
            training = config.training
            assert (training.report_to, training.hub_model_id, training.use_gradient_checkpointing) == (
                "none",
                "",
                False,
            )


def test_only_model_data_and_length_differ_in_the_small_one(recipe, small):
    """So that what is tried small is what runs on a card."""
    for stage, other in zip(recipe.stages, small.stages, strict=True):
        assert stage.config.adapter == other.config.adapter
        ours, theirs = stage.config.training, other.config.training
        for name in ("optim", "lr_scheduler_type", "weight_decay", "completion_only_loss", "seed"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert stage.config.data.response_starts_after == other.config.data.response_starts_after


def test_a_later_stage_has_the_shape_of_the_one_it_continues(recipe):
    for stage in recipe.stages:
        if before := stage.config.adapter.continue_from:
            ours, theirs = stage.config.adapter, recipe.stage(before).config.adapter
            for name in ("r", "lora_alpha", "use_rslora", "target_modules", "modules_to_save"):
                assert getattr(ours, name) == getattr(theirs, name), name


def test_what_it_exports_can_be_exported(recipe, tmp_path):
    assert set(get_args(Export.model_fields["to"].annotation)) == set(get_args(Kind))
    for export in recipe.exports:
        wanted_of(Run(tmp_path, "x"), export.to, export.quant)


@pytest.mark.parametrize("file", COLUMNS)
def test_the_small_rows_have_the_columns_of_the_real_ones(file):
    rows = rows_of(DATA / file)
    assert 24 <= len(rows) <= 240 and all(list(row) == COLUMNS[file] for row in rows)


def test_no_other_rows_are_there_and_the_generated_ones_are_what_the_seed_makes():
    assert sorted(path.name for path in DATA.iterdir()) == sorted(COLUMNS)
    for file, made in FILES.items():
        assert rows_of(DATA / file) == list(made())


def test_the_small_rows_are_read_as_the_recipe_wants(small):
    shapes = {
        "dialogue-summaries": ["columns"], "korean-60-steps": ["alpaca"], "korean-two-stages": ["columns", "sharegpt"],
        "price-from-text": ["text"], "yoda": ["question"],
    }  # fmt: skip
    found = [recognise(rows_of(PROJECT / s.config.data.path), s.config.data) for s in small.stages]
    assert [shape.name for shape in found] == shapes[small.name] and all(shape.is_sure for shape in found)


def test_set_changes_one_setting_of_one_stage():
    recipe = find_recipe("korean-two-stages")
    changed = recipe.with_settings(["reading.training.max_steps=3", "instructions.data.path=내 파일.jsonl"])
    assert changed.stage("reading").config == recipe.stage("reading").config.with_settings(["training.max_steps=3"])
    assert changed.stage("instructions").config.data.path == "내 파일.jsonl"
    assert recipe.stage("reading").config.training.max_steps == -1


@pytest.mark.parametrize(
    ("setting", "template", "values"),
    [
        ("training", NOT_A_STAGE_SETTING, {"setting": "training", "stage": "reading"}),
        ("a=b.c", NOT_A_STAGE_SETTING, {"setting": "a=b.c", "stage": "reading"}),
        ("writing.training.max_steps=1", None, {"stage": "writing", "known": "reading, instructions"}),
        ("reading.training.max_step=1", None, {"setting": "training.max_step", "near": "training.max_steps"}),
    ],
)
def test_a_setting_of_no_stage_is_refused(setting, template, values):
    with pytest.raises(ConfigError) as caught:
        find_recipe("korean-two-stages").with_settings([setting])
    assert caught.value.values == values and template in (None, caught.value.template)


def test_each_stage_runs_on_each_model_under_a_name_of_its_own_on_the_hub():
    recipe = find_recipe("korean-two-stages").with_settings(["instructions.training.hub_model_id=ada/korean"])
    last = recipe.last
    names = {model: recipe.config_of(last, model).model.model_name for model in recipe.models}
    assert names == {
        "1B": "unsloth/Llama-3.2-1B-bnb-4bit", "3B": "unsloth/Llama-3.2-3B-bnb-4bit",
        "8B": "unsloth/Meta-Llama-3.1-8B-bnb-4bit",
    }  # fmt: skip
    assert recipe.config_of(last, "3B").training.hub_model_id == "ada/korean-3B"
    assert recipe.config_of(recipe.stages[0], "3B").training.hub_model_id == ""
    small = find_recipe("korean-two-stages", small=True)
    assert [small.config_of(small.last, model).model.load_in_4bit for model in small.models] == [True, False]
    assert {small.config_of(small.last, model).model.max_seq_length for model in small.models} == {384}


def test_the_steps_of_a_recipe_in_order():
    recipe = find_recipe("price-from-text")
    assert [(step.kind, step.stage, step.model) for step in steps_of(recipe)] == [
        (kind, "price", "") for kind in ("data", "base", "train", "measure", "export")
    ]
    two = find_recipe("korean-two-stages", small=True)
    of_a_model = ["base", "train", "ask", "train", "ask", "measure", "export", "export"]
    steps = steps_of(two)
    assert [step.kind for step in steps] == ["data", "data", *of_a_model, *of_a_model]
    assert [step.model for step in steps] == ["4-bit"] * 10 + ["16-bit"] * 8
    assert [step.export for step in steps][-2:] == [0, 1]
    pushed = steps_of(two.with_settings(["instructions.training.hub_model_id=ada/korean"]))
    assert [step.export for step in pushed][-3:] == [0, 1, 2], "pushed only if there is a repository"
    assert step_in_words(two, pushed[-1]) == "16-bit · Push: adapter"
    assert step_in_words(two, pushed[-1], with_model=False) == "Push: adapter"
    none = two.model_copy(update={"questions": (), "measures": Measures(rows=0), "exports": (), "models": {}})
    assert [step.kind for step in steps_of(none)] == ["data", "data", "train", "train"]
    assert step_in_words(two, steps[3]) == "4-bit · Train: Reading Korean"
    assert step_in_words(two, steps[0]) == "Look at the rows: Reading Korean"


def test_a_record_is_read_back_as_it_was(recipe):
    record = Record(id="x", made=1.0, recipe=recipe, done=1)
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert record.step == Step.model_validate(record.steps[1].model_dump()) and not record.is_over


PARTS = "title, description, card, before, stages, models, questions, answer_tokens, measures, exports, small"
GOOD = {"title": "Mine", "stages": [{"name": "one", "training": {"max_steps": 3}}]}


def test_a_recipe_of_ones_own(tmp_path):
    mine = find_recipe(a_recipe(tmp_path, yaml.safe_dump(GOOD)))
    assert (mine.name, mine.title, mine.description, mine.last.config.training.max_steps) == ("mine", "Mine", "", 3)
    assert mine.last.shown == "one" and mine.measures.rows == 100 and mine.exports == ()


@pytest.mark.parametrize(
    ("change", "template", "values"),
    [
        ({"stages": None}, "A recipe needs a list of stages, each with a name and its settings.", {}),
        ({"stages": [3]}, "Each stage needs a name, as in name: instructions.", {}),
        ({"stages": [{"name": "One"}]}, None, {"value": "One"}),
        ({"stages": [{"name": "a"}, {"name": "a"}]}, TWICE, {"stage": "a"}),
        ({"stages": [{"name": "base"}]}, TWICE, {"stage": "base"}),
        (
            {"stages": [{"name": "a", "adapter": {"continue_from": "b"}}, {"name": "b"}]},
            CONTINUES_LATER,
            {"stage": "a", "other": "b"},
        ),
        ({"question": ["Why?"]}, None, {
            "setting": "question",
            "known": PARTS,
        }),
        ({"measures": {"rows": -1}}, None, {"setting": "measures.rows", "value": -1}),
        ({"exports": [{"to": "zip"}]}, None, {"setting": "exports.0.to", "value": "zip"}),
        ({"models": {"1B": {"load_in_4bit": "maybe"}}}, None, {"setting": "model.load_in_4bit", "value": "maybe"}),
    ],
)  # fmt: skip
def test_a_bad_recipe_is_refused_with_its_name_and_the_reason(tmp_path, change, template, values):
    path = a_recipe(tmp_path, yaml.safe_dump(GOOD | change))
    with pytest.raises(ConfigError) as caught:
        find_recipe(path)
    found = caught.value.values
    assert found["file"] == "mine.yaml" and type(found["reason"]) is ConfigError
    assert template in (None, found["reason"].template)
    assert values.items() <= found["reason"].values.items()


def test_a_bad_setting_names_its_stage(tmp_path):
    path = a_recipe(tmp_path, "stages: [{name: one, training: {max_step: 3}}]")
    with pytest.raises(ConfigError) as caught:
        find_recipe(path)
    inner = caught.value.values["reason"]
    assert inner.values["stage"] == "one"
    assert inner.values["reason"].values == {"setting": "training.max_step", "near": "training.max_steps"}


@pytest.mark.parametrize(
    ("small", "values"),
    [
        (None, {}),
        ({"stages": {"two": {"training": {}}}}, {"stage": "two", "known": "one"}),
        ({"stages": ["one"]}, {}),
    ],
)
def test_a_bad_small_variant_is_refused_only_when_it_is_asked_for(tmp_path, small, values):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(GOOD | ({"small": small} if small else {})))
    assert read_recipe(path).title == "Mine"
    with pytest.raises(ConfigError) as caught:
        read_recipe(path, small=True)
    assert caught.value.values["reason"].values == values


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError) as caught:
        find_recipe("nothing")
    assert caught.value.values == {"name": "nothing", "known": ", ".join(NAMES)}
    with pytest.raises(ConfigError) as caught:
        find_recipe(str(tmp_path / "gone.yaml"))
    assert caught.value.values["file"] == "gone.yaml" and isinstance(caught.value.values["reason"], Unreadable)
