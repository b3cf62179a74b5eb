"""The longest rows and the largest batch that fit: the next step up does not."""

import pytest

from core.memory.cards import Card, find_card
from core.memory.estimate import estimate, verdict
from core.memory.largest import LENGTH_STEP, Largest, largest
from core.memory.model_shape import shape_of
from core.settings.run_config import RunConfig

CONFIG = RunConfig().with_settings(
    ["model.model_name=unsloth/Meta-Llama-3.1-8B-bnb-4bit", "adapter.modules_to_save=[]", "model.max_seq_length=1024"]
)
SHAPE = shape_of(CONFIG.model, fetch=False)
BATCH = "training.per_device_train_batch_size"


def fits(card: Card, *settings: str) -> bool:
    return verdict(estimate(CONFIG.with_settings(list(settings)), SHAPE, card), card) == "fits"


@pytest.mark.parametrize("name", ["RTX 3060 12GB", "RTX 4090 Laptop 16GB", "23"])
@pytest.mark.parametrize("batch", ["1", "2", "auto"])
def test_one_more_does_not_fit(name, batch):
    card, batch_now = find_card(name), 1 if batch == "auto" else int(batch)
    found = largest(CONFIG.with_settings([f"{BATCH}={batch}"]), SHAPE, card)
    assert found.length % LENGTH_STEP == 0 and not found.length_is_whole
    assert fits(card, f"{BATCH}={batch_now}", f"model.max_seq_length={found.length}")
    assert not fits(card, f"{BATCH}={batch_now}", f"model.max_seq_length={found.length + LENGTH_STEP}")
    assert fits(card, f"{BATCH}={found.batch}") and not fits(card, f"{BATCH}={found.batch + 1}")


def test_nothing_fits_or_everything_does():
    assert largest(CONFIG, SHAPE, find_card("4GB")) == Largest(length=None, batch=None)
    found = largest(CONFIG, SHAPE, find_card("999"))
    assert found == Largest(length=131072, batch=1024, length_is_whole=True)


def test_short_rows_leave_room_for_a_larger_batch_and_not_for_longer_rows():
    card = find_card("12GB")
    whole, short = largest(CONFIG, SHAPE, card), largest(CONFIG, SHAPE, card, longest=256)
    assert short.length == whole.length and short.batch > 2 * whole.batch
