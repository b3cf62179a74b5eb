"""Recipes on the Model tab: in the list under a heading, their stages in the form, and how far one is."""

import html
import re

import gradio as gr
import pytest

from core.settings.presets import DEMO, list_presets
from core.settings.recipes import find_recipe, list_recipes
from core.settings.run_config import fields
from core.workbench.recipe_record import Record, Trained, save
from core.workbench.workbench import Workbench
from ui.model.model_tab import ModelTab
from ui.model.recipe_strip import HEADING, PREFIX
from ui.shared.settings_form import Form


def a_tab(runs_dir) -> ModelTab:
    presets = {preset.name: preset for preset in list_presets()}
    with gr.Blocks():
        tab = ModelTab(Workbench(runs_dir), form := Form(presets[DEMO].config), presets, DEMO)
        form.add(*(name for name in fields() if name not in form.components))
        tab.recipe.connect(tab.token)
    return tab


@pytest.fixture
def tab(runs_dir) -> ModelTab:
    return a_tab(runs_dir)


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", str(text))).split())


def asked(**data) -> gr.EventData:
    return gr.EventData(None, data)


def shown(tab: ModelTab, config) -> dict:
    """What a page would send whose form shows these settings."""
    return {field: update["value"] for field, update in tab._form.fill(config).items()} | {tab.token: ""}


def test_they_are_below_a_heading_of_their_own(tab):
    values = [value for _, value in tab.preset.choices]
    presets = [preset.name for preset in list_presets()]
    assert values == [*presets, HEADING, *(PREFIX + recipe.name for recipe in list_recipes())]
    assert "choose one below this heading" in tab.presets.about_text(HEADING)
    assert tab.recipe.part.value == "", "until one is chosen"
    told = tab._take_preset(HEADING)
    assert told[tab.recipe.part] == "" and told[tab._form.components["adapter.r"]] == gr.skip()


def test_each_stage_is_changed_in_the_form_before_it_starts(tab):
    recipe = find_recipe("korean-two-stages")
    rank, steps = (tab._form.components[name] for name in ("adapter.r", "training.max_steps"))
    told = tab._take_preset(PREFIX + recipe.name)
    assert told[rank]["value"] == 64
    strip = told[tab.recipe.part]
    assert words(strip).startswith(recipe.description + " Look at the rows: Reading Korean")
    assert re.findall(r'aria-pressed="(\w+)"\s*data-ask="stage" data-stage="([\w-]+)"', strip) == [
        ("true", "reading"), ("false", "instructions")
    ]  # fmt: skip
    assert re.findall(r'<div class="strip">(?:<b>(\w+)</b>)?', strip) == ["", "1B", "3B", "8B"]
    assert strip.count("<li ") == 26 and "Each stage is trained on 1B, 3B, 8B, whichever" in strip
    changed = recipe.stages[0].config.with_settings(["training.max_steps=7"])
    told = tab.recipe._asked(shown(tab, changed), asked(ask="stage", stage="instructions"))
    assert (
        told[steps]["value"] == -1 and 'aria-pressed="true" data-ask="stage" data-stage="instr' in told[tab.recipe.part]
    )
    told = tab.recipe._asked(shown(tab, recipe.stages[1].config), asked(ask="stage", stage="reading"))
    assert told[steps]["value"] == 7, "as it was changed"
    bad = shown(tab, changed) | {rank: 9000}
    assert 'data-to-field="adapter-r"' in tab.recipe._asked(bad, asked(ask="run"))[tab.recipe.part]
    assert tab._take_preset(DEMO)[tab.recipe.part] == "" and tab.recipe._draft is None


def test_a_page_that_is_reloaded_shows_the_recipe_that_it_had_chosen(tab):
    tab._about(PREFIX + "yoda")
    assert "Run the recipe" in tab.live()[tab.recipe.part]["value"]


@pytest.mark.parametrize(
    ("status", "buttons", "style"),
    [("failed", ["continue"], "error"), ("stopped", ["continue"], "warning"), ("completed", [], "good")],
)
def test_where_it_is_and_how_it_ended(runs_dir, status, buttons, style):
    recipe = find_recipe("price-from-text", small=True)
    (runs_dir / "recipes/x").mkdir(parents=True)
    run = Trained(model="", stage="price", run_id="r")
    save(runs_dir, Record(id="x", made=1.0, recipe=recipe, status=status, message="Why <b>.", done=2, runs=(run,)))
    strip = a_tab(runs_dir).recipe.part.value
    assert re.findall(r'<li class="(\w*)"', strip) == ["done", "done", "", "", ""]
    assert re.findall(r'data-ask="(\w+)"', strip) == buttons
    assert f'<p class="notice {style}" role="status">Why &lt;b&gt;.</p>' in strip
    assert 'href="recipe-report?id=x"' in strip and "Recipe: Price from text, with the demo model" in strip


def test_what_ended_here_stays_open_and_what_ended_before_is_folded(unsloth, runs_dir):
    tab = a_tab(runs_dir)
    tab._take_preset(PREFIX + "yoda")
    recipe = find_recipe("yoda", small=True).with_settings(["yoda.model.model_name=./nowhere"])
    tab.recipe._job.start(recipe)
    assert tab.recipe._job.wait(120).status == "failed"
    assert '<details class="recipe" open>' in tab.live()[tab.recipe.part]["value"]
    later = a_tab(runs_dir)
    later._take_preset(PREFIX + "yoda")
    assert '<details class="recipe">' in later.live()[later.recipe.part]["value"]
