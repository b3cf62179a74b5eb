"""One blind test, from its first prompt to its end: its job writes pairs of answers while a person votes on them."""

import random
import secrets
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core.answering.sampling import Answer, Sampling
from core.answering.thinking import spoken
from core.comparing.votes import Choice, Vote, append_vote
from core.problems import BlindError, Busy, Problem, PromptTooLong, TemplateError, tr, trn
from core.runs.adapter_ref import Pane
from core.threads import leave_if
from core.workbench.background_job import BackgroundJob, Outcome
from core.workbench.desk import BLIND_ANSWERING
from core.workbench.model_access import ModelAccess

PAIRS_AHEAD = 3  # this many pairs beyond the current one wait to be voted on before writing pauses
RETRY_SECONDS = 0.5  # between two attempts to use a model that is in use


@dataclass(frozen=True)
class Shown:
    """What a page may know about the test.

    `number` is the prompt to vote on, from 1, out of `total`; `ready` counts the pairs beyond it. `pair` names the pair
    among those of all tests; it, `left` and `right` are empty while there is no pair. `last` is the vote before this.
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
class _Pair:
    """Two complete answers to a prompt, and which model is on which side."""

    number: int
    prompt: str
    left: Pane
    right: Pane
    left_answer: str
    right_answer: str


@dataclass(frozen=True)
class Progress:
    """How far a test is. `pairs` wait to be voted on; `left_out` says why prompts have no answers, a sentence each;
    `said` why the answers wait, or why no more are written."""

    pairs: tuple[_Pair, ...] = ()
    votes: tuple[Vote, ...] = ()
    left_out: tuple[str, ...] = ()
    said: str = ""
    is_written: bool = False  # whether no more pairs will come
    is_ended: bool = False  # whether a person ended the test

    @property
    def is_over(self) -> bool:
        return self.is_ended or (self.is_written and not self.pairs)


class OneBlindTest:
    """One test from its first prompt to its end. A background job writes the pairs; votes come from other threads."""

    def __init__(
        self,
        lab: ModelAccess,
        contender: Pane,
        other: Pane,
        folder: Path,
        prompts: tuple[str, ...],
        sampling: Sampling,
        shuffle: random.Random,
    ):
        self.contender, self.other = contender, other
        self._id = secrets.token_hex(4)
        self._lab, self._folder, self._prompts, self._sampling, self._shuffle = lab, folder, prompts, sampling, shuffle
        self._job = BackgroundJob("blind test", Progress(), _no_more)

    @property
    def progress(self) -> Progress:
        return self._job.state

    def start(self) -> None:
        self._job.start(self._write_pairs, self._written)

    def _change(self, **values) -> None:
        with self._job.changed:
            self._job.state = replace(self._job.state, **values)

    def shown(self) -> Shown:
        now = self._job.state
        said = now.said
        if now.left_out:
            left_out = trn(
                "{count:,} prompt is left out: {reason}", "{count:,} prompts are left out: {reason}",
                len(now.left_out), reason=now.left_out[-1],
            )  # fmt: skip
            said = f"{said} {left_out}".strip()
        shown = Shown(total=len(self._prompts), last=now.votes[-1] if now.votes else None, said=said)
        if now.is_over:
            return replace(shown, stage="ended")
        if not now.pairs:
            return replace(shown, stage="writing")
        pair = now.pairs[0]
        return replace(
            shown, stage="voting", number=pair.number, ready=len(now.pairs) - 1, pair=self._name(pair),
            prompt=pair.prompt, left=pair.left_answer, right=pair.right_answer,
        )  # fmt: skip

    def _name(self, pair: _Pair) -> str:
        return f"{self._id}-{pair.number}"

    def vote(self, name: str, choice: Choice) -> None:
        with self._job.changed:  # a pair is voted on once
            now = self._job.state
            if now.is_over or not now.pairs or self._name(now.pairs[0]) != name:
                return
            pair = now.pairs[0]
            vote = Vote(
                prompt=pair.prompt, left=pair.left.key, right=pair.right.key, left_answer=pair.left_answer,
                right_answer=pair.right_answer, choice=choice, contender=self.contender.key,
                sampling=self._sampling,
            )  # fmt: skip
            try:
                append_vote(self._folder, vote)
            except OSError as error:
                raise BlindError(
                    "The vote could not be saved in {folder}: {reason}; fix that and vote again.",
                    folder=self._folder, reason=error.strerror or error,
                ) from None  # fmt: skip
            self._change(pairs=now.pairs[1:], votes=(*now.votes, vote))

    def end(self) -> None:
        with self._job.changed:
            self._change(is_ended=True)
            self._job.stop()

    def _write_pairs(self) -> None:
        """The background job: pair after pair, a few ahead of the person."""
        for number, prompt in enumerate(self._prompts, 1):
            self._job.wait_for(lambda now: len(now.pairs) <= PAIRS_AHEAD)
            leave_if(self._job.should_stop)
            try:
                answers = self._answers(prompt)
            except (TemplateError, PromptTooLong) as error:  # only this prompt is at fault
                with self._job.changed:
                    self._change(left_out=(*self.progress.left_out, str(error)))
                continue
            if answers is None:
                return
            self._add_pair(number, prompt, answers)

    def _written(self, outcome: Outcome[None]) -> None:
        outcome.print_unexpected()
        said = (
            tr("No more answers will be generated for this test: {reason}", reason=outcome.problem)
            if outcome.problem
            else self.progress.said
        )
        self._change(said=said, is_written=True)

    def _add_pair(self, number: int, prompt: str, answers: tuple[str, ...]) -> None:
        sides = list(zip((self.contender, self.other), answers, strict=True))
        self._shuffle.shuffle(sides)
        (left, left_answer), (right, right_answer) = sides
        pair = _Pair(number, prompt, left, right, left_answer, right_answer)
        with self._job.changed:
            self._change(pairs=(*self.progress.pairs, pair))

    def _answers(self, prompt: str) -> tuple[str, ...] | None:
        """The contender's answer and the other's; None when they were stopped. Waits for a model that is in use."""
        panes, conversations = (self.contender, self.other), [[{"role": "user", "content": prompt}]] * 2
        while True:
            try:
                answers = self._write(panes, conversations)
                break
            except Busy as busy:
                self._change(said=str(busy))
                self._job.wait_for(lambda now: False, RETRY_SECONDS)
                leave_if(self._job.should_stop)
        if any(answer.ended == "stopped" for answer in answers):
            self._change(said=tr("The answers were stopped; no more will be generated for this test."))
            return None
        return tuple(spoken(answer.text) for answer in answers)

    def _write(self, panes: Sequence[Pane], conversations: Sequence[list[dict]]) -> tuple[Answer, ...]:
        """Raises Stopped at the end of the test, and what `ModelAccess.answer` raises."""
        answers: tuple[Answer, ...] = ()
        with closing(self._lab.answer(panes, conversations, self._sampling, BLIND_ANSWERING)) as growing:
            for answers in growing:  # noqa: B007  the last ones are complete
                self._change(said="")
                leave_if(self._job.should_stop)
        return answers


def _no_more(reason: str) -> Problem:
    return BlindError("{reason}.", reason=reason)
