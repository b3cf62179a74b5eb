"""Work in a thread of its own, while the main thread waits."""

import signal
import threading

import pytest

from core.fresh_thread import in_own_thread


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Windows cannot send a signal to a thread")
def test_a_signal_is_handled_while_the_main_thread_waits():
    """Also one that the system gives to another thread, which does not wake the main thread."""
    handled = threading.Event()

    def work() -> bool:
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
