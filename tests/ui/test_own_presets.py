"""Presets on the Model tab: one's own are saved, in the list at once, and deleted again; those of another model are
marked."""

import json
import re
from html import unescape

import gradio as gr
import pytest

from core.settings.presets import DEMO, find_preset, list_presets, own_presets_dir
from core.settings.run_config import fields
from core.workbench.workbench import Workbench
from ui.model.model_tab import ModelTab
from ui.model.recipe_strip import recipe_choices
from ui.shared.settings_form import Form


@pytest.fixture
def tab(runs_dir) -> ModelTab:
    presets = {preset.name: preset for preset in list_presets()}
    with gr.Blocks():
        tab = ModelTab(Workbench(runs_dir), form := Form(presets[DEMO].config), presets, DEMO)
        form.add(*(name for name in fields() if name not in form.components))
    return tab


def asked(**data) -> gr.EventData:
    return gr.EventData(None, data)


def shown(tab: ModelTab) -> dict:
    return {component: component.value for component in tab._form.components.values()}


def test_saved_chosen_and_deleted(tab, runs_dir):
    own, recipes = tab.presets, recipe_choices()
    program_s = tab.live()[tab.preset]["choices"][: -len(recipes)]
    assert [name for _, name in program_s] == [preset.name for preset in list_presets()]
    rank = tab._form.components["adapter.r"]
    told = own._save(shown(tab) | {rank: 24}, asked(title="Mine <b>"))
    assert told[tab.preset] == gr.update(
        choices=[*program_s, ("Mine <b> · your own", "mine-b"), *recipes], value="mine-b"
    )
    assert "Saved as Mine &lt;b&gt;" in told[own.save] and "<details open" not in told[own.save]
    assert tab.live()[tab.preset]["choices"] == told[tab.preset]["choices"], "on every open page"
    assert tab._take_preset("mine-b")[rank]["value"] == 24
    about = own.about_text("mine-b")
    assert find_preset("mine-b", runs_dir).description in about and "Delete Mine &lt;b&gt; for good" in about
    assert "Delete" not in own.about_text(DEMO)

    assert own._delete(asked(name="mine-b")) == {tab.preset: gr.update(choices=[*program_s, *recipes], value=DEMO)}
    assert list(own_presets_dir(runs_dir).iterdir()) == []
    told = tab._take_preset("mine-b")
    assert {str(told[field]) for field in tab._form.components.values()} == {str(gr.skip())}, "chosen on another page"
    assert 'class="notice warning"' in own.about_text("mine-b")


@pytest.mark.parametrize(
    ("title", "rank", "words"),
    [("Demo Yoda", 16, "There is a preset"), ("", 16, "needs a title"), ("Mine", 9000, 'data-to-field="adapter-r"')],
)
def test_what_cannot_be_saved_says_why_and_keeps_the_title(tab, runs_dir, title, rank, words):
    told = tab.presets._save(shown(tab) | {tab._form.components["adapter.r"]: rank}, asked(title=title))
    assert list(told) == [tab.presets.save] and words in told[tab.presets.save]
    assert f'value="{title}"' in told[tab.presets.save] and "open>" in told[tab.presets.save]
    assert not own_presets_dir(runs_dir).exists()


def test_settings_of_another_model_s_preset_are_marked_with_one_click_to_what_suits(tab):
    model, rank, path = (tab._form.components[n] for n in ("model.model_name", "adapter.r", "data.path"))
    suits = find_preset("llama-3.2-1b")
    values = shown(tab) | {tab.preset: DEMO}
    assert tab.other.text_now(values) == ""
    assert tab.other.text_now(values | {model: "somebody/else"}) == "", "nothing is known to suit it"
    changed = values | {model: suits.config.model.model_name, path: "mine.csv"}
    text = tab.other.text_now(changed)
    assert "those of Demo: a tiny Yoda, for presets/demo-llama" in text
    marks = json.loads(unescape(re.search('data-marks="(.*?)"', text)[1]))
    assert marks["training-learning_rate"] == "other model" and "adapter-r" not in marks
    assert tab.other.text_now(changed | {rank: 9000}) == tab.other.text_now(changed | {tab.preset: "of-my-own"}) == ""

    told = tab.other._use(changed, asked(name="llama-3.2-1b"))
    assert (told[tab.other.parts[0]], told[tab.preset], told[path]["value"]) == ("", "llama-3.2-1b", "mine.csv")
    after = {component: told[component]["value"] for component in tab._form.components.values()}
    assert tab.other.text_now(after | {tab.preset: "llama-3.2-1b"}) == ""
