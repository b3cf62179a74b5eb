"""Presets of one's own on the Model tab: saved under a title, in the list at once, and deleted again."""

import gradio as gr
import pytest

from core.settings.presets import DEMO, find_preset, list_presets, own_presets_dir
from core.settings.run_config import fields
from core.workbench.workbench import Workbench
from ui.model.model_tab import ModelTab
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
    own, program_s = tab.presets, tab.live()[tab.preset]["choices"]
    assert [name for _, name in program_s] == [preset.name for preset in list_presets()]
    rank = tab._form.components["adapter.r"]
    told = own._save(shown(tab) | {rank: 24}, asked(title="Mine <b>"))
    assert told[tab.preset] == gr.update(choices=[*program_s, ("Mine <b> · your own", "mine-b")], value="mine-b")
    assert "Saved as Mine &lt;b&gt;" in told[own.save] and "<details open" not in told[own.save]
    assert tab.live()[tab.preset]["choices"] == told[tab.preset]["choices"], "on every open page"
    assert tab._take_preset("mine-b")[rank]["value"] == 24
    about = own.about_text("mine-b")
    assert find_preset("mine-b", runs_dir).description in about and "Delete Mine &lt;b&gt; for good" in about
    assert "Delete" not in own.about_text(DEMO)

    assert own._delete(asked(name="mine-b")) == {tab.preset: gr.update(choices=program_s, value=DEMO)}
    assert list(own_presets_dir(runs_dir).iterdir()) == []
    assert set(map(str, tab._take_preset("mine-b").values())) == {str(gr.skip())}, "chosen on another page meanwhile"
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
