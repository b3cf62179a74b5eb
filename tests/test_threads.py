"""Work in a thread of its own, while the main thread waits."""

import signal
import sys
import threading
import time

import pytest

from core.threads import in_own_thread


def is_waiting(thread: threading.Thread) -> bool:
    """Whether the thread stays where it is for ten looks in a row, inside of a lock's `wait`."""
    seen = set()
    for _ in range(10):
        frame = sys._current_frames()[thread.ident]
        seen.add((frame.f_code.co_name, frame.f_lasti))
        time.sleep(0.001)  # gives way to the other thread
    return len(seen) == 1 and frame.f_code.co_name == "wait"


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows cannot send a signal to a thread")
def test_a_signal_is_handled_while_the_main_thread_waits(wait_until):
    """Also one that the system gives to another thread, which does not wake the main thread."""
    handled = threading.Event()

    def work() -> bool:
        wait_until(lambda: is_waiting(threading.main_thread()), "the main thread to wait")
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        return handled.wait(10)

    before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())
    try:
        assert in_own_thread(work)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_error_is_raised_to_the_caller():
    with pytest.raises(ZeroDivisionError):
        in_own_thread(lambda: 1 // 0)
