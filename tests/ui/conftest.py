"""A Train tab by itself, as `build_page` makes it among the others."""

import gradio as gr
import pytest

from ui.model.other_model import OtherModel
from ui.train.train_tab import TrainTab


@pytest.fixture
def train_tab_of():
    def make(workbench, form, token=None) -> TrainTab:
        preset = gr.Dropdown(["demo-yoda"])
        return TrainTab(workbench, form, OtherModel(form, preset, {}), preset, token or gr.Textbox())

    return make
