"""The lock on the model: one at a time, freed whatever happens, and never given away twice."""

import threading
from contextlib import ExitStack

import pytest

from core.problems import Busy
from core.workbench.desk import LOADING, TRAINING, Desk


def test_whoever_comes_second_learns_what_is_running():
    desk = Desk()
    assert desk.doing == ""
    with desk.taken(TRAINING):
        assert desk.doing == TRAINING
        with pytest.raises(Busy) as told, desk.taken(LOADING):
            pass
        assert told.value.values == {"doing": TRAINING} and desk.doing == TRAINING
    with desk.taken(LOADING):
        assert desk.doing == LOADING
    assert desk.doing == ""


def test_an_error_frees_it():
    desk = Desk()
    with pytest.raises(ZeroDivisionError), desk.taken(LOADING):
        _ = 1 / 0
    assert desk.doing == ""


def test_what_begins_in_one_thread_may_end_in_another():
    desk = Desk()
    with ExitStack() as held:
        held.enter_context(desk.taken(TRAINING))
        handed_on = held.pop_all()
    assert desk.doing == TRAINING
    other = threading.Thread(target=handed_on.close)
    other.start()
    other.join()
    assert desk.doing == ""
    with desk.taken(LOADING):
        handed_on.close()  # nothing is left in it to close
        assert desk.doing == LOADING


def test_of_many_threads_at_once_one_gets_it():
    desk, got, refused, start = Desk(), [], [], threading.Barrier(8)
    done = threading.Event()

    def want(number: int) -> None:
        start.wait()
        try:
            with desk.taken(str(number)):
                got.append(number)
                done.wait(30)
        except Busy:
            refused.append(number)
            if len(refused) == 7:
                done.set()

    threads = [threading.Thread(target=want, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and len(refused) == 7 and desk.doing == ""
