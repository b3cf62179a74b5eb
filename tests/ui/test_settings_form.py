"""The form is made from the settings: each has a place, its help shows its bounds, and no value changes on the way."""

import gradio as gr
import pytest

from core.problems import ConfigError
from core.settings.presets import list_presets
from core.settings.run_config import RunConfig, fields
from core.workbench.workbench import Workbench
from ui.page import build_page
from ui.shared.settings_form import Form, help_text


def all_fields(config: RunConfig) -> Form:
    with gr.Blocks():
        form = Form(config)
        form.add(*fields())
    return form


def shown(form: Form) -> dict:
    return {component: component.value for component in form.components.values()}


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_a_preset_survives_the_form(preset):
    form = all_fields(preset.config)
    assert form.read(shown(form)) == preset.config


@pytest.mark.parametrize("preset", list_presets(), ids=lambda preset: preset.name)
def test_choosing_a_preset_fills_every_field(preset):
    form = all_fields(RunConfig())
    filled = {component: update["value"] for component, update in form.fill(preset.config).items()}
    assert form.read(filled) == preset.config


def test_the_page_has_each_setting_once(tmp_path):
    page, _ = build_page(Workbench(tmp_path))
    ids = [block.elem_id for block in page.blocks.values()]
    assert {name: ids.count(name.replace(".", "-")) for name in fields()} == dict.fromkeys(fields(), 1)


def test_help_has_the_bounds():
    assert help_text(fields()["adapter.r"]).endswith("(1 to 512)")
    assert help_text(fields()["training.learning_rate"]).endswith("(above 0, up to 1)")


def test_every_setting_has_a_title_and_a_line_of_help():
    assert [name for name, info in fields().items() if not info.title or not info.description] == []
    assert [name for name, info in fields().items() if "\n" in info.description or len(info.description) > 110] == []


@pytest.mark.parametrize(
    ("name", "value"), [("adapter.r", 0), ("adapter.r", None), ("training.learning_rate", 7), ("data.path", "")]
)
def test_a_value_out_of_bounds_is_refused_by_name(name, value):
    form = all_fields(RunConfig())
    with pytest.raises(ConfigError, match=name):
        form.read(shown(form) | {form.components[name]: value})


@pytest.mark.parametrize(("typed", "batch"), [("auto", "auto"), ("4", 4), (" 12 ", 12), (6, 6)])
def test_a_batch_is_chosen_or_typed(typed, batch):
    form = all_fields(RunConfig())
    config = form.read(shown(form) | {form.components["training.per_device_train_batch_size"]: typed})
    assert config.training.per_device_train_batch_size == batch


def test_no_batch_of_the_list_is_chosen_by_typing_another_one():
    # Enter takes the first entry that holds what was typed: 3 would be 32.
    form = all_fields(RunConfig())
    values = [value for _, value in form.components["training.per_device_train_batch_size"].choices]
    assert not [(a, b) for a in map(str, range(1, 100)) for b in values if a in b and a != b]


@pytest.mark.parametrize("typed", ["many", "", None, "0", "-1", "2.5"])
def test_a_batch_that_is_none_is_refused(typed):
    form = all_fields(RunConfig())
    with pytest.raises(ConfigError, match="per_device_train_batch_size"):
        form.read(shown(form) | {form.components["training.per_device_train_batch_size"]: typed})


def test_what_is_emptied_means_none():
    form = all_fields(RunConfig())
    config = form.read(shown(form) | {form.components["model.revision"]: "  "})
    assert config.model.revision is None
