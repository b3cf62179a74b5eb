"""What training the embeddings costs, computed before anything is loaded."""

import pytest

from core.memory.cards import Card
from core.memory.embeddings_cost import embeddings_cost, large_adapter
from core.memory.model_shape import shape_of
from core.problems import ConfigError
from core.settings.run_config import RunConfig
from core.settings.unsloth_limits import NO_SINGLE_ROWS_ON_A_GPU

CPU = Card(name="this machine", memory_gib=8, is_gpu=False)  # with bfloat16
SEEN = ("adapter.trainable_tokens=seen",)


def at(model: str, *settings: str):
    config = RunConfig().with_settings([f"model.model_name=unsloth/{model}", *settings])
    return config, shape_of(config.model)


def test_a_large_adapter_is_warned_of_before_the_start():
    cost = embeddings_cost(*at("Meta-Llama-3.1-8B-bnb-4bit"))
    assert (cost.parameters, cost.disk_bytes, cost.is_tied) == (2 * 128256 * 4096, 2 * 128256 * 4096 * 2, False)
    # The adapter proper: r=16 of all seven layers has 41,943,040 weights, of 4 bytes each.
    total, own = (cost.disk_bytes + 41_943_040 * 4) / 1024**3, cost.disk_bytes / 1024**3
    assert cost.warning == (
        f"With trained embeddings, the adapter takes {total:.2f} GiB on disk, {own:.2f} GiB of it for the "
        "embeddings: to keep it small, leave them out under Fully trained layers."
    )
    on_a_processor = embeddings_cost(*at("Meta-Llama-3.1-8B-bnb-4bit"), CPU)
    assert "train only the rows of new or seen tokens, or leave them out" in on_a_processor.warning
    # Tied ones are one tensor, but PEFT writes it under both names.
    tied = embeddings_cost(*at("Llama-3.2-1B-bnb-4bit"))
    assert (tied.parameters, tied.disk_bytes, tied.is_tied) == (128256 * 2048, 2 * 128256 * 2048 * 2, True)


def test_a_small_adapter_is_not_warned_of():
    assert embeddings_cost(*at("tinyllama-bnb-4bit")).warning == ""
    assert embeddings_cost(*at("Llama-3.2-1B-bnb-4bit", "adapter.modules_to_save=[]")) is None
    seen = at("Meta-Llama-3.1-8B-bnb-4bit", *SEEN)
    few = embeddings_cost(*seen, CPU, rows=1000)
    assert (few.disk_bytes, few.warning, few.is_at_most) == (2 * 1000 * 4096 * 2, "", False)
    assert (embeddings_cost(*seen, CPU).is_at_most, embeddings_cost(*seen, CPU).warning) == (True, "")
    assert embeddings_cost(*seen, rows=1000).warning == NO_SINGLE_ROWS_ON_A_GPU
    assert large_adapter(10, 2 * 1024**3, True) == ""  # large by itself: they are not the reason
    assert large_adapter(0, 1024**3, True) == "" != large_adapter(1, 1024**3, True)


def test_memory_is_that_of_the_estimate():
    whole = embeddings_cost(*at("Llama-3.2-1B-bnb-4bit"))
    one = 128256 * 2048
    assert whole.memory_gib * 1024**3 == one * (2 + 2 + 8)  # a copy and its gradient in 16-bit, two states in 32-bit
    processor = embeddings_cost(*at("Llama-3.2-1B-bnb-4bit"), CPU)
    assert processor.memory_gib * 1024**3 == one * (4 + 4 + 8)
    few = embeddings_cost(*at("Llama-3.2-1B-bnb-4bit", *SEEN), CPU, rows=1000)
    assert few.memory_gib * 1024**3 == one * (2 + 2) + 1000 * 2048 * 4 * 5


def test_settings_of_before_are_still_read():
    old = RunConfig.build({"adapter": {"modules_to_save": ["embed_tokens"]}})
    assert old.adapter.trainable_tokens == "all" and not old.adapter.trains_rows
    assert RunConfig().with_settings([*SEEN]).adapter.trains_rows
    assert not RunConfig().with_settings([*SEEN, "adapter.modules_to_save=[]"]).adapter.trains_rows
    with pytest.raises(ConfigError, match="Embedding rows to train"):
        RunConfig().with_settings(["adapter.trainable_tokens=some"])
