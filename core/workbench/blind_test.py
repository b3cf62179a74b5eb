"""A blind test: two models answer a queue of prompts, and a person votes without knowing which is which.

`BlindTest` runs one test at a time, for all pages. The sides are drawn anew for every prompt and are known only here:
`shown` gives a page the two answers of the current pair by their side, once both are complete, and nothing about who
wrote them. Answers are written ahead in a thread while the person votes; between two prompts the model is free for
others.
"""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from core.answering.sampling import Sampling
from core.comparing.prompt_lists import read_prompts
from core.comparing.votes import Choice, Tally, read_votes, tally
from core.problems import BlindError
from core.runs.adapter_ref import Pane
from core.runs.run_list import RunList
from core.workbench.model_access import ModelAccess
from core.workbench.one_blind_test import OneBlindTest, Shown

EXACT = Sampling()


@dataclass(frozen=True)
class Result:
    """All votes on this pair of models; `now` of them are from the last test. `damaged` lines could not be read."""

    contender: Pane
    other: Pane
    tally: Tally
    now: int = 0
    damaged: int = 0


class BlindTest:
    """`shuffle` draws the sides; by default it is the system's own randomness."""

    def __init__(self, lab: ModelAccess, runs: RunList, shuffle: random.Random | None = None):
        self._lab, self._runs, self._shuffle = lab, runs, shuffle or random.SystemRandom()
        self._starting = threading.Lock()
        self._test: OneBlindTest | None = None

    def start(self, panes: Sequence[Pane], prompts: Sequence[str], sampling: Sampling = EXACT) -> None:
        """Starts a test of two models. The later one is the contender, unless it is the base.

        Raises BlindError and RunError.
        """
        contender, other = _roles(panes)
        folder = self._runs.open(contender.run_id).folder
        with self._starting:
            if self.is_running:
                raise BlindError("A blind test is running: vote on it, or end it first.")
            test = OneBlindTest(self._lab, contender, other, folder, tuple(prompts), sampling, self._shuffle)
            test.start()
            self._test = test

    def read_prompts(self, path: str) -> list[str]:
        """The prompts in a file. Raises DataError."""
        return read_prompts(path)

    def vote(self, pair: str, choice: Choice) -> None:
        """Votes on the pair of that name. Ignores a pair that was voted on already, for example on another page, and
        one from an earlier test.

        Raises BlindError when the vote cannot be saved; the pair then stays.
        """
        if self._test is not None:
            self._test.vote(pair, choice)

    def end(self) -> None:
        """Ends the test; the votes are kept. Answers that are being written stop soon."""
        if self._test is not None:
            self._test.end()

    @property
    def is_running(self) -> bool:
        return self._test is not None and not self._test.progress.is_over

    def shown(self) -> Shown:
        return self._test.shown() if self._test is not None else Shown()

    def last_result(self) -> Result | None:
        """The result of the test that has ended; None during a test, because whoever sees the tally may end the test
        when they like it.

        Raises BlindError.
        """
        test = self._test
        if test is None or not test.progress.is_over:
            return None
        return self._result(test.contender, test.other, len(test.progress.votes))

    def result(self, panes: Sequence[Pane]) -> Result:
        """The votes on these two models. Raises BlindError, also during a test, and RunError."""
        if self.is_running:
            raise BlindError("A blind test is running, and the tally is shown at its end.")
        return self._result(*_roles(panes))

    def _result(self, contender: Pane, other: Pane, now: int = 0) -> Result:
        try:
            votes, damaged = read_votes(self._runs.open(contender.run_id).folder)
        except OSError as error:
            raise BlindError(
                "The votes of run {run} cannot be read: {reason}.",
                run=contender.run_id, reason=error.strerror or error,
            ) from None  # fmt: skip
        return Result(contender, other, tally(votes, contender.key, other.key), now, damaged)


def _roles(panes: Sequence[Pane]) -> tuple[Pane, Pane]:
    """The contender and the other. Raises BlindError."""
    other, contender = panes
    if other == contender:
        raise BlindError("Choose two different models; these two are the same.")
    return (other, contender) if contender.is_base else (contender, other)
