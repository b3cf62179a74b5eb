"""A blind test: two panes answer a queue of prompts, and a person votes without knowing which is which.

`Blind` holds one test at a time, for all pages. The sides are drawn anew for every prompt and are known here alone:
`shown` tells a page the two answers of the current pair by their side, both whole, and nothing of how they came about.
Answers are made ahead in a thread while the person votes; between two prompts the model is free for others.

Knows nothing of gradio, nor of how answers are made.
"""

import random
import secrets
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from core.answering.sampling import Sampling
from core.comparing.votes import Choice, Tally, Vote, append_vote, read_votes, tally
from core.problems import BlindError, Busy, Problem, PromptTooLong, TemplateError
from core.runs.adapter_ref import Pane
from core.runs.run_list import RunList
from core.workbench.lab import Lab

AHEAD = 3  # pairs that wait to be voted on while no more are made
RETRY_SECONDS = 0.5  # between two looks at a model that others have
WRITING = "answers of the blind test are being written"


@dataclass(frozen=True)
class Shown:
    """What a page may know of the test.

    `number` is that of the prompt to vote on, from 1, of `total`; `ready` counts the pairs beyond it. `pair` names the
    pair among those of all tests; it, `left` and `right` are empty while there is no pair. `last` is the vote before.
    `said` is a sentence for the person, or empty.
    """

    stage: Literal["none", "writing", "voting", "ended"] = "none"
    number: int = 0
    total: int = 0
    ready: int = 0
    pair: str = ""
    prompt: str = ""
    left: str = ""
    right: str = ""
    last: Vote | None = None
    said: str = ""


@dataclass(frozen=True)
class Result:
    """All votes kept of this pair of panes; `now` of them are from the last test. `damaged` lines could not be read."""

    contender: Pane
    other: Pane
    tally: Tally
    now: int = 0
    damaged: int = 0


class Blind:
    """`shuffle` draws the sides; the system's own randomness, unless a test must know them."""

    def __init__(self, lab: Lab, runs: RunList, shuffle: random.Random | None = None):
        self._lab, self._runs, self._shuffle = lab, runs, shuffle or random.SystemRandom()
        self._lock = threading.Lock()
        self._test: _Test | None = None

    def start(self, panes: Sequence[Pane], prompts: Sequence[str], sampling: Sampling = Sampling()) -> None:
        """Begins a test of two panes. The later one is the contender, unless it is the base.

        Raises BlindError and RunError.
        """
        contender, other = _roles(panes)
        folder = self._runs.open(contender.run_id).folder
        with self._lock:
            if self.is_going_on:
                raise BlindError("A blind test is going on: vote on it, or end it first.")
            self._test = _Test(self._lab, contender, other, folder, list(prompts), sampling, self._shuffle)
            self._test.thread.start()

    def vote(self, pair: str, choice: Choice) -> None:
        """Votes on the pair of that name. One that was voted on already, on another page say, or that is of an earlier
        test is passed over.

        Raises BlindError when the vote cannot be kept; the pair then stays.
        """
        if self._test is not None:
            self._test.vote(pair, choice)

    def end(self) -> None:
        """Ends the test; the votes are kept. Answers that are being written are stopped, soon."""
        if self._test is not None:
            self._test.end()

    @property
    def is_going_on(self) -> bool:
        return self._test is not None and not self._test.is_over

    def shown(self) -> Shown:
        return self._test.shown() if self._test is not None else Shown()

    def last_result(self) -> Result | None:
        """That of the test that has ended; None while one is going on: who sees the tally may end it when that pleases.

        Raises BlindError.
        """
        test = self._test
        if test is None or not test.is_over:
            return None
        return self._result(test.contender, test.other, len(test.votes))

    def result(self, panes: Sequence[Pane]) -> Result:
        """The votes kept of these two panes. Raises BlindError, while a test is going on too, and RunError."""
        if self.is_going_on:
            raise BlindError("A blind test is going on, and the tally is shown at its end.")
        return self._result(*_roles(panes))

    def _result(self, contender: Pane, other: Pane, now: int = 0) -> Result:
        try:
            votes, damaged = read_votes(self._runs.open(contender.run_id).folder)
        except OSError as error:
            why = error.strerror or error
            raise BlindError(f"The votes of run {contender.run_id} cannot be read: {why}.") from None
        return Result(contender, other, tally(votes, contender.key, other.key), now, damaged)


def _roles(panes: Sequence[Pane]) -> tuple[Pane, Pane]:
    """The contender and the other. Raises BlindError."""
    other, contender = panes
    if other == contender:
        raise BlindError("Choose two different models; these two are the same.")
    return (other, contender) if contender.is_base else (contender, other)


@dataclass(frozen=True)
class _Pair:
    """Two whole answers to a prompt. `left` and `right` are panes."""

    number: int
    prompt: str
    left: Pane
    right: Pane
    left_answer: str
    right_answer: str


class _Test:
    """One test from its first prompt to its end. Its thread makes the pairs; all else only waits for the lock."""

    def __init__(self, lab: Lab, contender: Pane, other: Pane, folder, prompts: list[str], sampling: Sampling, shuffle):
        self.contender, self.other, self.votes = contender, other, []
        self._id = secrets.token_hex(4)
        self._lab, self._folder, self._prompts, self._sampling, self._shuffle = lab, folder, prompts, sampling, shuffle
        self._changed = threading.Condition()
        self._pairs: deque[_Pair] = deque()
        self._is_ended = self._is_made = False
        self._left_out: list[str] = []  # why prompts have no answers, a sentence each
        self._said = ""  # why the answers wait, or why no more are made
        self.thread = threading.Thread(target=self._make, name="blind test", daemon=True)

    @property
    def is_over(self) -> bool:
        return self._is_ended or (self._is_made and not self._pairs)

    def shown(self) -> Shown:
        with self._changed:
            said = self._said
            if self._left_out:
                which = "prompt is" if len(self._left_out) == 1 else "prompts are"
                said = f"{said} {len(self._left_out):,} {which} left out: {self._left_out[-1]}".strip()
            told = {"total": len(self._prompts), "last": self.votes[-1] if self.votes else None, "said": said}
            if self.is_over:
                return Shown("ended", **told)
            if not self._pairs:
                return Shown("writing", **told)
            pair = self._pairs[0]
            return Shown(
                "voting", pair.number, ready=len(self._pairs) - 1, pair=self._name(pair), prompt=pair.prompt,
                left=pair.left_answer, right=pair.right_answer, **told,
            )  # fmt: skip

    def _name(self, pair: _Pair) -> str:
        return f"{self._id}-{pair.number}"

    def vote(self, name: str, choice: Choice) -> None:
        with self._changed:
            if self.is_over or not self._pairs or self._name(self._pairs[0]) != name:
                return
            pair = self._pairs[0]
            vote = Vote(
                prompt=pair.prompt, left=pair.left.key, right=pair.right.key, left_answer=pair.left_answer,
                right_answer=pair.right_answer, choice=choice, contender=self.contender.key,
                sampling=self._sampling,
            )  # fmt: skip
            try:
                append_vote(self._folder, vote)
            except OSError as error:
                why = error.strerror or error
                sentence = f"The vote could not be kept in {self._folder}: {why}; put that right and vote again."
                raise BlindError(sentence) from None
            self._pairs.popleft()
            self.votes.append(vote)
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def _make(self) -> None:
        """The thread: pair after pair, a few ahead of the person."""
        said = "No more answers are written, for a reason that is not known; the program's output says more."
        try:
            for number, prompt in enumerate(self._prompts, 1):
                with self._changed:
                    self._changed.wait_for(lambda: self._is_ended or len(self._pairs) <= AHEAD)
                if not self._add_pair(number, prompt):
                    break
            said = self._said
        finally:
            with self._changed:
                self._said, self._is_made = said, True

    def _add_pair(self, number: int, prompt: str) -> bool:
        """Whether there shall be another one. A prompt that is itself at fault is left out; any other fault would be
        every prompt's, and no more are asked. Both are said."""
        try:
            answers = self._answers(prompt)
        except Problem as error:
            is_of_the_prompt = isinstance(error, TemplateError | PromptTooLong)
            with self._changed:
                if is_of_the_prompt:
                    self._left_out.append(str(error))
                else:
                    self._said = f"No more answers are written for this test: {error}"
            return is_of_the_prompt
        if answers is None:
            return False
        sides = list(zip((self.contender, self.other), answers, strict=True))
        self._shuffle.shuffle(sides)
        (left, left_answer), (right, right_answer) = sides
        with self._changed:
            self._pairs.append(_Pair(number, prompt, left, right, left_answer, right_answer))
        return True

    def _answers(self, prompt: str) -> tuple[str, ...] | None:
        """The contender's answer and the other's, whole; None when they were stopped. It waits for a model in use."""
        panes, conversations = (self.contender, self.other), [[{"role": "user", "content": prompt}]] * 2
        while not self._is_ended:
            try:
                with closing(self._lab.answer(panes, conversations, self._sampling, WRITING)) as growing:
                    for answers in growing:
                        self._said = ""
                        if self._is_ended:
                            return None
            except Busy as busy:
                with self._changed:
                    self._said = str(busy)
                    self._changed.wait_for(lambda: self._is_ended, RETRY_SECONDS)
                continue
            if any(answer.ended == "stopped" for answer in answers):
                self._said = "The answers were stopped; no more are written for this test."
                return None
            return tuple(answer.text for answer in answers)
        return None
