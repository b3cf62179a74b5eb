"""Importing without the garbage collector, and what it does afterwards."""

import gc

import pytest

from core.settings.importing import without_collecting


class Cycle:
    """Refers to itself, so that only the collector can free it."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def as_before():
    yield
    gc.unfreeze()


def test_nothing_is_collected_meanwhile_and_what_was_made_is_passed_over_later():
    gc.collect()
    before, frozen = gc.get_stats()[2]["collections"], gc.get_freeze_count()
    with without_collecting():
        kept = [Cycle() for _ in range(100_000)]
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_stats()[2]["collections"] == before
    assert gc.get_freeze_count() - frozen >= len(kept)


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ImportError), without_collecting():
        raise ImportError("no such library")
    assert gc.isenabled()


def test_what_is_made_later_is_collected_as_ever():
    with without_collecting():
        pass
    Cycle()
    assert gc.collect() >= 1
