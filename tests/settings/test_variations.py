"""Variations of a run over the values of one or two settings."""

import pytest

from core.problems import ConfigError
from core.settings.run_config import RunConfig
from core.settings.variations import MOST_RUNS, variations

CONFIG = RunConfig().with_settings(["data.path=rows.json", "training.max_steps=7"])


def varied(values: dict[str, str], *names: str) -> list[tuple]:
    flat = [run.config.model_dump() for run in variations(CONFIG, values)]
    return [tuple(one[name.partition(".")[0]][name.partition(".")[2]] for name in names) for one in flat]


def test_each_value_is_a_run_that_differs_in_nothing_else():
    rate = "training.learning_rate"
    runs = variations(CONFIG, {rate: "1e-4, 2e-4,5e-4"})
    assert [run.config for run in runs] == [CONFIG.with_settings([f"{rate}={v}"]) for v in ("1e-4", "2e-4", "5e-4")]
    assert [run.name for run in runs] == [
        f"{CONFIG.run_name} · learning_rate {value}" for value in ("1e-4", "2e-4", "5e-4")
    ]


def test_two_settings_are_varied_each_with_each():
    names = "adapter.r", "training.lr_scheduler_type"
    found = varied({names[0]: "8, 16", names[1]: "linear, cosine"}, *names)
    assert found == [(8, "linear"), (8, "cosine"), (16, "linear"), (16, "cosine")]
    (*_, last) = variations(CONFIG, {names[0]: "8, 16", names[1]: "linear, cosine"})
    assert last.name == f"{CONFIG.run_name} · r 16, lr_scheduler_type cosine"


def test_values_that_are_lists_keep_their_commas():
    name = "adapter.target_modules"
    assert varied({name: "[q_proj, v_proj], [q_proj, k_proj, v_proj]"}, name) == [
        (["q_proj", "v_proj"],), (["q_proj", "k_proj", "v_proj"],)
    ]  # fmt: skip


def test_equal_values_count_once_and_empty_ones_not_at_all():
    name = "training.learning_rate"
    assert varied({name: "1e-4, 0.0001,, 2e-4,"}, name) == [(1e-4,), (2e-4,)]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"training.seed": ""}, {"setting": "training.seed"}),
        ({"training.seed": "1, 1"}, {"setting": "training.seed"}),
        ({}, {"setting": ""}),
        ({"training.lerning_rate": "1, 2"}, {"setting": "training.lerning_rate", "near": "training.learning_rate"}),
        ({"a.b": "1", "c.d": "2", "e.f": "3"}, {"most": 2}),
        ({"training.seed": ",".join(map(str, range(MOST_RUNS + 1)))}, {"most": MOST_RUNS}),
    ],
)
def test_what_cannot_be_varied_is_a_sentence(values, told):
    with pytest.raises(ConfigError) as error:
        variations(CONFIG, values)
    assert error.value.values == told


def test_a_value_out_of_bounds_is_told_with_its_setting():
    with pytest.raises(ConfigError) as error:
        variations(CONFIG, {"adapter.r": "16, 0"})
    assert error.value.settings == ("adapter.r",) and error.value.values["value"] == 0
