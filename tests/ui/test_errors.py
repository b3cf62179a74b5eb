"""An error about a setting stands at its field; where something was asked for, a few words lead there."""

import json
import re
from html import unescape

import gradio as gr
import pytest

from core.problems import ConfigError, DataError, NotAllowed
from core.settings.run_config import RunConfig
from ui.shared.errors import error_text, follow_settings
from ui.shared.settings_form import Form

RANK, BATCH = "adapter.r", "training.per_device_train_batch_size"


@pytest.fixture
def page() -> gr.Blocks:
    with gr.Blocks() as page:
        yield page


@pytest.fixture
def form(page) -> Form:
    form = Form(RunConfig())
    with gr.Tabs(), gr.Tab("Train", elem_id="train-tab"):
        form.add(BATCH)
        with gr.Accordion(elem_id="all-settings"), gr.Row():
            form.add(RANK)
    return form


def faults(text: str) -> dict:
    return json.loads(unescape(re.search('data-faults="(.*?)"', text)[1]))


def test_the_way_to_a_field_opens_its_tab_and_then_what_it_is_folded_in(form):
    text = error_text(ConfigError("<b>{value}</b> is too much.", settings=(RANK,), value=9), form, "warning")
    assert 'class="notice warning pointer"' in text
    words = re.sub("<[^>]*>", "", text)
    assert "Rank" in words and "too much" not in words
    assert 'data-to-field="adapter-r" data-way="train-tab all-settings"' in text
    assert faults(text) == {"adapter-r": "<b>9</b> is too much."} and "<b>" not in text


def test_an_error_about_two_settings_stands_at_both(form):
    text = error_text(NotAllowed("Too much at once.", settings=(BATCH, RANK)), form)
    assert faults(text) == dict.fromkeys(("training-per_device_train_batch_size", "adapter-r"), "Too much at once.")
    assert 'data-way="train-tab"' in text


@pytest.mark.parametrize("settings", [(), ("data.path",)])
def test_an_error_about_no_setting_of_the_form_is_said_at_once(form, settings):
    text = error_text(DataError("a.csv is empty.", settings=settings), form)
    assert text == '<p class="notice error" role="status">a.csv is empty.</p>'


def test_each_wrong_setting_is_told_and_the_error_goes_once_all_are_right(page, form):
    first, second = gr.HTML(), gr.HTML()
    follow_settings(form, first, second)
    (handler,) = page.fns.values()
    (wrong, seen) = (part for part in handler.outputs if part not in (first, second))
    rank, batch = form.components[RANK], form.components[BATCH]
    right = {rank: 8, batch: "2", first: "", second: "", seen: {}}
    told = handler.fn(right | {rank: 9000, batch: "0", first: "<p>Rank cannot be 9000</p>"})
    assert list(faults(told[wrong])) == ["adapter-r", "training-per_device_train_batch_size"]
    assert "(adapter.r) cannot be 9000" in faults(told[wrong])["adapter-r"]
    assert 'data-to-field="adapter-r"' in told[first] and told[second] == gr.skip()
    told = handler.fn(right | {first: "<p>Rank cannot be 9000</p>"})
    assert told == {first: "", second: gr.skip(), wrong: "", seen: {RANK: 8, BATCH: "2"}}
    again = handler.fn(right | {seen: told[seen], first: "<p>11 rows would be left out. Go on?</p>"})
    assert again == told | {first: gr.skip()}, "the same change once more: what was asked meanwhile stays"
