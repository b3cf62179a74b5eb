"""How long a run takes: only what was measured or published, and on a processor what arithmetic alone takes."""

import pytest

from core.memory.cards import ALL_CARDS, find_card, this_machine
from core.memory.hardware import Machine
from core.memory.model_shape import shape_of
from core.memory.run_time import PUBLISHED, least_seconds, operations_per_second, published_for
from core.settings.run_config import RunConfig
from ui.train import fit_time
from ui.train.fit_time import PROBE, time_text
from ui.train.fit_view import THIS_MACHINE

CPU, GPU = Machine(name="CPU", is_gpu=False, total_gib=16), Machine(name="RTX 9", is_gpu=True, total_gib=16)
NAMES = {
    "8B": "unsloth/Meta-Llama-3.1-8B-bnb-4bit",
    "3B": "unsloth/Llama-3.2-3B-bnb-4bit",
    "demo": "presets/demo-llama",
}


def said(tmp_path, card, model: str, *settings: str, machine: Machine = CPU) -> str:
    config = RunConfig().with_settings([f"model.model_name={NAMES[model]}", "training.max_steps=60", *settings])
    here = this_machine(machine).model_copy(update={"name": THIS_MACHINE})
    return time_text(config, shape_of(config.model, fetch=False), card or here, None, tmp_path, machine)


def test_what_was_published_is_for_cards_of_the_list_and_names_its_source():
    names = {card.name for card in ALL_CARDS}
    assert all(one.card in names and one.source and one.of for one in PUBLISHED)
    assert all(bool(one.tokens_per_second) != bool(one.seconds and one.rows) for one in PUBLISHED)


def test_published_figures_are_scaled_by_rows_or_tokens(tmp_path):
    text = said(tmp_path, find_card("T4"), "3B", "training.gradient_accumulation_steps=8")
    assert "7.44 s for a step of 8 rows" in text and "60 steps takes about 14:53;" in text  # 16 rows a step
    text = said(tmp_path, find_card("4090"), "8B", "model.max_seq_length=1024")
    assert "3,083 tokens per second" in text and "takes about 2:39;" in text  # 60 * 8 * 1024 tokens
    epochs = said(tmp_path, find_card("4090"), "8B", "training.max_steps=-1")
    assert "3,083 tokens per second" in epochs and "takes about" not in epochs


@pytest.mark.parametrize(("card", "model"), [("3060", "8B"), ("T4", "8B"), ("4090 laptop", "8B"), ("24GB", "8B")])
def test_where_nothing_was_published_it_says_so(tmp_path, card, model):
    assert published_for(find_card(card).name, shape_of(RunConfig().model, fetch=False)) is None
    assert "is not known" in said(tmp_path, find_card(card), model)


def test_on_a_processor_it_takes_days(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_time, "operations_per_second", lambda: 1.2e11)
    text = said(tmp_path, None, "8B")
    config = RunConfig().with_settings([f"model.model_name={NAMES['8B']}"])
    shape = shape_of(config.model, fetch=False)
    operations = 6 * (shape.linear_parameters + shape.embedding_parameters) * 60 * 8 * 2048
    assert least_seconds(config, shape, 60 * 8 * 2048, 1.2e11) == operations / 1.2e11
    assert f"the 60 steps take {operations / 1.2e11 / 86400:.0f} days or more with rows of 2,048 tokens" in text
    for rest in ((None, "demo"), (None, "8B", "training.max_steps=-1")):
        assert said(tmp_path, *rest) == PROBE
    assert said(tmp_path, None, "8B", machine=GPU) == PROBE


def test_the_processor_is_measured_once():
    speed = operations_per_second()
    assert 1e8 < speed < 1e15 and operations_per_second() == speed
