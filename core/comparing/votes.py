"""Votes of a blind test: kept with the run, a line each, and what their number allows one to say.

Knows nothing of models, threads or gradio. scipy is imported where it is used: the page is there before it.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError, model_validator

from core.answering.sampling import Sampling
from core.disk.json_lines import append_lines

FILE = "votes.jsonl"
Choice = Literal["left", "right", "tie", "bad"]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie", "bad")

LEAST = 10  # decided votes below which nothing is claimed, however they fell
SETTLED, PROBABLE = 0.05, 0.2  # p-values
MOST_MORE = 1000  # further votes that a person can be asked for
TOO_MANY = f"more than {MOST_MORE:,} further votes"
POWER = 0.8  # the usual chance that a test is planned to have


class Vote(BaseModel, frozen=True):
    """What a person saw and chose. `left`, `right` and `contender` are keys of panes; the contender is one of the two,
    the one whose wins are counted. `time` is in seconds since 1970; votes of earlier versions have no `sampling`."""

    time: float = Field(default_factory=time.time, ge=0, le=1e11)
    prompt: str
    left: str
    right: str
    left_answer: str
    right_answer: str
    choice: Choice
    contender: str
    sampling: Sampling | None = None

    @model_validator(mode="after")
    def _contender_took_part(self) -> "Vote":
        if self.left == self.right or self.contender not in (self.left, self.right):
            raise ValueError("the contender is one of two different panes")
        return self

    @property
    def other(self) -> str:
        """The pane that the contender stood against."""
        return self.right if self.contender == self.left else self.left

    @property
    def winner(self) -> str:
        """A pane's key; empty for a tie and for both bad."""
        return {"left": self.left, "right": self.right}.get(self.choice, "")

    @property
    def what_was_seen(self) -> tuple[str, str, str]:
        """The prompt, the contender's answer and the other's: who votes on these again says nothing new."""
        answers = {self.left: self.left_answer, self.right: self.right_answer}
        return self.prompt, answers[self.contender], answers[self.other]


class Votes(NamedTuple):
    """`damaged` counts the lines that are no votes, such as one cut off by a power failure."""

    votes: tuple[Vote, ...]
    damaged: int


def append_vote(folder: Path, vote: Vote) -> None:
    """Adds a line to the votes in a run's folder; once this returns it is on the disk.

    Raises OSError; the file is then as it was before.
    """
    append_lines(folder / FILE, [vote.model_dump_json().encode()])


def read_votes(folder: Path) -> Votes:
    """The votes in a run's folder, in order; none where there is no such file. Raises OSError."""
    file = folder / FILE
    if not file.is_file():  # to open a pipe would be to wait for ever
        return Votes((), 0)
    # Not by splitlines, which would also part a line where an answer holds a mark such as U+2028.
    lines = [line for line in file.read_bytes().split(b"\n") if line.strip()]
    votes = tuple(vote for line in lines if (vote := _vote(line)) is not None)
    return Votes(votes, len(lines) - len(votes))


def _vote(line: bytes) -> Vote | None:
    try:
        return Vote.model_validate_json(line)
    except ValidationError:
        return None


@dataclass(frozen=True)
class Tally:
    """Votes between a contender and another pane. Ties and both bad decide nothing: they are left out of the rate, the
    interval and the test. `repeated` votes are not counted: the same two answers were voted on again later."""

    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0
    repeated: int = 0

    @property
    def votes(self) -> int:
        return self.decided + self.ties + self.bad

    @property
    def decided(self) -> int:
        return self.wins + self.losses

    @property
    def win_rate(self) -> float | None:
        """Wins per decided vote, 0 to 1; None without one."""
        return self.wins / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95% interval of the win rate, 0 to 1; None without a decided vote."""
        if not self.decided:
            return None
        from scipy.stats import binomtest

        found = binomtest(self.wins, self.decided).proportion_ci(confidence_level=0.95, method="wilson")
        return float(found.low), float(found.high)

    @property
    def p_value(self) -> float | None:
        """The sign test's, two-sided: how often chance alone would part the decided votes at least as unevenly."""
        if not self.decided:
            return None
        from scipy.stats import binomtest

        return float(binomtest(self.wins, self.decided).pvalue)

    @property
    def more(self) -> int | None:
        """How many further decided votes, up to 1,000, would probably settle it: if each goes to the side that leads as
        often as until now, p ends under 0.05 in four cases out of five (the exact power of the sign test).

        0 when it is settled; None when that many would not do. At least 10 votes must come together.
        """
        if not self.decided:
            return None
        import numpy
        from scipy.stats import binom

        leading = max(self.wins, self.losses)
        more = numpy.arange(MOST_MORE + 1)
        needed = binom.ppf(1 - SETTLED / 2, self.decided + more, 0.5) + 1  # wins in all, of both kinds of votes
        chance = binom.sf(needed - leading - 1, more, leading / self.decided)
        enough = numpy.flatnonzero((chance >= POWER) & (self.decided + more >= LEAST))
        return int(enough[0]) if len(enough) else None

    @property
    def words(self) -> str:
        """What these votes allow one to say of the contender, and no more:

        under 10 decided votes      nothing: at their rate no number of further ones can be named
        p under 0.05                better, or worse
        p under 0.2                 probably better, or worse, even where 1,000 more votes would not settle it
        otherwise                   no clear difference; where 1,000 more votes would not show one, none to be seen

        and, while it is open, with how many further votes it would probably be settled (`more`).
        """
        if not self.votes:
            return "No votes yet."
        if not self.decided:
            which = "The one vote chose" if self.votes == 1 else f"None of the {self.votes:,} votes chose"
            return f"{which} {'no' if self.votes == 1 else 'a'} side: nothing can be said."
        said, p_value, more = f"{self.wins:,} of {self.decided:,}", self.p_value, self.more
        way = "better" if self.wins > self.losses else "worse"
        further = "1 more vote that chooses a side" if more == 1 else f"{more or 0:,} more votes that choose a side"
        if self.decided < LEAST:
            needed = LEAST - self.decided
            needed = f"{needed} more that choose a side are" if needed > 1 else "1 more that chooses a side is"
            return f"{said}: too few votes to say anything; at least {needed} needed."
        if p_value < SETTLED:
            return f"{said}: {way}."
        if p_value < PROBABLE:
            needed = f"about {further} would probably settle it" if more else f"{TOO_MANY} would be needed"
            return f"{said}: probably {way}; {needed}."
        if more:
            return f"{said}: no clear difference; about {further} would probably show one, if there is one."
        return f"{said}: no difference is to be seen."


def tally(votes: Iterable[Vote], contender: str, other: str) -> Tally:
    """Counts the votes of that contender against that other pane (keys); those of other pairs are passed over.

    Exact settings give the same answers each time: of several votes on the same two the last counts.
    """
    given = [vote for vote in votes if (vote.contender, vote.other) == (contender, other)]
    counted = {vote.what_was_seen: vote for vote in given}.values()
    wins = sum(vote.winner == contender for vote in counted)
    losses = sum(vote.winner == other for vote in counted)
    ties = sum(vote.choice == "tie" for vote in counted)
    return Tally(wins, losses, ties, len(counted) - wins - losses - ties, len(given) - len(counted))
