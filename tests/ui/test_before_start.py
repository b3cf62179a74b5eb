"""Start reads the rows first: it starts where all is well, and asks where it is not."""

import re
from html import unescape

import gradio as gr
import pytest

from core.problems import DataError
from core.settings.run_config import fields
from core.workbench.workbench import Workbench
from tests.conftest import data_file, small_config
from ui.shared.settings_form import Form
from ui.train.before_start import BeforeStart, question_text, start_after_look


@pytest.fixture
def bench(unsloth, runs_dir) -> Workbench:
    return Workbench(runs_dir)


def test_it_asks_and_goes_on_where_the_person_says_so(bench, stories, rows):
    config = small_config(stories, rows, "training.max_steps=1")
    reading, question = start_after_look(bench, config, "", "mine")
    assert "Reading the rows" in reading and bench.snapshot is None
    assert "12 of 12 rows have the same answer" in question
    assert re.findall('data-ask="(.*?)"', question) == ["data", "anyway"]
    with gr.Blocks():
        form, preset, token = Form(config), gr.Dropdown(), gr.Textbox()
        form.add(*fields())
        asking = BeforeStart(bench, form, preset, token)
        trouble, tabs = gr.HTML(js_on_load="/* trigger('asked') */"), gr.Tabs()
        asking.connect(trouble, tabs)
    values = {component: component.value for component in form.components.values()} | {preset: "mine", token: ""}

    class Asked:
        ask = "anyway"

    assert asking._go_on(values, Asked()) == {trouble: ""}
    assert bench.wait(120).status == "completed"
    Asked.ask = "data"
    assert asking._go_on(values, Asked())[tabs].selected == "data"


def test_it_starts_where_all_is_well(bench, stories, tmp_path):
    rows = [{"system": "Hi", "instruction": f"Say {n}.", "output": f"It is {n}."} for n in range(12)]
    data_file(tmp_path / "a.jsonl", *rows)
    config = small_config(stories, tmp_path / "a.jsonl", "training.max_steps=1")
    assert list(start_after_look(bench, config, "", ""))[1:] == [""]
    assert bench.wait(120).status == "completed"


def test_rows_that_cannot_be_read_start_nothing(bench, stories, tmp_path):
    config = small_config(stories, tmp_path / "gone.jsonl")
    with pytest.raises(DataError):
        list(start_after_look(bench, config, "", ""))
    assert bench.snapshot is None


def test_a_finding_is_a_text():
    assert "<script>" not in question_text(("<script>",)) and "<script>" in unescape(question_text(("<script>",)))
    assert question_text(()) == ""
