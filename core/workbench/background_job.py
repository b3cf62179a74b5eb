"""Work in a thread of its own: started, watched, stopped, waited for, and ended in one way whatever goes wrong.

    job = BackgroundJob("measuring", Measuring(), failed)
    job.start(work, ended)        # `work` looks at `job.should_stop` and sets `job.state`
    job.stop()
    state = job.wait(60)

Everything that ends work is caught in `attempt`, which is also where an error loses its traceback.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.hub_names import Token
from core.problems import Problem, first_line
from core.threads import Stopped, forget_frames, in_own_thread

T = TypeVar("T")
State = TypeVar("State")
Failed = Callable[[str], Problem]  # from the first line of a library's error to the problem that the person sees


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How work ended: with its `result`, because `was_stopped`, or with a `problem`.

    `trace` is the traceback of whatever ended it. `is_unexpected` is true when that was a library's error, or a fault
    of ours, and not a Problem.
    """

    result: T | None = None
    problem: Problem | None = None
    was_stopped: bool = False
    trace: str = ""
    is_unexpected: bool = False

    def unwrap(self) -> T:
        """The result. Raises the problem, or Stopped."""
        if self.problem is not None:
            raise self.problem
        if self.was_stopped:
            raise Stopped
        return self.result

    def print_unexpected(self) -> None:
        """Prints the traceback of an error that nobody foresaw, for whoever runs the program."""
        if self.is_unexpected:
            print(self.trace, file=sys.stderr)


def attempt(work: Callable[[], T], failed: Failed, token: Token = None) -> Outcome[T]:
    """Runs `work` and catches what ends it. A library's error becomes the problem that `failed` makes.

    `token` is hidden wherever it appears: what a library says about a refused token may contain it.
    """
    try:
        return Outcome(result=work())
    except Stopped:
        return Outcome(was_stopped=True)
    except (Exception, SystemExit) as error:  # also a library that wants to end the program
        trace = _without(token, traceback.format_exc())
        problem = as_problem(error, failed)
        is_unexpected = problem is not error
    if token and token in str(problem):
        problem.template, problem.values = _without(token, str(problem)), {}
        problem.args = (problem.template,)
    return Outcome(problem=problem, trace=trace, is_unexpected=is_unexpected)


def as_problem(error: BaseException, failed: Failed) -> Problem:
    """The error itself if it is a Problem, else the one that `failed` makes; without traceback either way."""
    forget_frames(error)
    return error if isinstance(error, Problem) else failed(first_line(error))


def _without(token: Token, text: str) -> str:
    return text.replace(token, "…") if token else text


class BackgroundJob(Generic[State]):
    """At most one piece of work at a time. `state` is replaced, never changed, so any thread may read it.

    Take `changed`, a condition with a lock that the same thread may take again, to replace `state` by something that
    depends on it.
    """

    def __init__(self, name: str, state: State, failed: Failed):
        self.changed = threading.Condition()
        self._name, self._state, self._failed = name, state, failed
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def state(self) -> State:
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        with self.changed:
            self._state = state
            self.changed.notify_all()

    def should_stop(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Asks the work to stop; it does so where it next looks at `should_stop`."""
        with self.changed:
            self._stop.set()
            self.changed.notify_all()

    def start(
        self,
        work: Callable[[], T],
        ended: Callable[[Outcome[T]], None],
        token: Token = None,
        until_then: ExitStack | None = None,
    ) -> None:
        """Begins `work` in a new thread, in which `ended` is called with its outcome.

        What `until_then` keeps open is closed after that, by the new thread; the caller's own stack is empty at once.
        """
        held = until_then.pop_all() if until_then is not None else ExitStack()

        def whole() -> None:
            with held:
                ended(attempt(work, self._failed, token))

        self._stop.clear()
        self._thread = threading.Thread(target=whole, name=self._name, daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._thread = None
            held.close()
            raise

    def run(self, work: Callable[[], T], token: Token = None) -> Outcome[T]:
        """Does `work` in a new thread while the caller waits; returns its outcome."""
        self._stop.clear()
        return attempt(lambda: in_own_thread(work), self._failed, token)

    def wait(self, timeout: float | None = None) -> State:
        """Waits until the work has ended, for `timeout` seconds at most; returns the state."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self._state

    def wait_for(self, condition: Callable[[State], bool], timeout: float | None = None) -> None:
        """Waits until `condition` is true of the state or the work should stop, for `timeout` seconds at most."""
        with self.changed:
            self.changed.wait_for(lambda: self._stop.is_set() or condition(self._state), timeout)
