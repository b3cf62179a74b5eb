"""How many threads to compute with on a CPU, chosen by trying while the work goes on.

A step of a small model is thousands of small operations. OpenMP shares each of them among its threads, and all wait for
the slowest. With nothing else to do, a machine is fastest with all threads. While other programs keep its cores busy,
one of the threads often has to wait for a core, and a step takes 5 to 20 times as long as with one thread. Which of the
two is the case only the clock can say.

The steps that are tried are real ones, and trying changes nothing in what they compute: adapters were equal bit for bit
with 1, 2, 4 and 8 threads.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from statistics import median

from core.memory.container import usable_cores

STEPS = 3  # whose median is compared: neither the slow first step of a run nor a single hiccup decides
BETTER = 0.9  # of the time until now: what another number must reach to be kept
CLEARLY_WORSE = 1.5  # times the time until now: then one step is enough to give a number up
MUCH_SLOWER = 2.0  # times as long as usual: other programs have probably become busy
MUCH_FASTER = 0.75  # of the usual time: they have probably become idle
PAUSE = 20  # times what trying more threads has cost: trying costs at most a twentieth of the time


class ThreadTrials:
    """Chooses a number of threads from how long the steps took: `most`, or a half, a quarter, … of it.

    It begins with a half, so that on a busy machine only a single step is as slow as with all, and on an idle one the
    first steps take at most twice as long. More threads are tried again from time to time, fewer when steps become
    much slower than they were.
    """

    def __init__(self, most: int):
        self._counts = [most >> halvings for halvings in range(most.bit_length())]
        self._kept = min(1, len(self._counts) - 1)  # an index, as are the next two
        self._tried: int | None = None
        self._to_try = deque([self._kept - 1, self._kept + 1])
        self._recent: deque[float] = deque(maxlen=STEPS)  # seconds per token with the kept number
        self._trial: list[float] = []
        self._usual = inf
        self._pause = 0.0  # seconds to work before more threads are tried

    @property
    def kept(self) -> int:
        """The number that has proved best so far."""
        return self._counts[self._kept]

    @property
    def next(self) -> int:
        """The number for the next step."""
        return self.kept if self._tried is None else self._counts[self._tried]

    def add(self, seconds: float, tokens: int) -> None:
        """Notes how long a step with `next` threads took, and for how many tokens: longer rows take longer."""
        if self._tried is None:
            self._add_kept(seconds, seconds / tokens)
        else:
            self._add_tried(seconds / tokens, tokens)
        if self._tried is None and len(self._recent) == STEPS:
            self._try_next()

    def _add_kept(self, seconds: float, pace: float) -> None:
        self._recent.append(pace)
        self._pause -= seconds
        if len(self._recent) < STEPS:
            return
        now = median(self._recent)
        if now > MUCH_SLOWER * self._usual:
            self._to_try, self._usual = deque([self._kept + 1]), now
        elif now < MUCH_FASTER * self._usual < inf or (self._pause <= 0 and not self._to_try):
            self._to_try = deque([self._kept - 1])
        self._usual = min(self._usual, now)

    def _add_tried(self, pace: float, tokens: int) -> None:
        before = median(self._recent)
        self._trial.append(pace)
        if pace <= CLEARLY_WORSE * before and len(self._trial) < STEPS:
            return
        found, tried, self._tried = median(self._trial), self._tried, None
        if len(self._trial) == STEPS and found < BETTER * before:
            # The next in the same direction may be better still. What going back would cost is known, too.
            self._to_try = deque([2 * tried - self._kept])
            self._pause = PAUSE * (before - found) * tokens
            self._kept, self._usual = tried, found
            self._recent = deque(self._trial, STEPS)
        elif tried < self._kept:
            self._pause = PAUSE * max(sum(self._trial) - len(self._trial) * before, before) * tokens

    def _try_next(self) -> None:
        self._trial = []
        while self._to_try and self._tried is None:
            index = self._to_try.popleft()
            self._tried = index if 0 <= index < len(self._counts) else None


class StepThreads:
    """Sets torch's number of threads for each step of some work. Call `begin` and `end` in the thread that computes.

    It uses at most as many as torch does now, which is OMP_NUM_THREADS if that is set, and as many as there are cores
    for this program.
    """

    def __init__(self):
        import torch

        self._set = torch.set_num_threads
        self._trials = ThreadTrials(min(torch.get_num_threads(), usable_cores()))
        self._began = 0.0

    def begin(self) -> None:
        self._set(self._trials.next)
        self._began = time.monotonic()

    def end(self, tokens: int) -> None:
        """The step has ended; it was for so many tokens. What comes between two steps has the number kept so far."""
        self._trials.add(time.monotonic() - self._began, tokens)
        self._set(self._trials.kept)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Afterwards torch has as many threads as before."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
